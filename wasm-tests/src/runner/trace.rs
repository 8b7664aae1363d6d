//! What each rule had to say, beside what was written.

use policy::{Action, FailedCondition, Outcome, RuleExplanation};
use serde::Serialize;
use serde_json::Value;

use policy::yaml::WrittenResource as Written;

/// What one rule says of a request.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleTrace {
    /// What a match of it means: `ALLOW`, `DENY`, `AUDIT`.
    pub action: &'static str,
    /// The rule, as Istio names it.
    pub rule: String,
    /// The file it is in; empty where that is not known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// The line it begins at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// Whether its policy is annotated `istio.io/dry-run` and changes no verdict.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// Whether it matches.
    pub matched: bool,
    /// Where it does not match: the first failing condition of each alternative.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<ConditionTrace>,
}

/// A condition that does not hold.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConditionTrace {
    /// Where it was written, e.g. `spec.rules[0].from[1].source.notPrincipals`.
    pub path: String,
    /// What it looks at, e.g. `source.principal`.
    pub attribute: String,
    /// What was written there.
    pub wanted: Vec<String>,
    /// The attribute's values in the request; none if it is absent.
    pub seen: Vec<String>,
}

impl RuleTrace {
    /// Puts what was written beside what was found.
    #[must_use]
    pub fn of(explained: &RuleExplanation, policies: &[Written]) -> Self {
        let rule = &explained.rule;
        let written = policies.iter().find(|written| {
            written.kind() == "AuthorizationPolicy"
                && written.namespace() == rule.namespace()
                && written.name() == rule.policy()
        });
        let (file, line) = written
            .map(|written| (written.file().to_owned(), written.line_of_rule(rule.rule())))
            .unwrap_or_default();
        let (matched, failed) = match &explained.outcome {
            Outcome::Matched => (true, Vec::new()),
            Outcome::Failed(conditions) => (false, conditions.iter().collect()),
        };
        let condition = |failed: &FailedCondition| ConditionTrace {
            path: failed.path.clone(),
            attribute: failed.attribute.clone(),
            wanted: written
                .map(|written| wanted(written, &failed.path))
                .unwrap_or_default(),
            seen: failed.seen.clone(),
        };
        Self {
            action: action(explained.action),
            rule: rule.to_string(),
            file,
            line,
            dry_run: explained.dry_run,
            matched,
            failed: failed.into_iter().map(condition).collect(),
        }
    }
}

fn action(action: Action) -> &'static str {
    action.as_str()
}

/// The values written at a condition's path.
fn wanted(written: &Written, path: &str) -> Vec<String> {
    match written.part(path) {
        Some(Value::Array(list)) => list
            .iter()
            .map(|value| {
                value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned)
            })
            .collect(),
        Some(Value::String(text)) => vec![text.clone()],
        Some(_) | None => Vec::new(),
    }
}
