//! `countersign authority`: the server that issues, records and takes back.

use authority::Settings;
use authority::ca::KeyAlgorithm;
use identity::TrustDomain;

use crate::args::{self, AuthorityCommand};
use crate::commands::{backup, stopped};
use crate::failure::Failure;
use crate::output;

pub(crate) async fn run(command: AuthorityCommand) -> Result<(), Failure> {
    let args = match command {
        AuthorityCommand::Serve(args) => args,
        AuthorityCommand::Backup(args) => return backup::backup(args).await,
        AuthorityCommand::Restore(args) => return backup::restore(args).await,
    };
    let mut settings = Settings::new(trust_domain(&args.trust_domain)?, args.data_dir);
    settings.listen = args.listen;
    settings.default_ttl_seconds = lifetime("--default-ttl", args.default_ttl)?;
    settings.max_ttl_seconds = lifetime("--max-ttl", args.max_ttl)?;
    settings.key_algorithm = key_algorithm(args.key_algorithm);
    settings.record.accept_lost_revocations = args.accept_lost_revocations;
    let ready = |ready: &authority::Ready| {
        let event = serde_json::json!({
            "event": "listening",
            "address": ready.address,
            "admin": ready.admin_socket,
        });
        if let Err(failure) = output::line(&event.to_string()) {
            tracing::warn!("{}", failure.chain());
        }
    };
    authority::serve(settings, ready, stopped())
        .await
        .map_err(|error| Failure::part("authority", error))
}

fn lifetime(argument: &str, seconds: u64) -> Result<i64, Failure> {
    i64::try_from(seconds)
        .map_err(|_too_large| Failure::Check(format!("{argument} {seconds}: too long")))
}

/// The library's name for a key algorithm of the command line.
pub(crate) fn key_algorithm(algorithm: args::KeyAlgorithm) -> KeyAlgorithm {
    match algorithm {
        args::KeyAlgorithm::EcdsaP256 => KeyAlgorithm::EcdsaP256,
        args::KeyAlgorithm::Rsa2048 => KeyAlgorithm::Rsa2048,
    }
}

/// A trust domain of the command line.
pub(crate) fn trust_domain(name: &str) -> Result<TrustDomain, Failure> {
    name.parse()
        .map_err(|error| Failure::part(format!("--trust-domain {name:?}"), error))
}
