//! What each rule had to say.

use serde::Serialize;

use crate::issuance::decide::Limits;
use crate::issuance::facts::Facts;
use crate::issuance::rule::{Effect, Policy};

/// The first part of a condition that does not hold.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Unmet {
    /// Where it is written, e.g. `when.selectors[1]`.
    pub path: String,
    /// What it wants.
    pub wanted: String,
    /// What there is.
    pub seen: String,
}

/// What one rule had to say.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleTrace {
    /// Its id.
    pub rule: String,
    /// Its line in its file; none for a built-in rule.
    pub line: Option<u64>,
    /// What it does.
    pub effect: Effect,
    /// Whether it matched.
    pub matched: bool,
    /// Why it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unmet: Option<Unmet>,
}

impl Policy {
    /// Looks at every rule, in order; also at those that no longer matter for the decision.
    #[must_use]
    pub fn explain(&self, facts: &Facts, limits: &Limits<'_>) -> Vec<RuleTrace> {
        self.rules
            .iter()
            .map(|rule| {
                let unmet = rule.when.check(facts, limits.now).err();
                RuleTrace {
                    rule: rule.id.clone(),
                    line: (!rule.builtin && rule.line > 0).then_some(rule.line),
                    effect: rule.effect(),
                    matched: unmet.is_none(),
                    unmet,
                }
            })
            .collect()
    }
}
