//! What other rules would have made of requests that came.

use identity::UnixTime;
use serde::{Deserialize, Serialize};

use crate::issuance::decide::Limits;
use crate::issuance::facts::Facts;
use crate::issuance::rule::Policy;

/// A request that came, as a line of a file has it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Replay {
    /// When, in seconds since the Unix epoch.
    pub at: i64,
    /// What rules could see of it.
    pub facts: Facts,
    /// Whether it was allowed; not looked at.
    #[serde(default)]
    pub allowed: Option<bool>,
    /// The rule that decided; not looked at.
    #[serde(default)]
    pub rule: Option<String>,
}

/// How the verdict on a request changes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// It was refused and would be allowed.
    Gains,
    /// It was allowed and would be refused.
    Loses,
    /// It is allowed, but not the same certificate: another identity, profile, name or lifetime.
    Differs,
}

/// One group of requests whose verdict changes alike.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// How.
    pub kind: ChangeKind,
    /// The identity the request was about, or the caller's proof where there is none.
    pub who: String,
    /// Verdict by the old rules.
    pub before: String,
    /// Verdict by the new rules.
    pub after: String,
    /// How many requests there are of it.
    pub requests: usize,
}

/// Decides each request by both rules. `limits` is for all of them but for the time, which is each
/// request's own.
#[must_use]
pub fn compare(
    old: &Policy,
    new: &Policy,
    requests: &[Replay],
    limits: &Limits<'_>,
) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    for request in requests {
        let limits = Limits {
            now: UnixTime::from_secs(request.at),
            ..*limits
        };
        let before = old.decide(&request.facts, &limits);
        let after = new.decide(&request.facts, &limits);
        let kind = match (&before, &after) {
            (Err(_), Ok(_)) => ChangeKind::Gains,
            (Ok(_), Err(_)) => ChangeKind::Loses,
            (Ok(one), Ok(other)) => {
                let same = (&one.spiffe_id, one.profile, &one.dns_names, one.ttl_seconds)
                    == (
                        &other.spiffe_id,
                        other.profile,
                        &other.dns_names,
                        other.ttl_seconds,
                    );
                if same {
                    continue;
                }
                ChangeKind::Differs
            }
            (Err(_), Err(_)) => continue,
        };
        let verdict = |decided: &Result<super::Allowed, super::Denial>| match decided {
            Ok(allowed) => {
                let names = match allowed.dns_names.len() {
                    0 => String::new(),
                    _ => format!(" with {}", allowed.dns_names.join(", ")),
                };
                format!(
                    "{}: {} ({}, {} s){names}",
                    allowed.rule, allowed.spiffe_id, allowed.profile, allowed.ttl_seconds
                )
            }
            Err(denial) => format!("{}: {denial}", denial.code()),
        };
        let facts = &request.facts;
        let id = facts.requested_id.as_ref().or(facts.caller_id.as_ref());
        let change = Change {
            kind,
            who: id.map_or_else(|| facts.proof.clone(), ToString::to_string),
            before: verdict(&before),
            after: verdict(&after),
            requests: 1,
        };
        match changes.iter_mut().find(|known| {
            (known.kind, &known.who, &known.before, &known.after)
                == (change.kind, &change.who, &change.before, &change.after)
        }) {
            Some(known) => known.requests += 1,
            None => changes.push(change),
        }
    }
    changes.sort_by(|one, other| (one.kind, &one.who).cmp(&(other.kind, &other.who)));
    changes
}
