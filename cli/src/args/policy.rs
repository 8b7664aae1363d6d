//! Arguments of the policy tools.

mod value;
mod workload;

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use identity::TrustDomain;
use identity::policy_bundle::BundleName;

use super::{AdminArgs, OutputArgs};

pub(crate) use self::workload::{PathForm, Protocol, ProxyKind, ScopeArgs};

use self::value::{pair, peer, trust_domain};

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Compile policies; say what is wrong in all of them, and where
    Check(CheckArgs),
    /// Find policies that compile but hardly do what was meant
    Lint(LintArgs),
    /// Run policy tests: requests, and the verdicts expected of them
    Test(TestArgs),
    /// Say of one request what becomes of it, and of each rule why
    Explain(Box<ExplainArgs>),
    /// Replay requests against two sets of policies: who gains, who loses access
    Diff(DiffArgs),
    /// Sign policies and hand them to every filter that names the bundle
    Publish(PublishArgs),
    /// Show which policy bundles are published, or the policies of one
    #[command(after_help = "\
Examples:
  countersign policy published
  countersign policy published shop -o yaml > policies.yaml")]
    Published {
        #[command(flatten)]
        admin: AdminArgs,
        #[command(flatten)]
        output: OutputArgs,
        /// The bundle whose policies to show
        #[arg(value_name = "NAME")]
        name: Option<BundleName>,
    },
    /// Print the JSON Schema of the filter's plug-in configuration
    #[command(after_help = "Example:\n  countersign policy schema > plugin-config.schema.json")]
    Schema,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Reads AuthorizationPolicy, PeerAuthentication and RequestAuthentication. Exit code 1 if one does not
compile.

