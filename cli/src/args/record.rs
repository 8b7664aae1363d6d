//! Arguments of the commands on the authority's record: certificates, entries, tokens.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use identity::SpiffeId;

use super::{AdminArgs, OutputArgs, RecordExportArgs, SearchArgs, seconds};

#[derive(Debug, Subcommand)]
pub(crate) enum CertCommand {
    /// List certificates, newest first
    #[command(
        after_help = "Examples:\n  countersign cert list --id spiffe://example.org/web -o json\n  countersign cert list 'expires<7d and owner=payments'"
    )]
    List {
        #[command(flatten)]
        admin: AdminArgs,
        #[command(flatten)]
        output: OutputArgs,
        /// A query, as for `cert search`
        #[arg(conflicts_with_all = ["id", "state"])]
        query: Option<String>,
        /// Only this identity's
        #[arg(long, value_name = "SPIFFE-ID")]
        id: Option<SpiffeId>,
        /// Only those in this state
        #[arg(long, value_enum)]
        state: Option<CertState>,
        /// At most this many
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Search certificates, or refused requests
    ///
    /// Conditions with = != ~ !~ < <= > >=, joined by `and`, `or`, `not` and parentheses; ~ takes * and ?.
    /// Fields: serial, sha256, spki, pod, address, identity, node, caller, state, namespace, cluster, issuer, key,
    /// bits, alg, proof, expires, issued, and any other name for metadata (owner=payments). Of refusals: caller,
    /// identity, code, alarm, at, detail. Times are durations (7d, 12h: what is left, or the age) or RFC 3339.
    #[command(
        after_help = "Examples:\n  countersign cert search 'expires<7d and owner=payments'\n  countersign cert search 'identity~spiffe://example.org/ns/prod/* and not state=active'\n  countersign cert search --refusals 'alarm=true and at<24h'"
    )]
    Search(SearchArgs),
    /// Export certificates as CSV, JSON or NDJSON
    #[command(
        after_help = "Example:\n  countersign cert export 'namespace=prod' --format ndjson --out prod.ndjson"
    )]
    Export(RecordExportArgs),
    /// When certificates expire: a histogram
    #[command(after_help = "Example:\n  countersign cert expiry")]
    Expiry {
        #[command(flatten)]
        admin: AdminArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Show one certificate with its chain
    #[command(after_help = "Example:\n  countersign cert show 4f2a…")]
    Show {
        #[command(flatten)]
        admin: AdminArgs,
        #[command(flatten)]
        output: OutputArgs,
        /// Serial number (hexadecimal)
        serial: String,
    },
    /// Issue a certificate to files: key.pem, cert-chain.pem, root-cert.pem
    #[command(
        after_help = "Example:\n  countersign cert issue spiffe://example.org/batch --ttl 12h --out ./batch"
    )]
    Issue {
        #[command(flatten)]
        admin: AdminArgs,
        /// The identity to certify
        id: SpiffeId,
        /// Lifetime
        #[arg(long, default_value = "1h", value_parser = seconds, value_name = "DURATION")]
        ttl: u64,
        /// The folder to write to
        #[arg(long, value_name = "FOLDER")]
        out: PathBuf,
    },
    /// Take certificates back for now; `resume` undoes it
    #[command(
        after_help = "Example:\n  countersign cert suspend --id spiffe://example.org/web --reason 'incident 42'"
    )]
    Suspend(ChangeArgs),
    /// Undo `suspend`
    #[command(after_help = "Example:\n  countersign cert resume --id spiffe://example.org/web")]
    Resume(ChangeArgs),
    /// Take certificates back for good
    #[command(
        after_help = "Example:\n  countersign cert revoke --serial 4f2a… --reason keyCompromise --yes"
    )]
    Revoke {
        #[command(flatten)]
        change: ChangeArgs,
        /// Do it: without this, only what would be revoked is shown
        #[arg(long)]
        yes: bool,
    },
}

/// Which certificates to change, and why.
#[derive(Debug, Args)]
pub(crate) struct ChangeArgs {
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) which: Which,
    /// Kept in the record
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub(crate) reason: String,
}

/// Which certificates are meant; exactly one of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Which {
    /// The certificate with this serial number (hexadecimal)
    #[arg(long, value_name = "HEX")]
    pub(crate) serial: Option<String>,
    /// The certificate with this SHA-256 digest (hexadecimal)
    #[arg(long, value_name = "HEX")]
    pub(crate) sha256: Option<String>,
    /// Every certificate of this identity that is not expired, or was within the last 30 seconds
    #[arg(long, value_name = "SPIFFE-ID")]
    pub(crate) id: Option<SpiffeId>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum CertState {
    Active,
    Suspended,
    Revoked,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EntryCommand {
    /// Let an agent ask for an identity, for processes that match all selectors
    #[command(after_help = "\
Selectors: unix:uid:N, unix:gid:N, unix:path:/usr/bin/envoy, unix:sha256:HEX,
  unix:cgroup:/system.slice/web.service, unix:systemd-unit:web.service

Example:
  countersign entry create --parent spiffe://example.org/countersign/agent/web-1 \\
      --id spiffe://example.org/web --selector unix:uid:1000 --ttl 1h")]
    Create {
        #[command(flatten)]
        admin: AdminArgs,
        #[command(flatten)]
        output: OutputArgs,
        /// The agent that may ask
        #[arg(long, value_name = "SPIFFE-ID")]
        parent: SpiffeId,
        /// The identity it may ask for
        #[arg(long, value_name = "SPIFFE-ID")]
        id: SpiffeId,
        /// What the process must be (repeat; all must hold)
        #[arg(long = "selector", required = true, value_name = "SELECTOR")]
        selectors: Vec<String>,
        /// Lifetime of the certificates
        #[arg(long, default_value = "1h", value_parser = seconds, value_name = "DURATION")]
        ttl: u64,
    },
    /// List the entries
    #[command(after_help = "Example:\n  countersign entry list -o yaml")]
    List {
        #[command(flatten)]
        admin: AdminArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Delete an entry; certificates already issued stay valid until they expire or are revoked
    #[command(after_help = "Example:\n  countersign entry delete 7")]
    Delete {
        #[command(flatten)]
        admin: AdminArgs,
        /// The entry's id
        entry: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a join token for one agent; printed once, kept only as a hash
    #[command(after_help = "\
Example:
  (umask 077; countersign token create spiffe://example.org/countersign/agent/web-1 > token)")]
    Create {
        #[command(flatten)]
        admin: AdminArgs,
        /// The identity the agent will have
        agent: SpiffeId,
        /// How long it can be used
        #[arg(long, default_value = "10m", value_parser = seconds, value_name = "DURATION")]
        ttl: u64,
    },
}
