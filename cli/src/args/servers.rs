//! Arguments of what runs as a server, and of the CA it runs on.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{AdminArgs, BackupArgs, OutputArgs, RestoreArgs, seconds};

#[derive(Debug, Subcommand)]
pub(crate) enum AuthorityCommand {
    /// Serve: issue certificates, keep the record, publish the deny list
    Serve(AuthorityServeArgs),
    /// Back the record up to one file, also while an authority runs
    Backup(BackupArgs),
    /// Put a backup back: checked first, and what was there is kept
    Restore(RestoreArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Prints one JSON line when it listens: {\"event\":\"listening\",\"address\":…,\"admin\":…}

Example:
  countersign authority serve --trust-domain example.org --listen 127.0.0.1:15012")]
pub(crate) struct AuthorityServeArgs {
    /// Keys, certificates and the database
    #[arg(long, default_value = ".countersign/authority", value_name = "FOLDER")]
    pub(crate) data_dir: PathBuf,
    /// Where to serve certificates (port 0: a free one)
    #[arg(long, default_value = "127.0.0.1:15012", value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,
    /// The trust domain; a root and an intermediate are made for it where there are none
    #[arg(long, default_value = "cluster.local", value_name = "NAME")]
    pub(crate) trust_domain: String,
    /// Lifetime of a certificate whose request names none
    #[arg(long, default_value = "1h", value_parser = seconds, value_name = "DURATION")]
    pub(crate) default_ttl: u64,
    /// Longest lifetime a request may ask for; beyond it the request is refused
    #[arg(long, default_value = "24h", value_parser = seconds, value_name = "DURATION")]
    pub(crate) max_ttl: u64,
    /// Keys of the authority
    #[arg(long, value_enum, default_value_t = KeyAlgorithm::EcdsaP256)]
    pub(crate) key_algorithm: KeyAlgorithm,
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

#[derive(Debug, Subcommand)]
pub(crate) enum CaCommand {
    /// Make a root and an intermediate (what `authority serve` does where there are none)
    #[command(after_help = "Example:\n  countersign ca init --trust-domain example.org")]
    Init {
        /// Keys, certificates and the database
        #[arg(long, default_value = ".countersign/authority", value_name = "FOLDER")]
        data_dir: PathBuf,
        /// The trust domain to certify
        #[arg(long, default_value = "cluster.local", value_name = "NAME")]
        trust_domain: String,
        /// Keys of root and intermediate
        #[arg(long, value_enum, default_value_t = KeyAlgorithm::EcdsaP256)]
        key_algorithm: KeyAlgorithm,
    },
    /// Root, intermediate, deny list and counts of a running authority
    #[command(after_help = "Example:\n  countersign ca status -o json")]
    Status {
        #[command(flatten)]
        admin: AdminArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Take the prepared key of the deny list into use, and prepare another
    ///
    /// Filters that pin the list's signer by its SPIFFE ID need nothing; those that pin keys must have
    /// had the prepared one (`ca status -o json`: the second of `denyList.keys`).
    #[command(after_help = "Example:\n  countersign ca rotate-list-key")]
    RotateListKey {
        #[command(flatten)]
        admin: AdminArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
}
