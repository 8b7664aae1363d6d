//! `countersign issuance diff`: who would gain, who would lose by other rules.

use std::path::Path;

use api::issuance::{GetRulesRequest, GetRulesResponse};
use authority::issuance::{Change, ChangeKind, Limits, Policy, Replay, compare};
use identity::UnixTime;
use serde::Serialize;

use crate::admin;
use crate::args::IssuanceDiffArgs;
use crate::commands::issuance::{explain, live};
use crate::commands::policy::check::counted;
use crate::failure::Failure;
use crate::output::{self, Format, Row};

#[derive(Debug, Serialize)]
struct Outcome {
    requests: usize,
    changes: Vec<Change>,
}

pub(super) async fn run(args: &IssuanceDiffArgs) -> Result<(), Failure> {
    let is_active = |path: &Path| path.as_os_str() == "active";
    // Of a file, the running authority need not be asked at all.
    let active = if args.requests.is_none() || is_active(&args.old) || is_active(&args.new) {
        let mut client = admin::issuance(&args.admin).await?;
        Some(client.get_rules(GetRulesRequest {}).await?.into_inner())
    } else {
        None
    };
    let rules = |path: &Path| match (&active, is_active(path)) {
        (Some(active), true) => compile(active),
        _ => super::policy(path).map_err(|problems| super::failed(&problems)),
    };
    let (old, new) = (rules(&args.old)?, rules(&args.new)?);
    let requests = match &args.requests {
        Some(file) => of_file(file)?,
        None => live::last(&args.admin, args.last).await?,
    };
    let trust_domain = super::trust_domain(
        active
            .as_ref()
            .map_or(&args.trust_domain, |active| &active.trust_domain),
    )?;
    let limits = Limits {
        trust_domain: &trust_domain,
        default_ttl: active
            .as_ref()
            .map_or(explain::DEFAULT_TTL, |it| it.default_ttl_seconds),
        max_ttl: active
            .as_ref()
            .map_or(explain::MAX_TTL, |it| it.max_ttl_seconds),
        now: UnixTime::from_secs(0),
        jitter: 0,
    };
    let outcome = Outcome {
        changes: compare(&old, &new, &requests, &limits),
        requests: requests.len(),
    };
    show(args.output.output, &outcome)?;
    if args.fail_on_change && !outcome.changes.is_empty() {
        let count = counted(outcome.changes.len(), "change", "changes");
        return Err(Failure::Check(count));
    }
    Ok(())
}

fn compile(active: &GetRulesResponse) -> Result<Policy, Failure> {
    if active.source == authority::issuance::BUILTIN_FILE {
        return Ok(Policy::builtin());
    }
    Policy::compile(&active.source, &active.text).map_err(|problems| super::failed(&problems))
}

/// One JSON document a line; a line that is none is an error, so that none is left out unseen.
fn of_file(path: &Path) -> Result<Vec<Replay>, Failure> {
    let text = wasm_tests::runner::read_text(path)
        .map_err(|problem| Failure::Check(problem.to_string()))?;
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| {
            serde_json::from_str(line).map_err(|error| {
                Failure::Check(format!("{}:{}: {error}", path.display(), index + 1))
            })
        })
        .collect()
}

fn show(format: Format, outcome: &Outcome) -> Result<(), Failure> {
    if format != Format::Table {
        return output::object(format, outcome, Vec::new());
    }
    if !outcome.changes.is_empty() {
        output::list(
            format,
            &outcome.changes.iter().map(Line).collect::<Vec<_>>(),
        )?;
    }
    let of = |kind| {
        let changes = outcome.changes.iter().filter(|change| change.kind == kind);
        changes.map(|change| change.requests).sum::<usize>()
    };
    output::line(&format!(
        "{}: {} would gain, {} would lose a certificate, {} would get another",
        counted(outcome.requests, "request", "requests"),
        of(ChangeKind::Gains),
        of(ChangeKind::Loses),
        of(ChangeKind::Differs)
    ))
}

#[derive(Debug, Serialize)]
struct Line<'c>(&'c Change);

impl Row for Line<'_> {
    const HEADS: &'static [&'static str] = &["change", "requests", "who", "before", "after"];

    fn cells(&self) -> Vec<String> {
        let Change {
            kind,
            who,
            before,
            after,
            requests,
        } = self.0;
        let kind = match kind {
            ChangeKind::Gains => "gains",
            ChangeKind::Loses => "loses",
            ChangeKind::Differs => "differs",
        };
        let plain = crate::commands::policy::style::plain;
        vec![
            kind.to_owned(),
            requests.to_string(),
            plain(who),
            plain(before),
            plain(after),
        ]
    }
}
