//! What becomes of a case.

use serde::Deserialize;

use crate::decision::{Decision, PolicyRule, Shadow};

/// What becomes of a request.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Expectation {
    /// Whether it passes.
    pub verdict: Verdict,
    /// [`Decision::code`].
    pub reason: String,
    /// Id of the rule that decides, where one does.
    #[serde(default)]
    pub policy: Option<String>,
}

/// What AUDIT and dry-run policies say of a request.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ExpectedShadow {
    /// Id of the first AUDIT rule that matches.
    pub audit: Option<String>,
    /// Id of the first dry-run DENY rule that matches.
    pub dry_run_deny: Option<String>,
    /// Id of the first dry-run ALLOW rule that matches.
    pub dry_run_allow: Option<String>,
    /// What would become of the request with the dry-run policies enforced; none without such policies.
    pub combined: Option<Expectation>,
}

/// Whether a request passes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// It does.
    Allow,
    /// It does not.
    Deny,
}

impl Expectation {
    /// What became of a request, for comparison.
    #[must_use]
    pub fn of(decision: &Decision) -> Self {
        Self {
            verdict: if decision.is_allowed() {
                Verdict::Allow
            } else {
                Verdict::Deny
            },
            reason: decision.code().to_owned(),
            policy: decision.rule().map(ToString::to_string),
        }
    }
}

impl ExpectedShadow {
    /// What was said of a request, for comparison.
    #[must_use]
    pub fn of(shadow: &Shadow) -> Self {
        let id = |rule: &PolicyRule| rule.to_string();
        let dry_run = shadow.dry_run.as_ref();
        Self {
            audit: shadow.audit.as_ref().map(id),
            dry_run_deny: dry_run.and_then(|dry_run| dry_run.deny.as_ref()).map(id),
            dry_run_allow: dry_run.and_then(|dry_run| dry_run.allow.as_ref()).map(id),
            combined: dry_run.map(|dry_run| Expectation::of(&dry_run.combined)),
        }
    }
}
