//! What the command line accepts; nothing here does anything.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::output::Format;

pub(crate) use audit::{
    AuditCommand, BackupArgs, ExportFormat, RecordExportArgs, RestoreArgs, SearchArgs, VerifyArgs,
};
pub(crate) use ca::{
    CaCommand, CaInitArgs, CaKeyAlgorithm, CeremonyCommand, CeremonySignArgs, ExportArgs,
    ImportArgs, IntermediateArgs, PassphraseArgs,
};
pub(crate) use issuance::{
    IssuanceCheckArgs, IssuanceCommand, IssuanceDiffArgs, IssuanceExplainArgs, IssuanceTestArgs,
};
pub(crate) use policy::{
    CheckArgs, DiffArgs, ExplainArgs, LintArgs, LintFormat, PathForm, PolicyCommand,
    Protocol as PolicyProtocol, ProxyKind, PublishArgs, RequestArgs, ScopeArgs, SourceArgs,
    TestArgs, TestFormat, Threshold,
};
pub(crate) use record::{CertCommand, CertState, ChangeArgs, EntryCommand, TokenCommand, Which};
pub(crate) use servers::{
    AgentCommand, AuthorityCommand, AuthorityConfigCommand, AuthorityServeArgs, KeyAlgorithm,
};
pub(crate) use tools::{DoctorArgs, EnvoyCommand};

mod audit;
mod ca;
mod issuance;
mod policy;
mod record;
mod servers;
mod tools;

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
    /// Certificates: list, search, export, show, issue, suspend, resume, revoke
    #[command(subcommand)]
    Cert(CertCommand),
    /// The audit log: check it, read it, prove what is in it
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Registration entries: which agent may ask for which identity, for which processes
    #[command(subcommand)]
    Entry(EntryCommand),
    /// Join tokens, with which an agent proves itself the first time
    #[command(subcommand)]
    Token(TokenCommand),
    /// Rules of who may have which certificate: check, test, explain, dry run
    #[command(subcommand)]
    Issuance(IssuanceCommand),
    /// Istio authorization policies, on a laptop
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Write Envoy and Istio configuration that uses the filter and the agent
    #[command(subcommand)]
    Envoy(EnvoyCommand),
    /// Find what is wrong: settings of an Envoy that undo a check, an authority that will fail
    Doctor(DoctorArgs),
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
    /// Instead of the socket: the address of its administration over the network
    #[arg(
        long,
        env = "COUNTERSIGN_SERVER",
        requires_all = ["cert", "key", "ca"],
        value_name = "HOST:PORT",
        help_heading = "Administration over the network"
    )]
    pub(crate) server: Option<String>,
    /// Your certificate, with what is between it and the root (PEM)
    #[arg(
        long,
        env = "COUNTERSIGN_CERT",
        requires = "server",
        value_name = "FILE",
        help_heading = "Administration over the network"
    )]
    pub(crate) cert: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(
        long,
        env = "COUNTERSIGN_KEY",
        requires = "server",
        value_name = "FILE",
        help_heading = "Administration over the network"
    )]
    pub(crate) key: Option<PathBuf>,
    /// Root certificates that the authority's chain must end in (PEM)
    #[arg(
        long,
        env = "COUNTERSIGN_CA",
        requires = "server",
        value_name = "FILE",
        help_heading = "Administration over the network"
    )]
    pub(crate) ca: Option<PathBuf>,
    /// The DNS name the authority's certificate must carry
    #[arg(
        long,
        default_value = "countersign-authority",
        value_name = "NAME",
        help_heading = "Administration over the network"
    )]
    pub(crate) server_name: String,
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
