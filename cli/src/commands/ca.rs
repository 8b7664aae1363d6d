//! `countersign ca`: the authority's own keys and certificates.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;

use api::admin::{CaStatus, GetStatusRequest, GetStatusResponse, RotateDenyListKeyRequest};
use authority::ca::{self, CaInit, Created};
use identity::UnixTime;
use serde::Serialize;

use crate::admin;
use crate::args::{AdminArgs, CaCommand, OutputArgs};
use crate::commands::authority::key_algorithm;
use crate::commands::now;
use crate::failure::Failure;
use crate::output::{self, duration};

pub(crate) async fn run(command: CaCommand) -> Result<(), Failure> {
    match command {
        CaCommand::Init {
            data_dir,
            trust_domain,
            key_algorithm: algorithm,
        } => {
            let wanted = CaInit {
                trust_domain: super::authority::trust_domain(&trust_domain)?,
                key_algorithm: key_algorithm(algorithm),
                generation: 1,
                now: UnixTime::from_secs(now()),
            };
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&data_dir)
                .map_err(|error| Failure::file("create", &data_dir, error))?;
            let folder = data_dir.join(authority::names::CA_DIR);
            let created = ca::init(&folder, &wanted).map_err(|error| Failure::part("CA", error))?;
            output::line(&match created {
                Created::Made => format!("made a root and an intermediate in {}", folder.display()),
                Created::AlreadyThere => {
                    format!(
                        "there is a CA in {}; it was left as it is",
                        folder.display()
                    )
                }
            })
        }
        CaCommand::Status { admin, output } => status(admin, output).await,
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

async fn status(admin: AdminArgs, output: OutputArgs) -> Result<(), Failure> {
    let mut admin = admin::connect(&admin).await?;
    let status = Status::from(admin.get_status(GetStatusRequest {}).await?.into_inner());
    let fields = vec![
        ("trust domain", status.trust_domain.clone()),
        ("root", status.root.line()),
        ("intermediate", status.intermediate.line()),
        ("listens on", status.listen_address.clone()),
        (
            "deny list",
            format!("{}.{}", status.deny_list.epoch, status.deny_list.sequence),
        ),
        (
            "certificates",
            format!(
                "{} issued, {} unexpired ({} suspended, {} revoked)",
                status.certificates, status.unexpired, status.suspended, status.revoked
            ),
        ),
        ("entries", status.entries.to_string()),
        ("refusals", status.refusals.to_string()),
    ];
    output::object(output.output, &status, fields)
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    trust_domain: String,
    root: Ca,
    intermediate: Ca,
    listen_address: String,
    admin_socket: String,
    deny_list: DenyListHead,
    certificates: u64,
    unexpired: u64,
    suspended: u64,
    revoked: u64,
    entries: u64,
    refusals: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DenyListHead {
    epoch: u64,
    sequence: u64,
    keys: Vec<String>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Ca {
    subject: String,
    serial: String,
    not_before: i64,
    not_after: i64,
    sha256: String,
    pem: String,
}

impl Ca {
    fn line(&self) -> String {
        format!(
            "{}, serial {}, expires in {}",
            self.subject,
            self.serial,
            duration(self.not_after - now())
        )
    }
}

impl From<CaStatus> for Ca {
    fn from(ca: CaStatus) -> Self {
        let CaStatus {
            subject,
            serial,
            not_before,
            not_after,
            sha256,
            pem,
        } = ca;
        Self {
            subject,
            serial,
            not_before,
            not_after,
            sha256,
            pem,
        }
    }
}

impl From<GetStatusResponse> for Status {
    fn from(status: GetStatusResponse) -> Self {
        Self {
            trust_domain: status.trust_domain,
            root: status.root.map(Ca::from).unwrap_or_default(),
            intermediate: status.intermediate.map(Ca::from).unwrap_or_default(),
            listen_address: status.listen_address,
            admin_socket: status.admin_socket,
            deny_list: DenyListHead {
                epoch: status.deny_list_epoch,
                sequence: status.deny_list_sequence,
                keys: status.deny_list_key_pems,
            },
            certificates: status.certificates,
            unexpired: status.unexpired,
            suspended: status.suspended,
            revoked: status.revoked,
            entries: status.entries,
            refusals: status.refusals,
        }
    }
}
