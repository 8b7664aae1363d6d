//! `countersign policy diff`: who gains, who loses access.

mod log;
mod show;

use std::collections::BTreeMap;

use policy::corpus::{CasePeer, Pseudo};
use policy::{Decision, PolicySet};
use serde::Serialize;
use wasm_tests::runner::{self, Found};

use self::log::Logged;
use super::style::Style;
use super::{scope, sources, test};
use crate::args::DiffArgs;
use crate::failure::Failure;
use crate::output::{self, Format};

/// What changes.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Changes {
    /// Requests replayed.
    requests: u64,
    /// Requests that are allowed now and were not.
    gain: u64,
    /// Requests that are denied now and were not.
    lose: u64,
    /// Requests with the same verdict, by another rule or for another reason.
    same_by_another_rule: u64,
    /// Lines of logs on which policies had no say: certificates refused, outbound requests.
    left_out: u64,
    /// Logged requests that the old policies decide otherwise than the log says.
    otherwise_logged: u64,
    /// What the policies look at and a log does not say.
    not_logged: Vec<&'static str>,
    changes: Vec<Change>,
}

/// One change, and how many requests it concerns.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Change {
    access: Access,
    count: u64,
    #[serde(flatten)]
    request: Label,
    old: Found,
    new: Found,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
enum Access {
    /// Denied now, allowed before.
    Lost,
    /// Allowed now, denied before.
    Gained,
}

/// What a request is told apart by.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
struct Label {
    peer: String,
    method: String,
    path: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    case: String,
}

/// Both sets of policies, and what was found out.
struct Replay {
    old: PolicySet,
    new: PolicySet,
    result: Changes,
    found: BTreeMap<(Access, Label), (Found, Found, u64)>,
}

pub(super) fn run(args: &DiffArgs) -> Result<(), Failure> {
    let read = |path: &std::path::PathBuf| {
        sources::require_paths(std::slice::from_ref(path), args.skip_other_kinds)
    };
    let (old, new) = (read(&args.old)?, read(&args.new)?);
    let scope = scope::resolve(&args.scope, &[&old, &new]);
    let failed = |problems: Vec<_>| sources::failed(&problems);
    let mut replay = Replay {
        old: old.compile(&scope).map_err(failed)?,
        new: new.compile(&scope).map_err(failed)?,
        result: Changes::default(),
        found: BTreeMap::new(),
    };
    for file in &args.requests.logs {
        log::each(file, |logged| replay.logged(&logged))?;
    }
    if !args.requests.logs.is_empty() {
        replay.result.not_logged = log::not_logged(&[replay.old.needs(), replay.new.needs()]);
    }
    for test in test::require(&args.requests.tests)? {
        for (case, own) in test.cases() {
            let old = runner::decide(case, own, &replay.old);
            let new = runner::decide(case, own, &replay.new);
            let without = |which| case.without.contains(&which);
            let label = Label {
                peer: match &case.peer {
                    CasePeer::Plaintext => "plaintext".to_owned(),
                    CasePeer::CertificateMissing => "certificate-missing".to_owned(),
                    CasePeer::Workload(id) => id.to_string(),
                },
                method: if without(Pseudo::Method) {
                    String::new()
                } else {
                    case.method.clone()
                },
                path: if without(Pseudo::Path) {
                    String::new()
                } else {
                    case.path.clone()
                },
                case: case.name.clone(),
            };
            replay.compare(label, &old, &new);
        }
    }
    let changes = replay.finish();
    if changes.requests == 0 {
        return Err(Failure::Check("no request to replay".to_owned()));
    }
    match args.output.output {
        Format::Table => show::table(&changes, Style::of_stdout())?,
        format => output::object(format, &changes, Vec::new())?,
    }
    match changes.gain + changes.lose {
        0 => Ok(()),
        _ if !args.fail_on_change => Ok(()),
        1 => Err(Failure::Check(
            "the verdict of 1 request changes".to_owned(),
        )),
        count => Err(Failure::Check(format!(
            "the verdicts of {count} requests change"
        ))),
    }
}

impl Replay {
    fn logged(&mut self, logged: &Logged) {
        if !logged.is_about_policies() {
            self.result.left_out += 1;
            return;
        }
        let peer = logged.peer();
        let request = logged.request(&peer);
        let old = self.old.decide(&request);
        let new = self.new.decide(&request);
        if old.is_allowed() != logged.was_allowed() {
            self.result.otherwise_logged += 1;
        }
        self.compare(logged.label(), &old, &new);
    }

    fn compare(&mut self, label: Label, old: &Decision, new: &Decision) {
        self.result.requests += 1;
        let access = match (old.is_allowed(), new.is_allowed()) {
            (true, false) => Access::Lost,
            (false, true) => Access::Gained,
            _ => {
                self.result.same_by_another_rule += u64::from(old != new);
                return;
            }
        };
        match access {
            Access::Lost => self.result.lose += 1,
            Access::Gained => self.result.gain += 1,
        }
        let both = || (Found::of(old), Found::of(new), 0);
        self.found.entry((access, label)).or_insert_with(both).2 += 1;
    }

    /// All changes: first what is lost, the most frequent first.
    fn finish(self) -> Changes {
        let mut result = self.result;
        let changes = self.found.into_iter();
        result.changes = changes
            .map(|((access, request), (old, new, count))| Change {
                access,
                count,
                request,
                old,
                new,
            })
            .collect();
        result
            .changes
            .sort_by_key(|change| (change.access, std::cmp::Reverse(change.count)));
        result
    }
}