Examples:
  countersign policy check examples/quickstart/*.yaml
  countersign policy check --skip-other-kinds manifests/
  kubectl get authorizationpolicies -A -o yaml | countersign policy check -")]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) sources: SourceArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
For policies that are too many for a plug-in configuration (256 KiB); docs/policy-bundle.md. Compiles all of
them first and publishes all or none. Exit code 1 if one does not compile. The policies take the place of the
bundle's before.

Examples:
  countersign policy publish shop policies/ --dry-run    what would change
  countersign policy publish shop policies/
  kubectl get authorizationpolicies -A -o yaml | countersign policy publish shop -")]
pub(crate) struct PublishArgs {
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// Only say what would change
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The bundle's name, as the plug-in configuration has it in `policyBundle`
    #[arg(value_name = "NAME")]
    pub(crate) name: BundleName,
    #[command(flatten)]
    pub(crate) sources: SourceArgs,
}

/// Where policies are.
#[derive(Debug, Args)]
pub(crate) struct SourceArgs {
    /// Leave resources of other kinds out instead of refusing them
    #[arg(long)]
    pub(crate) skip_other_kinds: bool,
    /// Files, folders (with all folders in them), or `-` for standard input
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Exit code 1 if there is a finding of at least the severity --fail-on.

Examples:
  countersign policy lint examples/quickstart/*.yaml
  countersign policy lint policies/ --trust-domain example.org --allow host-without-port
  countersign policy lint policies/ --format github      annotations in a GitHub workflow")]
pub(crate) struct LintArgs {
    /// Output format
    #[arg(short = 'o', long = "output", visible_alias = "format", value_enum, default_value_t = LintFormat::Table)]
    pub(crate) output: LintFormat,
    /// The least severity that fails; what does not compile always does
    #[arg(long, value_enum, default_value_t = Threshold::Warning, value_name = "SEVERITY")]
    pub(crate) fail_on: Threshold,
    /// A code of findings that are all right here; may be given several times
    #[arg(long = "allow", value_parser = lint_codes(), value_name = "CODE")]
    pub(crate) allowed: Vec<String>,
    /// A trust domain that the mesh knows; may be given several times
    #[arg(long = "trust-domain", value_parser = trust_domain, value_name = "TRUST_DOMAIN")]
    pub(crate) trust_domains: Vec<TrustDomain>,
    /// What the proxies speak, if it is one of them everywhere
    #[arg(long, value_enum)]
    pub(crate) protocol: Option<Protocol>,
    /// A port that does not speak HTTP; may be given several times
    #[arg(long = "tcp-port", value_name = "PORT")]
    pub(crate) tcp_ports: Vec<u16>,
    /// Policies of this namespace apply in every namespace
    #[arg(long, default_value = "istio-system", value_name = "NAMESPACE")]
    pub(crate) root_namespace: String,
    /// The form in which paths reach the filter
    #[arg(long, value_enum, default_value_t = PathForm::DecodeAndMergeSlashes)]
    pub(crate) path_normalization: PathForm,
    #[command(flatten)]
    pub(crate) sources: SourceArgs,
}

fn lint_codes() -> clap::builder::PossibleValuesParser {
    policy::lint::Code::ALL
        .iter()
        .map(|code| code.as_str())
        .collect::<Vec<_>>()
        .into()
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum LintFormat {
    /// For reading
    Table,
    /// One JSON document
    Json,
    /// One YAML document
    Yaml,
    /// Annotations of a GitHub workflow
    Github,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Threshold {
    /// Warnings
    Warning,
    /// Any finding
    Note,
    /// None: print, and succeed
    Never,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A test file holds policies (or names their files), the workload, and requests with the verdict expected
of each; docs/policy-testing.md describes it. Exit code 1 if a case fails, or a rule too few matched.

Examples:
  countersign policy test examples/policy-tests/tests
  countersign policy test tests/ --coverage --min-coverage 90 --junit report.xml
  countersign policy test tests/ --wasm                  the same through the built filter")]
pub(crate) struct TestArgs {
    /// Output format
    #[arg(short = 'o', long = "output", visible_alias = "format", value_enum, default_value_t = TestFormat::Table)]
    pub(crate) output: TestFormat,
    /// Also write JUnit XML to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// Only run cases whose name contains this
    #[arg(long, value_name = "TEXT")]
    pub(crate) only: Option<String>,
    /// Say which rules matched no request
    #[arg(long)]
    pub(crate) coverage: bool,
    /// Fail if fewer rules of a hundred matched a request
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=100), value_name = "PERCENT")]
    pub(crate) min_coverage: Option<u8>,
    /// Also run each case through the built filter, and compare
    #[arg(long)]
    pub(crate) wasm: bool,
    /// The built filter, for --wasm
    #[arg(
        long,
        env = "COUNTERSIGN_WASM",
        default_value = "target/wasm/wasm32-unknown-unknown/wasm/countersign_filter.wasm",
        value_name = "FILE"
    )]
    pub(crate) filter: PathBuf,
    /// Test files, and folders with test files (with all folders in them)
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum TestFormat {
    /// For reading
    Table,
    /// One JSON document
    Json,
    /// One YAML document
    Yaml,
    /// Test Anything Protocol
    Tap,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Exit code 0 whatever the verdict is; 1 if the policies do not compile. A request file has the fields of
a case of a test file (docs/policy-testing.md), without name and expect; options win over it.

Examples:
  countersign policy explain examples/quickstart/*.yaml -l app=httpbin \\
      --peer spiffe://cluster.local/ns/default/sa/sleep --path /ip
  countersign policy explain policies/ --request request.yaml -o json")]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) request: RequestArgs,
    #[command(flatten)]
    pub(crate) scope: ScopeArgs,
    #[command(flatten)]
    pub(crate) sources: SourceArgs,
}

/// One request.
#[derive(Debug, Args)]
#[command(next_help_heading = "The request")]
pub(crate) struct RequestArgs {
    /// A file with the request (YAML or JSON)
    #[arg(long, value_name = "FILE")]
    pub(crate) request: Option<PathBuf>,
    /// Who calls: a SPIFFE ID, `plaintext`, or `certificate-missing` [default: plaintext]
    #[arg(long, value_parser = peer, value_name = "PEER")]
    pub(crate) peer: Option<String>,
    /// The peer's certificate (PEM)
    #[arg(long, value_name = "FILE", conflicts_with = "peer")]
    pub(crate) certificate: Option<PathBuf>,
    /// The method [default: GET]
    #[arg(long, short = 'X')]
    pub(crate) method: Option<String>,
    /// The path, with its query [default: /]
    #[arg(long)]
    pub(crate) path: Option<String>,
    /// The host, with its port if it has one [default: httpbin.default]
    #[arg(long)]
    pub(crate) host: Option<String>,
    /// A header; may be given several times
    #[arg(long = "header", short = 'H', value_parser = pair, value_name = "NAME=VALUE")]
    pub(crate) headers: Vec<(String, String)>,
    /// Address of the TCP peer [default: 10.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) source_ip: Option<IpAddr>,
    /// Address of the client behind trusted proxies [default: that of the TCP peer]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) remote_ip: Option<IpAddr>,
    /// Local address of the connection [default: 10.0.0.2]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) destination_ip: Option<IpAddr>,
    /// Local port of the connection [default: 8080]
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// Server name that the client asked for in TLS
    #[arg(long, value_name = "NAME")]
    pub(crate) sni: Option<String>,
    /// Payload of the validated JSON Web Token (JSON or YAML)
    #[arg(long, value_name = "FILE")]
    pub(crate) claims: Option<PathBuf>,
    /// What certificates are judged at (RFC 3339) [default: a minute after the certificate became valid]
    #[arg(long)]
    pub(crate) time: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A decision log holds what the filter writes: lines with `countersign-decision {…}`, as in Envoy's log, or
the JSON alone. It does not hold all of a request, so let the
plug-in configuration name what is to be in it (decisionLog.allowed, decisionLog.headers), or replay test files. Exit code 0 even if there are changes, but
for --fail-on-change.

Examples:
  countersign policy diff old/ new/ -n shop -l app=web --decision-log envoy.log
  countersign policy diff old.yaml new.yaml --tests tests/ --fail-on-change
  kubectl logs web -c istio-proxy | countersign policy diff old/ new/ --decision-log -")]
pub(crate) struct DiffArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// Exit with 1 if a verdict changes
    #[arg(long)]
    pub(crate) fail_on_change: bool,
    #[command(flatten)]
    pub(crate) requests: ReplayArgs,
    #[command(flatten)]
    pub(crate) scope: ScopeArgs,
    /// Leave resources of other kinds out instead of refusing them
    #[arg(long)]
    pub(crate) skip_other_kinds: bool,
    /// File or folder with the policies as they are
    #[arg(value_name = "OLD")]
    pub(crate) old: PathBuf,
    /// File or folder with the policies as they would be
    #[arg(value_name = "NEW")]
    pub(crate) new: PathBuf,
}

/// What is replayed.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct ReplayArgs {
    /// A decision log; `-` for standard input
    #[arg(long = "decision-log", value_name = "FILE")]
    pub(crate) logs: Vec<PathBuf>,
    /// Test files, or folders with test files; their own policies and workload do not count
    #[arg(long, value_name = "PATH")]
    pub(crate) tests: Vec<PathBuf>,
}
