//! What a case expects, and what became of it.

use std::fmt;

use policy::Decision;
use policy::corpus::{Expectation, Verdict};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

/// What a case expects: `expect: deny`, or `expect: {verdict: deny, reason: matched_deny, policy: '…'}`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Expect {
    /// Whether the request passes.
    #[serde(serialize_with = "verdict_text")]
    pub verdict: Verdict,
    /// Code of the decision's reason; anything if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Id of the rule that decides; anything if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

/// What became of a request.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Found {
    /// Whether it passes.
    #[serde(serialize_with = "verdict_text")]
    pub verdict: Verdict,
    /// Code of the decision's reason.
    pub reason: String,
    /// Id of the rule that decided, where one did.
    pub policy: Option<String>,
}

impl Expect {
    /// Whether `found` is what was expected.
    #[must_use]
    pub fn is_met_by(&self, found: &Found) -> bool {
        let reason = self
            .reason
            .as_ref()
            .is_none_or(|reason| *reason == found.reason);
        let policy = self.policy.is_none() || self.policy == found.policy;
        self.verdict == found.verdict && reason && policy
    }
}

/// A placeholder beside a problem that is reported.
impl Default for Expect {
    fn default() -> Self {
        Self {
            verdict: Verdict::Deny,
            reason: None,
            policy: None,
        }
    }
}

impl Found {
    /// What a decision is.
    #[must_use]
    pub fn of(decision: &Decision) -> Self {
        Expectation::of(decision).into()
    }

    /// Whether the request passes.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.verdict == Verdict::Allow
    }
}

impl From<Expectation> for Found {
    fn from(expectation: Expectation) -> Self {
        Self {
            verdict: expectation.verdict,
            reason: expectation.reason,
            policy: expectation.policy,
        }
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [self.reason.as_deref(), self.policy.as_deref()];
        show(f, self.verdict, parts)
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [Some(self.reason.as_str()), self.policy.as_deref()];
        show(f, self.verdict, parts)
    }
}

fn show(f: &mut fmt::Formatter<'_>, verdict: Verdict, parts: [Option<&str>; 2]) -> fmt::Result {
    f.write_str(word(verdict))?;
    parts
        .into_iter()
        .flatten()
        .try_for_each(|part| write!(f, " {part}"))
}

/// `allow` or `deny`.
pub(super) const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "deny",
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn verdict_text<S: serde::Serializer>(verdict: &Verdict, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(word(*verdict))
}

impl<'de> Deserialize<'de> for Expect {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        struct Long {
            verdict: Verdict,
            #[serde(default)]
            reason: Option<String>,
            #[serde(default)]
            policy: Option<String>,
        }
        let value = serde_json::Value::deserialize(from)?;
        if let Some(text) = value.as_str() {
            let verdict = match text {
                "allow" => Verdict::Allow,
                "deny" => Verdict::Deny,
                other => {
                    let problem = format!("{other:?} is not allow or deny");
                    return Err(D::Error::custom(problem));
                }
            };
            return Ok(Self {
                verdict,
                reason: None,
                policy: None,
            });
        }
        let long: Long = serde_json::from_value(value).map_err(D::Error::custom)?;
        Ok(Self {
            verdict: long.verdict,
            reason: long.reason,
            policy: long.policy,
        })
    }
}
