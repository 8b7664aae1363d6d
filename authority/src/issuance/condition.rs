//! When a rule applies.

use identity::{SpiffeId, UnixTime};

use crate::issuance::explain::Unmet;
use crate::issuance::facts::Facts;
use crate::issuance::glob::Glob;
use crate::issuance::window::Window;

/// A compiled condition and where in its rule it was written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Condition {
    pub(super) path: String,
    pub(super) test: Test,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Test {
    /// How the caller proved who it is, one of these.
    Proof(Vec<String>),
    /// A selector like this.
    Selector(Glob),
    /// The identity proved, one of these.
    CallerId(Vec<Glob>),
    /// The identity asked for, one of these.
    RequestedId(Vec<Glob>),
    /// When.
    Time(Window),
    /// All of these; none is always.
    All(Vec<Condition>),
    /// One of these.
    Any(Vec<Condition>),
    /// Not this.
    Not(Box<Condition>),
}

impl Condition {
    /// Whether it holds; if not, the first part that does not.
    pub(super) fn check(&self, facts: &Facts, now: UnixTime) -> Result<(), Unmet> {
        let unmet = |wanted: String, seen: String| {
            Err(Unmet {
                path: self.path.clone(),
                wanted,
                seen,
            })
        };
        match &self.test {
            Test::Proof(names) if names.contains(&facts.proof) => Ok(()),
            Test::Proof(names) => unmet(names.join(" or "), facts.proof.clone()),
            Test::Selector(pattern) => {
                if facts.selectors.iter().any(|found| pattern.matches(found)) {
                    return Ok(());
                }
                unmet(pattern.to_string(), alike(pattern, &facts.selectors))
            }
            Test::CallerId(patterns) => {
                let id = facts.caller_id.as_ref().map(ToString::to_string);
                if id.as_ref().is_some_and(|id| any_matches(patterns, id)) {
                    return Ok(());
                }
                unmet(
                    listed(patterns),
                    id.unwrap_or_else(|| "no identity".to_owned()),
                )
            }
            Test::RequestedId(patterns) => {
                let id = facts.requested_id.as_ref().map(ToString::to_string);
                if id.as_ref().is_some_and(|id| any_matches(patterns, id)) {
                    return Ok(());
                }
                unmet(
                    listed(patterns),
                    id.unwrap_or_else(|| "none asked for".to_owned()),
                )
            }
            Test::Time(window) if window.holds(now) => Ok(()),
            Test::Time(_) => unmet("a time within it".to_owned(), now.to_string()),
            Test::All(parts) => parts.iter().try_for_each(|part| part.check(facts, now)),
            Test::Any(parts) => {
                let mut seen = Vec::new();
                for part in parts {
                    match part.check(facts, now) {
                        Ok(()) => return Ok(()),
                        Err(unmet) => seen.push(format!("{}: {}", unmet.path, unmet.seen)),
                    }
                }
                unmet(format!("one of {}", parts.len()), seen.join("; "))
            }
            Test::Not(part) => match part.check(facts, now) {
                Err(_unmet) => Ok(()),
                Ok(()) => unmet("that it does not hold".to_owned(), "it holds".to_owned()),
            },
        }
    }

    /// Whether it holds. The same as [`check`](Self::check), without the words, which cost more than
    /// all of the comparing.
    pub(super) fn holds(&self, facts: &Facts, now: UnixTime) -> bool {
        let id_matches = |patterns: &[Glob], id: Option<&SpiffeId>| {
            id.is_some_and(|id| any_matches(patterns, &id.to_string()))
        };
        match &self.test {
            Test::Proof(names) => names.contains(&facts.proof),
            Test::Selector(pattern) => facts.selectors.iter().any(|found| pattern.matches(found)),
            Test::CallerId(patterns) => id_matches(patterns, facts.caller_id.as_ref()),
            Test::RequestedId(patterns) => id_matches(patterns, facts.requested_id.as_ref()),
            Test::Time(window) => window.holds(now),
            Test::All(parts) => parts.iter().all(|part| part.holds(facts, now)),
            Test::Any(parts) => parts.iter().any(|part| part.holds(facts, now)),
            Test::Not(part) => !part.holds(facts, now),
        }
    }

    /// The parts that must all hold, flattened.
    pub(super) fn conjuncts(&self) -> Vec<&Self> {
        match &self.test {
            Test::All(parts) => parts.iter().flat_map(Self::conjuncts).collect(),
            _ => vec![self],
        }
    }
}

fn any_matches(patterns: &[Glob], text: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(text))
}

fn listed(patterns: &[Glob]) -> String {
    let all: Vec<&str> = patterns.iter().map(Glob::as_str).collect();
    all.join(" or ")
}

/// The selectors of the pattern's type and key, which are what was likely meant.
fn alike(pattern: &Glob, selectors: &[String]) -> String {
    let kind = |text: &str| text.split(':').take(2).collect::<Vec<_>>().join(":");
    let of_type = |text: &str| text.split(':').next().unwrap_or_default().to_owned();
    let wanted = kind(pattern.as_str());
    let near: Vec<&str> = selectors
        .iter()
        .filter(|selector| kind(selector) == wanted)
        .map(String::as_str)
        .collect();
    if !near.is_empty() {
        return near.join(", ");
    }
    let wanted = of_type(pattern.as_str());
    let same: Vec<&str> = selectors
        .iter()
        .filter(|selector| of_type(selector) == wanted)
        .map(String::as_str)
        .collect();
    if same.is_empty() {
        format!("no selector of type {wanted}")
    } else {
        same.join(", ")
    }
}
