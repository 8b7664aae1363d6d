//! `countersign authority`: the server that issues, records and takes back.

use authority::{KeyAlgorithm, Settings};
use identity::TrustDomain;

use crate::args::{self, AuthorityCommand};
use crate::commands::stopped;
use crate::failure::Failure;
use crate::output;

pub(crate) async fn run(command: AuthorityCommand) -> Result<(), Failure> {
    let AuthorityCommand::Serve(args) = command;
    let settings = Settings {
        ..Settings::new(trust_domain(&args.trust_domain)?, args.data_dir)
    };
    authority::serve(settings, stopped())
        .await
        .map_err(|error| Failure::part("authority", error))
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
