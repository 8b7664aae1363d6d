//! What became of a request, on either side.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::client::Answer;

/// A verdict and who gave it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) allowed: bool,
    /// Id of the rule that decided.
    pub(crate) policy: Option<String>,
    /// Id of the AUDIT rule that matched.
    pub(crate) audit: Option<String>,
    /// Ids of the rules on trial that matched.
    pub(crate) dry_run_deny: Option<String>,
    pub(crate) dry_run_allow: Option<String>,
}

/// What our filter says about a decision beyond its outcome.
#[derive(Clone, Debug)]
pub(crate) struct Ours {
    pub(crate) outcome: Outcome,
    pub(crate) reason: String,
    /// Whether policies that never change a verdict were not asked, as what they look at could not be read.
    pub(crate) shadow_unreadable: bool,
}

/// Headers of the answer that carry what Envoy's own filters say, and where they say it.
pub(crate) const TOLD: [(&str, &str); 6] = [
    ("x-told-details", "%RESPONSE_CODE_DETAILS%"),
    (
        "x-told-allow",
        "%DYNAMIC_METADATA(envoy.filters.http.rbac:observed_allow_shadow_effective_policy_id)%",
    ),
    (
        "x-told-deny",
        "%DYNAMIC_METADATA(envoy.filters.http.rbac:observed_deny_shadow_effective_policy_id)%",
    ),
    (
        "x-told-audit",
        "%DYNAMIC_METADATA(envoy.filters.http.rbac:observed_audit_shadow_effective_policy_id)%",
    ),
    (
        "x-told-dry-run-deny",
        "%DYNAMIC_METADATA(envoy.filters.http.rbac:observed_dry_deny_shadow_effective_policy_id)%",
    ),
    (
        "x-told-dry-run-allow",
        "%DYNAMIC_METADATA(envoy.filters.http.rbac:observed_dry_allow_shadow_effective_policy_id)%",
    ),
];

/// The native outcome; an error is an answer that no RBAC filter gives.
pub(crate) fn native(answer: &Answer) -> Result<Outcome, String> {
    let told = |name: &str| {
        let text = answer
            .headers
            .get(name)
            .filter(|text| *text != "-" && !text.is_empty());
        text.cloned()
    };
    let details = told("x-told-details").unwrap_or_default();
    let allowed = match (answer.status, details.as_str()) {
        (200, "direct_response") => true,
        (403, details) if details.starts_with(DENIED) => false,
        (status, details) => return Err(format!("{status} {details}")),
    };
    let policy = if allowed {
        told("x-told-allow")
    } else {
        let id = details
            .strip_prefix(DENIED)
            .and_then(|rest| rest.strip_suffix(']'));
        // Envoy writes an id without what a log format would trip over; ids of the suites have none of that.
        id.filter(|id| *id != "none").map(str::to_owned)
    };
    if !allowed && told("x-told-deny") != policy {
        return Err(format!(
            "enforced {policy:?}, observed {:?}",
            told("x-told-deny")
        ));
    }
    Ok(Outcome {
        allowed,
        policy,
        audit: told("x-told-audit"),
        dry_run_deny: told("x-told-dry-run-deny"),
        dry_run_allow: told("x-told-dry-run-allow"),
    })
}

const DENIED: &str = "rbac_access_denied_matched_policy[";

/// Lines of the decision log by a field: `requestId`, or `connection`.
pub(crate) fn decisions(log: &str, field: &str) -> BTreeMap<String, Value> {
    let line = |line: &str| {
        let json = line.split_once("countersign-decision ")?.1;
        let value: Value = serde_json::Deserializer::from_str(json)
            .into_iter()
            .next()?
            .ok()?;
        let key = match &value[field] {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return None,
        };
        Some((key, value))
    };
    log.lines().filter_map(line).collect()
}

/// Our filter's outcome: whether the request passed, and its line in the decision log.
pub(crate) fn ours(passed: bool, line: Option<&Value>) -> Result<Ours, String> {
    let line = line.ok_or_else(|| format!("passed: {passed}, and nothing in the decision log"))?;
    let allowed = line["verdict"] == "allow";
    if passed != allowed {
        return Err(format!("passed: {passed}, and in the decision log {line}"));
    }
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Ok(Ours {
        outcome: Outcome {
            allowed,
            policy: text(&line["policy"]),
            audit: text(&line["shadow"]["audit"]),
            dry_run_deny: text(&line["shadow"]["dryRun"]["deny"]),
            dry_run_allow: text(&line["shadow"]["dryRun"]["allow"]),
        },
        reason: text(&line["reason"]).unwrap_or_default(),
        shadow_unreadable: line["shadow"]["unreadable"].is_string(),
    })
}
