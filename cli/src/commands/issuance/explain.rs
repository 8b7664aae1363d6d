//! `countersign issuance explain`: one request, and what each rule has to say.

use std::collections::BTreeMap;

use authority::issuance::{Facts, Limits, RuleTrace};
use identity::UnixTime;
use serde::Serialize;

use crate::args::IssuanceExplainArgs;
use crate::commands::issuance::test::trace;
use crate::commands::now;
use crate::failure::Failure;
use crate::output::{self, Format};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Explained {
    verdict: BTreeMap<&'static str, String>,
    detail: String,
    rules: Vec<RuleTrace>,
}

pub(super) fn run(args: &IssuanceExplainArgs) -> Result<(), Failure> {
    let policy = super::policy(&args.policy).map_err(|problems| super::failed(&problems))?;
    let facts = facts(args)?;
    let trust_domain = super::trust_domain(&args.trust_domain)?;
    let limits = Limits {
        trust_domain: &trust_domain,
        default_ttl: DEFAULT_TTL,
        max_ttl: MAX_TTL,
        now: UnixTime::from_secs(now()),
        jitter: 0,
    };
    let decided = policy.decide(&facts, &limits);
    let explained = Explained {
        detail: match &decided {
            Ok(allowed) => format!("rule {} gives {}", allowed.rule, allowed.spiffe_id),
            Err(denial) => denial.to_string(),
        },
        verdict: authority::issuance::Expect::of(&decided).fields(),
        rules: policy.explain(&facts, &limits),
    };
    match args.output.output {
        Format::Table => {
            let fields = explained.verdict.iter();
            let fields = fields.map(|(field, value)| vec![(*field).to_owned(), value.clone()]);
            let lines: Vec<String> = explained.rules.iter().map(trace).collect();
            let table = output::table(&["verdict", ""], fields);
            output::line(&format!(
                "{table}\n\n{}\n\n{}",
                explained.detail,
                lines.join("\n")
            ))
        }
        format => output::object(format, &explained, Vec::new()),
    }
}

fn facts(args: &IssuanceExplainArgs) -> Result<Facts, Failure> {
    let mut metadata = BTreeMap::new();
    for pair in &args.metadata {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| Failure::Check(format!("--metadata {pair:?}: expected KEY=VALUE")))?;
        metadata.insert(key.to_owned(), value.to_owned());
    }
    Ok(Facts {
        proof: args.proof.clone(),
        caller_id: args.caller_id.clone(),
        selectors: args.selectors.clone(),
        metadata,
        requested_id: args.requested_id.clone(),
        ttl_seconds: args.ttl,
        key: args.key,
        dns_names: args.dns_names.clone(),
        entry_ttl_seconds: None,
    })
}

/// The authority's defaults, in seconds.
pub(super) const DEFAULT_TTL: i64 = 3600;
/// The authority's default limit, in seconds.
pub(super) const MAX_TTL: i64 = 24 * 3600;
