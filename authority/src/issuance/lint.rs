//! What compiles, but can hardly be meant.

mod cover;
mod names;

use std::fmt;

use serde::Serialize;

use crate::issuance::condition::Test;
use crate::issuance::rule::{IdSource, Policy, Rule};
use crate::issuance::template;

/// A kind of finding.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LintCode {
    /// An earlier rule matches whatever this one does, so that this one never decides.
    Shadowed,
    /// Its condition holds for no request.
    NeverMatches,
    /// A variable that no proof is known to give.
    UnknownVariable,
    /// A variable that the condition does not make sure of: requests without it are refused.
    UnsureVariable,
    /// Two rules with different conditions can give the same identity.
    OverlappingIds,
    /// An allow rule that holds for every request.
    AllowsEverybody,
    /// A deny rule that holds for every request.
    DeniesEverybody,
}

impl LintCode {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shadowed => "shadowed",
            Self::NeverMatches => "never-matches",
            Self::UnknownVariable => "unknown-variable",
            Self::UnsureVariable => "unsure-variable",
            Self::OverlappingIds => "overlapping-ids",
            Self::AllowsEverybody => "allows-everybody",
            Self::DeniesEverybody => "denies-everybody",
        }
    }
}

impl fmt::Display for LintCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something that can hardly be meant.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// The rule.
    pub rule: String,
    /// Its line in its file; 0 where it is not known.
    pub line: u64,
    /// What kind of finding it is.
    pub code: LintCode,
    /// What is odd, in a sentence.
    pub message: String,
}

/// Looks at the rules of a file; the built-in ones count only as followers.
#[must_use]
pub fn lint(policy: &Policy) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, rule) in policy.rules.iter().enumerate() {
        let mut add = |code, message| {
            findings.push(Finding {
                rule: rule.id.clone(),
                line: rule.line,
                code,
                message,
            });
        };
        let before = policy.rules.get(..index).unwrap_or_default();
        // That a file comes before the built-in rules is what it is for.
        if rule.builtin {
            continue;
        }
        if let Some(why) = cover::never(&rule.when) {
            add(LintCode::NeverMatches, why);
            continue;
        }
        if cover::always(&rule.when) {
            match rule.gives {
                Some(_) => add(
                    LintCode::AllowsEverybody,
                    "its condition is empty: whoever proves anything may have its identity"
                        .to_owned(),
                ),
                None => add(
                    LintCode::DeniesEverybody,
                    "its condition is empty, so that nothing is issued to anybody".to_owned(),
                ),
            }
        }
        if let Some(first) = shadow(policy, before, rule) {
            let message = format!(
                "{} rule {} (line {}) matches whatever this one does",
                first.effect(),
                first.id,
                first.line
            );
            add(LintCode::Shadowed, message);
        }
        for (code, message) in variables(rule) {
            add(code, message);
        }
        if let Some(other) = before.iter().find(|other| names::overlap(other, rule)) {
            let message = format!(
                "can give an identity that rule {} (line {}) gives, too",
                other.id, other.line
            );
            add(LintCode::OverlappingIds, message);
        }
    }
    findings
}

/// The rule that always comes before this one: an earlier one of the same effect, or for an allow
/// rule any deny rule.
fn shadow<'p>(policy: &'p Policy, before: &'p [Rule], rule: &Rule) -> Option<&'p Rule> {
    let covers = |other: &&Rule| cover::covers(&other.when, &rule.when);
    let same_effect = |other: &&Rule| other.effect() == rule.effect();
    let denies = |other: &&Rule| other.gives.is_none();
    before.iter().filter(same_effect).find(covers).or_else(|| {
        let mut all = policy.rules.iter().filter(denies);
        rule.gives.as_ref().and_then(|_| all.find(covers))
    })
}

fn variables(rule: &Rule) -> Vec<(LintCode, String)> {
    let Some(gives) = &rule.gives else {
        return Vec::new();
    };
    let of_id = match &gives.id {
        IdSource::Template(template) => Some(template),
        IdSource::Requested | IdSource::Caller => None,
    };
    let of_dns = gives.dns.iter().flat_map(|dns| &dns.names);
    let mut names: Vec<&str> = of_id
        .into_iter()
        .chain(of_dns)
        .flat_map(|template| template.variables())
        .collect();
    names.sort_unstable();
    names.dedup();
    let mut found = Vec::new();
    for name in names {
        if !KNOWN.contains(&name) && !OPEN.iter().any(|open| name.starts_with(open)) {
            let message = format!("no proof is known to give {{{name}}}");
            found.push((LintCode::UnknownVariable, message));
        }
        let prefix = template::prefix(name);
        let conjuncts = rule.when.conjuncts();
        let is_sure = conjuncts.iter().any(|part| {
            matches!(&part.test, Test::Selector(pattern) if pattern.as_str().starts_with(&prefix))
        });
        if !is_sure {
            let message = format!(
                "{{{name}}} is used, and the condition asks for no selector {prefix}*: a request without it is refused"
            );
            found.push((LintCode::UnsureVariable, message));
        }
    }
    found
}

/// Variables that proofs give.
const KNOWN: [&str; 20] = [
    "k8s.cluster",
    "k8s.ns",
    "k8s.node-agent",
    "k8s.node-name",
    "k8s.node-uid",
    "k8s.pod-name",
    "k8s.pod-uid",
    "k8s.sa",
    "k8s.sa-uid",
    "oidc.iss",
    "oidc.sub",
    "operator.id",
    "operator.uid",
    "x509pop.ca",
    "x509pop.issuer",
    "x509pop.san.dns",
    "x509pop.san.uri",
    "x509pop.sha256",
    "x509pop.subject",
    "x509pop.subject.cn",
];
/// What the names of other variables may begin with: claims are anybody's.
const OPEN: [&str; 1] = ["oidc.claim."];
