//! Why each rule does or does not match.

use std::fmt;

use crate::{
    authorization_policy::Action,
    decision::{Decision, PolicyRule},
    rule::{Clause, Condition, Rule, View},
};

/// A decision with what each rule had to say. Shows header values: not for logs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Explanation {
    /// What [`crate::PolicySet::decide`] says.
    pub decision: Decision,
    /// Every loaded rule, DENY first, each in the order of their ids. They are tested even if the decision
    /// fell before any rule.
    pub rules: Vec<RuleExplanation>,
    /// The DENY policies that apply to the workload, as `namespace/name`.
    pub deny_policies: Vec<String>,
    /// The ALLOW policies that apply to the workload, as `namespace/name`; one without rules allows nothing,
    /// but its being there means that what is not allowed is denied.
    pub allow_policies: Vec<String>,
}

/// What one rule says of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RuleExplanation {
    /// The rule.
    pub rule: PolicyRule,
    /// What a match of it means.
    pub action: Action,
    /// Whether it matches, and why not.
    pub outcome: Outcome,
}

/// Whether a rule matches.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It does.
    Matched,
    /// It does not: the first failing condition of each alternative of the first part (`from`, `to`, `when`)
    /// that fails. Never empty.
    Failed(Vec<FailedCondition>),
}

/// A condition that does not hold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FailedCondition {
    /// Where it was written, e.g. `spec.rules[0].from[1].source.notPrincipals`.
    pub path: String,
    /// The attribute's values in the request; none if it is absent.
    pub seen: Vec<String>,
}

pub(crate) fn rule(action: Action, rule: &Rule, view: &View<'_>) -> RuleExplanation {
    let failed = |condition: &Condition| FailedCondition {
        path: format!("spec.rules[{}].{}", rule.id.rule(), condition.field),
        seen: condition.test.seen(view),
    };
    let part = |clauses: &[Clause]| -> Option<Vec<FailedCondition>> {
        let failing: Option<Vec<_>> = clauses
            .iter()
            .map(|clause| clause.first_failing(view).map(failed))
            .collect();
        failing.filter(|failing| !failing.is_empty())
    };
    let outcome = part(&rule.from)
        .or_else(|| part(&rule.to))
        .or_else(|| part(std::slice::from_ref(&rule.when)))
        .map_or(Outcome::Matched, Outcome::Failed);
    RuleExplanation {
        rule: rule.id.clone(),
        action,
        outcome,
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.decision)?;
        self.rules.iter().try_for_each(|rule| writeln!(f, "{rule}"))
    }
}

impl fmt::Display for RuleExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: ", self.action.as_str(), self.rule)?;
        match &self.outcome {
            Outcome::Matched => f.write_str("matches"),
            Outcome::Failed(conditions) => {
                f.write_str("does not match")?;
                conditions
                    .iter()
                    .try_for_each(|condition| write!(f, "; {condition}"))
            }
        }
    }
}

impl fmt::Display for FailedCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} fails on ", self.path)?;
        match self.seen.as_slice() {
            [] => f.write_str("an absent attribute"),
            seen => write!(f, "{seen:?}"),
        }
    }
}
