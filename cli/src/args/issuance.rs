//! Arguments of `countersign issuance`.

use std::path::PathBuf;

use authority::issue::KeyType;
use clap::{Args, Subcommand};
use identity::SpiffeId;

use super::{AdminArgs, OutputArgs, TestFormat};

#[derive(Debug, Subcommand)]
pub(crate) enum IssuanceCommand {
    /// Do these files of rules compile, and are they what was meant?
    Check(IssuanceCheckArgs),
    /// Run test cases: who asks, and what is to become of it
    Test(IssuanceTestArgs),
    /// What becomes of one request, and what each rule has to say
    Explain(IssuanceExplainArgs),
    /// Dry run: who would gain and who would lose a certificate by other rules
    Diff(IssuanceDiffArgs),
    /// The last requests of a running authority, one JSON document a line (for `diff --requests`)
    #[command(
        after_help = "Example:\n  countersign issuance requests --last 5000 > requests.ndjson"
    )]
    Requests {
        #[command(flatten)]
        admin: AdminArgs,
        /// How many, at most 10,000
        #[arg(long, default_value_t = 1000, value_name = "COUNT")]
        last: u32,
    },
    /// The rules in force at a running authority
    #[command(
        after_help = "Examples:\n  countersign issuance show\n  countersign issuance show --text > rules.yaml"
    )]
    Show {
        #[command(flatten)]
        admin: AdminArgs,
        #[command(flatten)]
        output: OutputArgs,
        /// Print the file's text instead
        #[arg(long)]
        text: bool,
    },
    /// The rules of an authority that was given none
    #[command(after_help = "Example:\n  countersign issuance builtin > rules.yaml")]
    Builtin,
    /// The JSON Schema of a file of rules, for editors
    #[command(after_help = "Example:\n  countersign issuance schema > issuance.schema.json")]
    Schema,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Every problem of every file is told at its line. What compiles but can hardly be meant is a warning:
shadowed, never-matches, unknown-variable, unsure-variable, overlapping-ids, allows-everybody,
denies-everybody. Exit code 1 if a file does not compile, or with --strict if there is a warning.

Example:
  countersign issuance check rules.yaml --strict")]
pub(crate) struct IssuanceCheckArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// Warnings are failures
    #[arg(long)]
    pub(crate) strict: bool,
    /// Files of rules
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
docs/issuance-policy.md describes the file of cases. Exit code 1 if a case fails.

Examples:
  countersign issuance test cases.yaml
  countersign issuance test cases.yaml --policy other-rules.yaml --junit report.xml -o tap")]
pub(crate) struct IssuanceTestArgs {
    /// Output format
    #[arg(short = 'o', long = "output", value_enum, default_value_t = TestFormat::Table)]
    pub(crate) output: TestFormat,
    /// Also write JUnit XML to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// These rules instead of those the files name
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// Files of cases
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Exit code 0 whatever the verdict is; 1 if the rules do not compile.

Examples:
  countersign issuance explain rules.yaml --proof kubernetes -s k8s:ns:payments -s k8s:sa:web
  countersign issuance explain builtin --proof operator --requested-id spiffe://example.org/db")]
pub(crate) struct IssuanceExplainArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// How the caller proved who it is
    #[arg(long, value_name = "NAME")]
    pub(crate) proof: String,
    /// The identity the proof gives
    #[arg(long, value_name = "SPIFFE-ID")]
    pub(crate) caller_id: Option<SpiffeId>,
    /// The identity asked for
    #[arg(long, value_name = "SPIFFE-ID")]
    pub(crate) requested_id: Option<SpiffeId>,
    /// What the proof says (repeat it)
    #[arg(short, long = "selector", value_name = "TYPE:VALUE")]
    pub(crate) selectors: Vec<String>,
    /// What the request says about itself (repeat it)
    #[arg(short, long = "metadata", value_name = "KEY=VALUE")]
    pub(crate) metadata: Vec<String>,
    /// A DNS name the CSR asks for (repeat it)
    #[arg(long = "dns", value_name = "NAME")]
    pub(crate) dns_names: Vec<String>,
    /// The key to certify
    #[arg(long, default_value = "ecdsa-p256", value_name = "ALGORITHM")]
    pub(crate) key: KeyType,
    /// Lifetime asked for, in seconds
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    pub(crate) ttl: i64,
    /// The trust domain
    #[arg(long, default_value = "cluster.local", value_name = "NAME")]
    pub(crate) trust_domain: String,
    /// The file of rules, or `builtin`
    #[arg(value_name = "FILE")]
    pub(crate) policy: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Requests are the last ones of the running authority, or of a file that `issuance requests` wrote. Its
rules cannot be changed by this. Exit code 0; with --fail-on-change 1 if anything changes.

Examples:
  countersign issuance diff active new-rules.yaml --last 5000
  countersign issuance diff old.yaml new.yaml --requests requests.ndjson --fail-on-change")]
pub(crate) struct IssuanceDiffArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    /// How many requests of the running authority, at most 10,000
    #[arg(
        long,
        default_value_t = 1000,
        value_name = "COUNT",
        conflicts_with = "requests"
    )]
    pub(crate) last: u32,
    /// A file of requests, one JSON document a line
    #[arg(long, value_name = "FILE")]
    pub(crate) requests: Option<PathBuf>,
    /// The trust domain, for requests of a file
    #[arg(long, default_value = "cluster.local", value_name = "NAME")]
    pub(crate) trust_domain: String,
    /// Fail if a verdict changes
    #[arg(long)]
    pub(crate) fail_on_change: bool,
    /// The old rules: a file, `builtin`, or `active` for those of the running authority
    #[arg(value_name = "OLD")]
    pub(crate) old: PathBuf,
    /// The new rules, likewise
    #[arg(value_name = "NEW")]
    pub(crate) new: PathBuf,
}
