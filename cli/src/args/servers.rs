//! Arguments of what runs as a server, and of the CA it runs on.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::ca::PassphraseArgs;
use super::{BackupArgs, RestoreArgs, seconds};

#[derive(Debug, Subcommand)]
pub(crate) enum AuthorityCommand {
    /// Serve: issue certificates, keep the record, publish the deny list
    Serve(Box<AuthorityServeArgs>),
    /// Back the record up to one file, also while an authority runs
    Backup(BackupArgs),
    /// Put a backup back: checked first, and what was there is kept
    Restore(RestoreArgs),
    /// The configuration file
    #[command(subcommand)]
    Config(AuthorityConfigCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuthorityConfigCommand {
    /// Print every problem of a configuration file; nothing is started
    #[command(after_help = "Example:\n  countersign authority config check authority.yaml")]
    Check {
        /// The configuration file, YAML
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "\
Prints one JSON line when it listens: {\"event\":\"listening\",\"address\":…,\"admin\":…,
\"adminAddress\":…,\"metrics\":…}

Examples:
  countersign authority serve --trust-domain example.org --listen 127.0.0.1:15012
  countersign authority serve --config authority.yaml
  countersign authority serve --metrics-listen 127.0.0.1:15014 --admin-listen 0.0.0.0:15013 \\
      --admin-operator spiffe://cluster.local/ops/alice --admin-viewer 'spiffe://cluster.local/ops/*'")]
pub(crate) struct AuthorityServeArgs {
    /// Configuration file, YAML; the arguments below win over it
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Keys, certificates and the database [default: .countersign/authority]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Where to serve certificates (port 0: a free one) [default: 127.0.0.1:15012]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
    /// The trust domain; a root and an intermediate are made for it where there are none
    /// [default: cluster.local]
    #[arg(long, value_name = "NAME")]
    pub(crate) trust_domain: Option<String>,
    /// Lifetime of a certificate whose request names none [default: 1h]
    #[arg(long, value_parser = seconds, value_name = "DURATION")]
    pub(crate) default_ttl: Option<u64>,
    /// Longest lifetime a request may ask for; beyond it the request is refused [default: 24h]
    #[arg(long, value_parser = seconds, value_name = "DURATION")]
    pub(crate) max_ttl: Option<u64>,
    /// Keys of the authority [default: ecdsa-p256]
    #[arg(long, value_enum)]
    pub(crate) key_algorithm: Option<KeyAlgorithm>,
    #[command(flatten)]
    pub(crate) ca_passphrase: PassphraseArgs,
    /// Where to tell metrics (/metrics), liveness (/healthz) and readiness (/readyz), by plain HTTP
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) metrics_listen: Option<SocketAddr>,
    /// Where to serve administration over mutual TLS, beside the socket
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) admin_listen: Option<SocketAddr>,
    /// Who may read there: a SPIFFE ID, or all below one (`spiffe://example.org/ops/*`); repeatable
    #[arg(long, requires = "admin_listen", value_name = "PATTERN")]
    pub(crate) admin_viewer: Vec<String>,
    /// Who may do everything there; repeatable
    #[arg(long, requires = "admin_listen", value_name = "PATTERN")]
    pub(crate) admin_operator: Vec<String>,
    /// File of issuance rules, read again whenever its content changes [default: built-in rules]
    #[arg(long, value_name = "FILE")]
    pub(crate) issuance_policy: Option<PathBuf>,
    /// Start on a record older than the position beside it: what was revoked since is accepted again
    #[arg(long)]
    pub(crate) accept_lost_revocations: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum KeyAlgorithm {
    /// ECDSA on P-256
    EcdsaP256,
    /// RSA with 2048 bits
    Rsa2048,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// Run: keep certificates fresh and serve them to Envoy over SDS
    Run(AgentRunArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Prints one JSON line when it is ready: {\"event\":\"ready\",\"socket\":…,\"spiffe_id\":…}

Example:
  countersign token create spiffe://example.org/countersign/agent/web-1 > token
  countersign agent run --authority 127.0.0.1:15012 --bundle .countersign/authority/bundle.pem \\
      --join-token-file token")]
pub(crate) struct AgentRunArgs {
    /// The authority's address
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) authority: SocketAddr,
    /// The DNS name the authority's certificate must carry
    #[arg(long, default_value = "countersign-authority", value_name = "NAME")]
    pub(crate) authority_name: String,
    /// Root certificates that the authority's chain must end in (PEM)
    #[arg(long, value_name = "FILE")]
    pub(crate) bundle: PathBuf,
    /// The agent's own key and certificate
    #[arg(long, default_value = ".countersign/agent", value_name = "FOLDER")]
    pub(crate) data_dir: PathBuf,
    /// File with the join token of a first start
    #[arg(long, value_name = "FILE")]
    pub(crate) join_token_file: Option<PathBuf>,
    /// The Unix socket for Envoy [default: agent.sock in the data folder]
    #[arg(long, value_name = "SOCKET")]
    pub(crate) socket: Option<PathBuf>,
    /// Keys of the workloads
    #[arg(long, value_enum, default_value_t = KeyAlgorithm::EcdsaP256)]
    pub(crate) key_algorithm: KeyAlgorithm,
}
