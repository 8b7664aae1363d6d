//! `countersign authority`: the server that issues, records and takes back.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use authority::ca::KeyAlgorithm;
use authority::config::Config;
use authority::{IdentityPattern, Settings};
use identity::TrustDomain;

use crate::args::{self, AuthorityCommand, AuthorityConfigCommand, AuthorityServeArgs};
use crate::commands::{backup, stopped};
use crate::failure::Failure;
use crate::output;

pub(crate) async fn run(command: AuthorityCommand) -> Result<(), Failure> {
    match command {
        AuthorityCommand::Serve(args) => serve(*args).await,
        AuthorityCommand::Backup(args) => backup::backup(args).await,
        AuthorityCommand::Restore(args) => backup::restore(args).await,
        AuthorityCommand::Config(AuthorityConfigCommand::Check { file }) => check(&file),
    }
}

fn check(file: &Path) -> Result<(), Failure> {
    let config = Config::read(file).map_err(|error| Failure::Check(error.to_string()))?;
    with_config(config, None, None)?
        .check()
        .map_err(|error| Failure::Check(format!("{}: {error}", file.display())))?;
    output::line(&format!("{}: no problems", file.display()))
}

/// The defaults of the command line, and over them the file.
fn with_config(
    config: Config,
    trust: Option<&str>,
    data_dir: Option<PathBuf>,
) -> Result<Settings, Failure> {
    let named = match (trust, &config.trust_domain) {
        (Some(name), _) => trust_domain(name)?,
        (None, Some(name)) => name.clone(),
        (None, None) => trust_domain("cluster.local")?,
    };
    let data_dir = data_dir.or_else(|| config.data_dir.clone());
    let data_dir = data_dir.unwrap_or_else(|| PathBuf::from(".countersign/authority"));
    let mut settings = Settings::new(named, data_dir);
    settings.listen = SocketAddr::from(([127, 0, 0, 1], 15012));
    settings.default_ttl_seconds = 3600;
    settings.max_ttl_seconds = 24 * 3600;
    config.apply(&mut settings);
    Ok(settings)
}

/// Arguments win over the file, and that over the defaults of the command line.
fn settings(args: AuthorityServeArgs) -> Result<Settings, Failure> {
    let config = match &args.config {
        Some(file) => Config::read(file).map_err(|error| Failure::Check(error.to_string()))?,
        None => Config::default(),
    };
    let mut settings = with_config(config, args.trust_domain.as_deref(), args.data_dir.clone())?;
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
    if args.ca_passphrase.is_given() {
        settings.ca.passphrase =
            super::ca::passphrase_source(&args.ca_passphrase, "passphrase of the CA's keys")?;
    }
    if args.issuance_policy.is_some() {
        settings
            .issuance
            .policy_file
            .clone_from(&args.issuance_policy);
    }
    if args.metrics_listen.is_some() {
        settings.metrics.listen = args.metrics_listen;
    }
    if args.admin_listen.is_some() {
        settings.admin.listen = args.admin_listen;
        settings.admin.viewers = patterns("--admin-viewer", &args.admin_viewer)?;
        settings.admin.operators = patterns("--admin-operator", &args.admin_operator)?;
    }
    settings.record.accept_lost_revocations = args.accept_lost_revocations;
    Ok(settings)
}

async fn serve(args: AuthorityServeArgs) -> Result<(), Failure> {
    let settings = settings(args)?;
    let ready = |ready: &authority::Ready| {
        let event = serde_json::json!({
            "event": "listening",
            "address": ready.address,
            "admin": ready.admin_socket,
            "adminAddress": ready.admin_address,
            "metrics": ready.metrics_address,
        });
        if let Err(failure) = output::line(&event.to_string()) {
            tracing::warn!("{}", failure.chain());
        }
    };
    authority::serve(settings, ready, stopped())
        .await
        .map_err(|error| Failure::part("authority", error))
}

fn patterns(argument: &str, texts: &[String]) -> Result<Vec<IdentityPattern>, Failure> {
    let read = |text: &String| IdentityPattern::new(text);
    let patterns: Result<_, _> = texts.iter().map(read).collect();
    patterns.map_err(|error| Failure::part(argument, error))
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

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    fn told(arguments: &[&str]) -> Result<Settings, Failure> {
        let line = [&["countersign", "authority", "serve"], arguments].concat();
        match Cli::parse_from(line).command {
            Command::Authority(AuthorityCommand::Serve(args)) => settings(*args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn arguments_win_over_the_file_and_the_file_over_the_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("authority.yaml");
        std::fs::write(
            &file,
            "trustDomain: example.org\nlisten: 127.0.0.1:1\nmaxTtl: 7d\nkeyAlgorithm: rsa2048\n",
        )
        .unwrap();
        let config = ["--config", file.to_str().unwrap()];
        let default = told(&[]).unwrap();
        assert_eq!(default.trust_domain.as_str(), "cluster.local");
        assert_eq!(default.listen.port(), 15012);
        assert_eq!(
            (default.default_ttl_seconds, default.max_ttl_seconds),
            (3600, 86_400)
        );
        let of_file = told(&config).unwrap();
        assert_eq!(of_file.trust_domain.as_str(), "example.org");
        assert_eq!(
            (of_file.listen.port(), of_file.max_ttl_seconds),
            (1, 7 * 86_400)
        );
        assert_eq!(of_file.default_ttl_seconds, 3600);
        assert_eq!(of_file.key_algorithm, KeyAlgorithm::Rsa2048);
        let more = [
            "--listen",
            "127.0.0.1:2",
            "--max-ttl",
            "8d",
            "--key-algorithm",
            "ecdsa-p256",
        ];
        let both = told(&[&config[..], &more[..]].concat()).unwrap();
        assert_eq!((both.listen.port(), both.max_ttl_seconds), (2, 8 * 86_400));
        assert_eq!(both.key_algorithm, KeyAlgorithm::EcdsaP256);
        std::fs::write(&file, "listen: 1\nmaxTTL: 7d\n").unwrap();
        let refused = told(&config).unwrap_err().to_string();
        assert_eq!(refused.lines().count(), 2, "{refused}");
    }
}
