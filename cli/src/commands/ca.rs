//! `countersign ca`: the authority's own keys and certificates.

mod ceremony;
mod make;
mod passphrase;
mod status;

use api::admin::RotateDenyListKeyRequest;
use serde::Serialize;

use crate::admin;
use crate::args::{AdminArgs, CaCommand, OutputArgs};
use crate::failure::Failure;
use crate::output;

pub(crate) use self::passphrase::source as passphrase_source;

pub(crate) async fn run(command: CaCommand) -> Result<(), Failure> {
    match command {
        CaCommand::Init(args) => make::init(*args),
        CaCommand::Status {
            admin,
            offline: None,
            passphrase: _,
            output,
        } => status::of_running(admin, output).await,
        CaCommand::Status {
            admin: _,
            offline: Some(data_dir),
            passphrase,
            output,
        } => status::of_folder(&data_dir, &passphrase, output),
        CaCommand::Intermediate(args) => make::intermediate(*args).await,
        CaCommand::Import(args) => make::import(*args),
        CaCommand::Export(args) => make::export(*args).await,
        CaCommand::EncryptKeys {
            data_dir,
            passphrase,
        } => make::encrypt_keys(&data_dir, &passphrase),
        CaCommand::Ceremony(command) => ceremony::run(command).await,
        CaCommand::RotateListKey { admin, output } => rotate_list_key(admin, output).await,
    }
}

async fn rotate_list_key(admin: AdminArgs, output: OutputArgs) -> Result<(), Failure> {
    let mut admin = admin::connect(&admin).await?;
    let answer = admin.rotate_deny_list_key(RotateDenyListKeyRequest {});
    let keys = ListKeys {
        keys: answer.await?.into_inner().deny_list_key_pems,
    };
    let [active, next, ..] = keys.keys.as_slice() else {
        return output::object(output.output, &keys, Vec::new());
    };
    let fields = vec![("signs now", active.clone()), ("signs next", next.clone())];
    output::object(output.output, &keys, fields)
}

/// The deny list's keys: the one that signs, the one prepared, the one before.
#[derive(Debug, Serialize)]
struct ListKeys {
    keys: Vec<String>,
}
