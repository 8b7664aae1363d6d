//! `countersign agent`: the process beside Envoy.

use agent::{KeyAlgorithm, Settings};

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
    agent::run(settings, ready, stopped())
        .await
        .map_err(|error| Failure::part("agent", error))
}
