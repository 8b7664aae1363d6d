//! What is answered. `page/types.d.ts` says the same in TypeScript, and a test compares them.

use policy::yaml::{self, Sources};
use policy::{Decision, Explanation, FailedCondition, Outcome, RuleExplanation};
use serde::Serialize;
use serde_json::Value;

/// Which of the two texts a problem is in.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Place {
    /// The policies.
    Policies,
    /// The request.
    Request,
}

/// What is wrong in a text.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// In which text.
    pub place: Place,
    /// Line, from 1.
    pub line: Option<u64>,
    /// Column, from 1.
    pub column: Option<u64>,
    /// `kind namespace/name`; empty outside a resource.
    pub resource: String,
    /// Path of the field; empty for the text as a whole.
    pub path: String,
    /// What is wrong there.
    pub problem: String,
}

/// Which policies there are.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    /// The resources that have the shape of their kind.
    pub resources: Vec<Resource>,
    /// Every problem of every resource.
    pub problems: Vec<Problem>,
}

/// A resource.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// `kind`.
    pub kind: String,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

/// Whether a request passes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// It does.
    Allow,
    /// It does not.
    Deny,
}

/// What becomes of a request.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Decided {
    /// Whether it passes.
    pub verdict: Verdict,
    /// The reason's stable name.
    pub reason: String,
    /// The rule that decided, as Istio names it; null where none did.
    pub policy: Option<String>,
    /// The reason in a sentence.
    pub detail: String,
}

/// What becomes of a request, and why.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explained {
    /// What becomes of it.
    pub decision: Decided,
    /// The AUDIT rule that matches; null if there is none.
    pub audit: Option<String>,
    /// What would become of it with the dry-run policies enforced; null without any.
    pub dry_run: Option<Decided>,
    /// The policies that apply to the workload, as `namespace/name`.
    pub applying: Vec<String>,
    /// What each rule has to say.
    pub rules: Vec<Rule>,
}

/// What a rule has to say.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// `ALLOW`, `DENY` or `AUDIT`.
    pub action: String,
    /// The rule, as Istio names it.
    pub rule: String,
    /// Line of the policies at which it begins.
    pub line: Option<u64>,
    /// Whether it is of a dry-run policy, which changes no verdict.
    pub dry_run: bool,
    /// Whether it matches.
    pub matched: bool,
    /// Where it does not: the first failing condition of each alternative.
    pub failed: Vec<Condition>,
}

/// A condition that does not hold.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Where it was written.
    pub path: String,
    /// What it looks at.
    pub attribute: String,
    /// What was written there.
    pub wanted: Vec<String>,
    /// The values in the request; none if it has no such attribute.
    pub seen: Vec<String>,
}

impl Problem {
    pub(crate) fn new(place: Place, problem: impl Into<String>) -> Self {
        Self {
            place,
            line: None,
            column: None,
            resource: String::new(),
            path: String::new(),
            problem: problem.into(),
        }
    }

    pub(crate) fn of(place: Place, problem: &yaml::Problem) -> Self {
        let resource = problem.resource.as_ref().map(ToString::to_string);
        Self {
            place,
            line: problem.line,
            column: problem.column,
            resource: resource.unwrap_or_default(),
            path: problem.path.clone(),
            problem: problem.problem.clone(),
        }
    }
}

impl Checked {
    pub(crate) fn of(sources: &Sources, problems: Vec<Problem>) -> Self {
        let resources = sources.policies().iter().map(|written| Resource {
            kind: written.kind().to_owned(),
            namespace: written.namespace().to_owned(),
            name: written.name().to_owned(),
        });
        Self {
            resources: resources.collect(),
            problems,
        }
    }
}

impl Decided {
    pub(crate) fn of(decision: &Decision) -> Self {
        Self {
            verdict: if decision.is_allowed() {
                Verdict::Allow
            } else {
                Verdict::Deny
            },
            reason: decision.code().to_owned(),
            policy: decision.rule().map(ToString::to_string),
            detail: decision.to_string(),
        }
    }
}

impl Explained {
    pub(crate) fn of(explanation: &Explanation, sources: &Sources) -> Self {
        let shadow = &explanation.shadow;
        let dry_run = shadow.dry_run.as_ref();
        let applying = explanation
            .deny_policies
            .iter()
            .chain(&explanation.allow_policies);
        Self {
            decision: Decided::of(&explanation.decision),
            audit: shadow.audit.as_ref().map(ToString::to_string),
            dry_run: dry_run.map(|dry_run| Decided::of(&dry_run.combined)),
            applying: applying.cloned().collect(),
            rules: explanation
                .rules
                .iter()
                .map(|rule| Rule::of(rule, sources))
                .collect(),
        }
    }
}

impl Rule {
    fn of(explained: &RuleExplanation, sources: &Sources) -> Self {
        let rule = &explained.rule;
        let written = sources.policies().iter().find(|written| {
            written.kind() == "AuthorizationPolicy"
                && written.namespace() == rule.namespace()
                && written.name() == rule.policy()
        });
        let condition = |failed: &FailedCondition| Condition {
            path: failed.path.clone(),
            attribute: failed.attribute.clone(),
            wanted: texts(written.and_then(|written| written.part(&failed.path))),
            seen: failed.seen.clone(),
        };
        let failed = match &explained.outcome {
            Outcome::Matched => Vec::new(),
            Outcome::Failed(conditions) => conditions.iter().map(condition).collect(),
        };
        Self {
            action: explained.action.as_str().to_owned(),
            rule: rule.to_string(),
            line: written.and_then(|written| written.line_of_rule(rule.rule())),
            dry_run: explained.dry_run,
            matched: explained.outcome == Outcome::Matched,
            failed,
        }
    }
}

/// What was written, as a list.
fn texts(written: Option<&Value>) -> Vec<String> {
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    match written {
        Some(Value::Array(list)) => list.iter().map(text).collect(),
        Some(Value::Null) | None => Vec::new(),
        Some(one) => vec![text(one)],
    }
}
