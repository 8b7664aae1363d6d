//! Why a request that no ALLOW rule matches does not match them, in few words.

use policy::{Decision, DenyReason, Request};

use crate::settings::Plugin;

/// Most loaded rules with which a denial is explained: each of them is tested anew for it.
pub const MAX_RULES: usize = 32;
/// Most rules that a summary names.
const MAX_NAMED: usize = 3;
/// Longest summary, bytes.
const MAX_BYTES: usize = 512;

/// For the first few ALLOW rules, the first condition of each that fails: where it is written, never a
/// value of the request. `None` unless the decision is that no ALLOW rule matches and there are few rules.
#[must_use]
pub fn of_denial(plugin: &Plugin, decision: &Decision, request: &Request<'_>) -> Option<String> {
    if !matches!(decision, Decision::Deny(DenyReason::NoAllowMatched)) || !plugin.explains() {
        return None;
    }
    let failed = plugin.policies.failed_allow_rules(request);
    let mut failed =
        failed.map(|(rule, path)| format!("{}/{}: {path}", rule.namespace(), rule.policy()));
    let mut summary = failed
        .by_ref()
        .take(MAX_NAMED)
        .collect::<Vec<_>>()
        .join("; ");
    let more = failed.count();
    if more > 0 {
        summary.push_str(&format!("; and {more} more rules"));
    }
    if summary.is_empty() {
        summary.push_str("there is no ALLOW rule");
    }
    if summary.len() > MAX_BYTES {
        let cut = (0..=MAX_BYTES)
            .rev()
            .find(|&at| summary.is_char_boundary(at));
        summary.truncate(cut.unwrap_or(0));
    }
    Some(summary)
}
