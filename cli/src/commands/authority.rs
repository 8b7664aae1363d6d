//! `countersign authority`: the server that issues, records and takes back.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use authority::Settings;
use authority::ca::KeyAlgorithm;
use authority::config::Config;
use identity::TrustDomain;

use crate::args::{self, AuthorityCommand, AuthorityConfigCommand, AuthorityServeArgs};
use crate::commands::stopped;
use crate::failure::Failure;
use crate::output;

pub(crate) async fn run(command: AuthorityCommand) -> Result<(), Failure> {
    match command {
        AuthorityCommand::Serve(args) => serve(args).await,
        AuthorityCommand::Config(AuthorityConfigCommand::Check { file }) => check(&file),
    }
}

fn check(file: &Path) -> Result<(), Failure> {
    Config::read(file).map_err(|error| Failure::Check(error.to_string()))?;
    output::line(&format!("{}: no problems", file.display()))
}

/// Arguments win over the file, and that over the defaults of the command line.
fn settings(args: AuthorityServeArgs) -> Result<Settings, Failure> {
    let config = match &args.config {
        Some(file) => Config::read(file).map_err(|error| Failure::Check(error.to_string()))?,
        None => Config::default(),
    };
    let named = match (&args.trust_domain, &config.trust_domain) {
        (Some(name), _) => trust_domain(name)?,
        (None, Some(name)) => name.clone(),
        (None, None) => trust_domain("cluster.local")?,
    };
    let data_dir = args.data_dir.or_else(|| config.data_dir.clone());
    let data_dir = data_dir.unwrap_or_else(|| PathBuf::from(".countersign/authority"));
    let mut settings = Settings::new(named, data_dir);
    settings.listen = SocketAddr::from(([127, 0, 0, 1], 15012));
    settings.default_ttl_seconds = 3600;
    settings.max_ttl_seconds = 24 * 3600;
    config.apply(&mut settings);
    if let Some(listen) = args.listen {
        settings.listen = listen;
    }
    if let Some(ttl) = args.default_ttl {
        settings.default_ttl_seconds = lifetime("--default-ttl", ttl)?;
    }
    if let Some(ttl) = args.max_ttl {
        settings.max_ttl_seconds = lifetime("--max-ttl", ttl)?;
    }
    if let Some(algorithm) = args.key_algorithm {
        settings.key_algorithm = key_algorithm(algorithm);
    }
    Ok(settings)
}

async fn serve(args: AuthorityServeArgs) -> Result<(), Failure> {
    let settings = settings(args)?;
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
