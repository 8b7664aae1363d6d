//! `countersign agent`: the process beside Envoy.

use std::path::Path;

use agent::{CallError, EnrolError, KeyAlgorithm, RunError, Settings};
use tonic::Code;

use crate::args::{self, AgentCommand};
use crate::commands::stopped;
use crate::failure::Failure;
use crate::output;

pub(crate) async fn run(command: AgentCommand) -> Result<(), Failure> {
    let AgentCommand::Run(args) = command;
    let socket = args
        .socket
        .unwrap_or_else(|| args.data_dir.join("agent.sock"));
    let mut settings = Settings::new(
        args.authority.to_string(),
        args.bundle,
        args.data_dir,
        socket,
    );
    settings.authority_name = args.authority_name;
    settings.join_token_file = args.join_token_file;
    settings.key_algorithm = match args.key_algorithm {
        args::KeyAlgorithm::EcdsaP256 => KeyAlgorithm::EcdsaP256,
        args::KeyAlgorithm::Rsa2048 => KeyAlgorithm::Rsa2048,
    };
    let ready = |ready: &agent::Ready| {
        let event = serde_json::json!({
            "event": "ready",
            "socket": ready.socket,
            "spiffe_id": ready.spiffe_id.to_string(),
        });
        if let Err(failure) = output::line(&event.to_string()) {
            tracing::warn!("{}", failure.chain());
        }
    };
    let token_file = settings.join_token_file.clone();
    agent::run(settings, ready, stopped())
        .await
        .map_err(|error| explain(error, token_file.as_deref()))
}

/// The authority tells an unproven caller nothing; what was shown to it is known here. A token is what was
/// shown last wherever its file is still there.
fn explain(error: RunError, token_file: Option<&Path>) -> Failure {
    let RunError::Enrol(EnrolError::Call(CallError::Refused {
        code: Code::Unauthenticated,
        ..
    })) = &error
    else {
        return Failure::part("agent", error);
    };
    let (shown, why) = match token_file.filter(|file| file.exists()) {
        Some(file) => (
            format!("the join token in {}", file.display()),
            "it is spent, expired or another authority's",
        ),
        None => (
            "the certificate this agent kept".to_owned(),
            "it has expired or is not on record",
        ),
    };
    Failure::Check(format!(
        "agent: the authority does not accept {shown}: {why}; join with a new one of \
         `countersign token create` (Unauthenticated)"
    ))
}
