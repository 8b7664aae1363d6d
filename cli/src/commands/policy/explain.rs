//! `countersign policy explain`: what becomes of one request, and why.

use identity::UnixTime;
use identity::x509::SvidProfile;
use policy::corpus::{Case, CasePeer};
use policy::{Explanation, Scope, Shadow};
use serde::Serialize;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use wasm_tests::runner::{Found, OneRequest, RuleTrace, Sources, read_value};

use super::style::{Style, plain};
use super::{scope, sources, trace};
use crate::args::{ExplainArgs, RequestArgs};
use crate::failure::Failure;
use crate::output::{self, Format};

/// What a program is told.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Explained {
    #[serde(flatten)]
    found: Found,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    audit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dry_run: Option<Found>,
    deny_policies: Vec<String>,
    allow_policies: Vec<String>,
    rules: Vec<RuleTrace>,
}

pub(super) fn run(args: &ExplainArgs) -> Result<(), Failure> {
    let policies = sources::require(&args.sources)?;
    let scope = scope::resolve(&args.scope, &[&policies]);
    let set = policies
        .compile(&scope)
        .map_err(|problems| sources::failed(&problems))?;
    let request = read(&args.request)?;
    let explanation = request.explain(&set);
    let explained = Explained::of(&explanation, &policies);
    match args.output.output {
        Format::Table => {
            let mut lines = shown(&explained, request.case(), &scope);
            if set.rules().next().is_none()
                && explained.allow_policies.is_empty()
                && let Some(flags) = scope::hint(&args.scope, &policies)
            {
                lines.push(format!("No rule applies to this workload; try {flags}"));
            }
            output::line(lines.join("\n").trim_end())
        }
        format => output::object(format, &explained, Vec::new()),
    }
}

/// The request of the command line.
fn read(args: &RequestArgs) -> Result<OneRequest, Failure> {
    let failed = |problems: Vec<_>| sources::failed(&problems);
    let mut fields = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            fields.insert(name.to_owned(), value);
        }
    };
    set("peer", args.peer.as_ref().map(|peer| json!(peer)));
    set("method", args.method.as_ref().map(|method| json!(method)));
    set("path", args.path.as_ref().map(|path| json!(path)));
    set("host", args.host.as_ref().map(|host| json!(host)));
    let headers = (!args.headers.is_empty()).then(|| json!(args.headers));
    set("headers", headers);
    set("sourceIp", args.source_ip.map(|address| json!(address)));
    set("remoteIp", args.remote_ip.map(|address| json!(address)));
    set(
        "destinationIp",
        args.destination_ip.map(|address| json!(address)),
    );
    set("destinationPort", args.port.map(|port| json!(port)));
    set("sni", args.sni.as_ref().map(|name| json!(name)));
    if let Some(file) = &args.claims {
        set("claims", Some(read_value(file).map_err(failed)?));
    }
    if let Some(file) = &args.certificate {
        // Relative to where the command is run, not to the request's file.
        let file = std::path::absolute(file).map_err(|error| Failure::file("read", file, error))?;
        set("certificate", Some(json!({"file": file})));
    }
    let time = args.time.as_deref().map(time).transpose()?;
    OneRequest::read(
        args.request.as_deref(),
        fields,
        time,
        SvidProfile::default(),
    )
    .map_err(failed)
}

fn time(text: &str) -> Result<UnixTime, Failure> {
    OffsetDateTime::parse(text, &Rfc3339)
        .map(|time| UnixTime::from_secs(time.unix_timestamp()))
        .map_err(|error| {
            Failure::part(
                format!("--time {text:?} (expected 2027-01-15T08:00:00Z)"),
                error,
            )
        })
}

impl Explained {
    fn of(explanation: &Explanation, sources: &Sources) -> Self {
        let rules = explanation.rules.iter();
        let Shadow { audit, dry_run } = &explanation.shadow;
        Self {
            found: Found::of(&explanation.decision),
            detail: explanation.decision.to_string(),
            audit: audit.as_ref().map(ToString::to_string),
            dry_run: dry_run.as_ref().map(|dry_run| Found::of(&dry_run.combined)),
            deny_policies: explanation.deny_policies.clone(),
            allow_policies: explanation.allow_policies.clone(),
            rules: rules
                .map(|rule| RuleTrace::of(rule, sources.policies()))
                .collect(),
        }
    }
}

fn shown(explained: &Explained, case: &Case, scope: &Scope) -> Vec<String> {
    let style = Style::of_stdout();
    let found = &explained.found;
    let verdict = if found.is_allowed() {
        style.good("ALLOW")
    } else {
        style.bad("DENY")
    };
    let mut lines = vec![
        format!("{verdict}  {}", style.strong(&found.reason)),
        plain(&explained.detail),
        String::new(),
    ];
    let mut field = |name: &str, value: &str| lines.push(format!("{name:<10} {}", plain(value)));
    field(
        "request",
        &format!("{} {}{}", case.method, case.host, case.path),
    );
    let peer = match &case.peer {
        CasePeer::Plaintext => "plaintext".to_owned(),
        CasePeer::CertificateMissing => "certificate-missing".to_owned(),
        CasePeer::Workload(id) => id.to_string(),
    };
    field("peer", &peer);
    let labels = scope
        .workload
        .labels
        .iter()
        .map(|(key, value)| format!(" {key}={value}"));
    let labels: String = labels.collect();
    field("workload", &format!("{}{labels}", scope.workload.namespace));
    if let Some(rule) = &explained.audit {
        field("audit", rule);
    }
    if let Some(dry_run) = &explained.dry_run {
        field("dry run", &format!("would be {dry_run}"));
    }
    lines.push(String::new());
    for rule in &explained.rules {
        lines.extend(trace::lines(rule, style, 0));
    }
    // A policy without rules is in no list of rules, and yet it is why all is denied.
    for policy in &explained.allow_policies {
        let named = |rule: &RuleTrace| {
            policy.split_once('/').is_some_and(|(namespace, name)| {
                rule.rule
                    .starts_with(&format!("ns[{namespace}]-policy[{name}]-"))
            })
        };
        if !explained.rules.iter().any(named) {
            lines.push(format!(
                "ALLOW  {}  has no rules: allows nothing",
                plain(policy)
            ));
        }
    }
    lines
}
