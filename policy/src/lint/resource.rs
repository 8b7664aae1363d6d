//! Lints over whole resources.

use std::collections::BTreeMap;

use crate::{authorization_policy::Action, peer_authentication::PeerAuthentication};

use super::{
    Code, LintContext, Report,
    model::{Policy, name},
};

pub(super) fn policy(policy: &Policy<'_>, report: &mut Report) {
    if policy.action == Action::Allow && policy.rules.is_empty() {
        let message = "an ALLOW policy without rules matches nothing; with it, what no other policy allows is denied";
        let help = "leave it if that is meant; `rules: [{}]` allows everything";
        report.note(
            &policy.name,
            "spec.rules",
            Code::AllowsNothing,
            message.to_owned(),
            help,
        );
    }
}

/// Of several for the same workloads, the oldest counts.
pub(super) fn peer_authentication(
    resources: &[PeerAuthentication],
    context: &LintContext,
    report: &mut Report,
) {
    let mut first = BTreeMap::new();
    for resource in resources {
        let name = name("PeerAuthentication", &resource.metadata);
        let selector = resource.spec.selector.as_ref();
        let labels = selector
            .and_then(|selector| selector.match_labels.clone())
            .unwrap_or_default();
        if name.namespace == context.root_namespace && !labels.is_empty() {
            let message = "has labels in the root namespace, where Istio ignores it".to_owned();
            let help = "move it to the workload's namespace, or leave the selector out";
            report.warn(
                &name,
                "spec.selector",
                Code::IgnoredPeerAuthentication,
                message,
                help,
            );
            continue;
        }
        if let Some(other) = first.insert((name.namespace.clone(), labels), name.clone()) {
            let message = format!("{other} is for the same workloads; only the older one counts");
            let help = "keep one of them";
            report.warn(
                &name,
                "metadata",
                Code::IgnoredPeerAuthentication,
                message,
                help,
            );
        }
    }
}
