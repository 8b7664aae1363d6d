//! What the command line accepts; nothing here does anything.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use identity::SpiffeId;

use crate::output::Format;

/// The authority, the agent and the policy tools of Countersign in one binary.
///
/// Exit codes: 0 done, 1 failed (or a check found something), 2 bad usage.
#[derive(Debug, Parser)]
#[command(
    name = "countersign",
    version,
    max_term_width = 100,
    propagate_version = true
)]
#[command(after_help = "\
Examples:
  countersign up                     everything on this machine, with a live view
  countersign up --once              the same unattended: checks all of it, then stops
  countersign policy check *.yaml    does every policy compile?
  countersign cert list -o json      what has been issued")]
pub(crate) struct Cli {
    /// How much to log on standard error: error, warn, info, debug, trace, or a tracing filter.
    #[arg(
        long,
        global = true,
        env = "COUNTERSIGN_LOG",
        default_value = "info",
        value_name = "FILTER"
    )]
    pub(crate) log: String,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything on this machine: authority, agents, Envoys, two workloads and an impostor
    Up(UpArgs),
    /// The certificate authority
    #[command(subcommand)]
    Authority(AuthorityCommand),
    /// The agent beside Envoy
    #[command(subcommand)]
    Agent(AgentCommand),
    /// The authority's own keys and certificates
    #[command(subcommand)]
    Ca(CaCommand),
    /// Certificates: list, show, issue, suspend, resume, revoke
    #[command(subcommand)]
    Cert(CertCommand),
    /// Registration entries: which agent may ask for which identity, for which processes
    #[command(subcommand)]
    Entry(EntryCommand),
    /// Join tokens, with which an agent proves itself the first time
    #[command(subcommand)]
    Token(TokenCommand),
    /// Istio authorization policies, on a laptop
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Write Envoy and Istio configuration that uses the filter and the agent
    #[command(subcommand)]
    Envoy(EnvoyCommand),
    /// Print a completion script for a shell
    #[command(
        after_help = "Example:\n  countersign completions bash > /etc/bash_completion.d/countersign"
    )]
    Completions {
        /// The shell to complete for
        shell: clap_complete::Shell,
    },
}

/// Where the authority's admin socket is.
#[derive(Debug, Args)]
pub(crate) struct AdminArgs {
    /// The authority's admin socket
    #[arg(
        long,
        env = "COUNTERSIGN_ADMIN",
        default_value = ".countersign/authority/admin.sock",
        value_name = "SOCKET"
    )]
    pub(crate) admin: PathBuf,
}

/// How to print.
#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  countersign up
  countersign up --once                       exits 0 only if everything expected was seen
  countersign up --data-dir /tmp/mesh --leaf-ttl 2m")]
pub(crate) struct UpArgs {
    /// Run every check unattended, print expected against observed, and stop
    #[arg(long)]
    pub(crate) once: bool,
    /// Where the authority, the agents and the Envoys keep their files
    #[arg(long, default_value = ".countersign", value_name = "FOLDER")]
    pub(crate) data_dir: PathBuf,
    /// Lifetime of the workloads' certificates (rotation happens at half of it)
    #[arg(long, default_value = "60s", value_parser = seconds, value_name = "DURATION")]
    pub(crate) leaf_ttl: u64,
    /// Folder or file with the policies to enforce in front of httpbin
    #[arg(long, default_value = "examples/quickstart", value_name = "PATH")]
    pub(crate) policies: PathBuf,
    /// The built filter
    #[arg(
        long,
        env = "COUNTERSIGN_WASM",
        default_value = "target/wasm/wasm32-unknown-unknown/wasm/countersign_filter.wasm",
        value_name = "FILE"
    )]
    pub(crate) wasm: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuthorityCommand {
    /// Serve: issue certificates, keep the record, publish the deny list
    Serve(AuthorityServeArgs),
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
}

#[derive(Debug, Subcommand)]
pub(crate) enum CertCommand {
    /// List certificates, newest first
    #[command(
        after_help = "Example:\n  countersign cert list --id spiffe://example.org/web -o json"
    )]
    List {
        #[command(flatten)]
        admin: AdminArgs,
        #[command(flatten)]
        output: OutputArgs,
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
    /// Every unexpired certificate of this identity
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
Selectors: unix:uid:N, unix:gid:N, unix:path:/usr/bin/envoy, unix:sha256:HEX

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

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Compile policies; exit 1 and say where if one does not
    #[command(after_help = "Example:\n  countersign policy check examples/quickstart/*.yaml")]
    Check {
        #[command(flatten)]
        output: OutputArgs,
        /// Files or folders with AuthorizationPolicy resources
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
    },
    /// Print the JSON Schema of the filter's plug-in configuration
    #[command(after_help = "Example:\n  countersign policy schema > plugin-config.schema.json")]
    Schema,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EnvoyCommand {
    /// Write a WasmPlugin resource for Istio
    #[command(after_help = "\
Example:
  countersign envoy wasmplugin --name countersign --namespace default \\
      --url oci://registry.example/countersign_filter:0.1.0 --config plugin.json")]
    Wasmplugin {
        /// Name of the resource
        #[arg(long, default_value = "countersign")]
        name: String,
        /// Namespace of the resource
        #[arg(long, default_value = "default")]
        namespace: String,
        /// Where the proxies fetch the filter: oci://, https:// or file://
        #[arg(long)]
        url: String,
        /// Plug-in configuration (JSON; see `countersign policy schema`)
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

/// `90`, `90s`, `15m`, `24h`, `7d` as seconds; at least one.
fn seconds(text: &str) -> Result<u64, String> {
    const UNITS: [(char, u64); 4] = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)];
    let (digits, factor) = UNITS
        .iter()
        .find_map(|&(unit, factor)| text.strip_suffix(unit).map(|digits| (digits, factor)))
        .unwrap_or((text, 1));
    digits
        .parse::<u64>()
        .ok()
        .and_then(|count| count.checked_mul(factor))
        .filter(|&seconds| seconds > 0)
        .ok_or_else(|| "expected a duration such as 90s, 15m, 24h or 7d".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn reads_durations_and_refuses_the_rest() {
        assert_eq!(seconds("90"), Ok(90));
        assert_eq!(seconds("15m"), Ok(900));
        assert_eq!(seconds("7d"), Ok(604_800));
        for bad in ["", "s", "0", "-1s", "1w", "1.5h", "99999999999999999999d"] {
            assert!(seconds(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn every_command_has_an_example() {
        fn visit(command: &clap::Command, path: &str, missing: &mut Vec<String>) {
            let path = format!("{path} {}", command.get_name());
            let has_children = command
                .get_subcommands()
                .any(|child| child.get_name() != "help");
            if !has_children && command.get_name() != "help" {
                let text = command
                    .get_after_help()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                if !text.contains("Example") {
                    missing.push(path.clone());
                }
            }
            for child in command.get_subcommands() {
                visit(child, &path, missing);
            }
        }
        let mut missing = Vec::new();
        visit(&Cli::command(), "", &mut missing);
        assert!(missing.is_empty(), "without an example: {missing:?}");
    }
}
