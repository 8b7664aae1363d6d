//! Everything of a resource but its rules.

use crate::{
    authorization_policy::{
        Action, AuthorizationPolicy, AuthorizationPolicySpec, TargetReference, WorkloadSelector,
    },
    error::Problem,
};

use super::{
    limits,
    report::{Path, Report},
};

pub(super) fn check(policy: &AuthorizationPolicy, report: &mut Report) {
    check_type(policy, report);
    check_metadata(policy, report);
    let spec = &policy.spec;
    if let Some(selector) = &spec.selector {
        check_selector(selector, report);
    }
    check_targets(spec, report);
    check_provider(spec, report);
    let never_matches = spec.rules.as_ref().is_none_or(Vec::is_empty);
    let (Action::Deny | Action::Custom, true) = (spec.action, never_matches) else {
        return;
    };
    let action = spec.action.as_str();
    report.problem(&Path::root("spec.rules"), Problem::Meaningless { action });
}

fn check_targets(spec: &AuthorizationPolicySpec, report: &mut Report) {
    let one = Path::root("spec.targetRef");
    let many = Path::root("spec.targetRefs");
    if let Some(target) = &spec.target_ref {
        check_target(target, &one, report);
    }
    if let Some(targets) = &spec.target_refs {
        report.list(&many, targets.len(), "targets", limits::MAX_TARGET_REFS);
        for (index, target) in targets.iter().enumerate().take(limits::MAX_TARGET_REFS) {
            check_target(target, &many.index(index), report);
        }
    }
    let other = match (&spec.selector, &spec.target_ref, &spec.target_refs) {
        (Some(_), Some(_), _) | (Some(_), _, Some(_)) => "selector",
        (None, Some(_), Some(_)) => "targetRef",
        _ => return,
    };
    let path = if spec.target_refs.is_some() {
        many
    } else {
        one
    };
    report.problem(&path, Problem::Conflict { other });
}

fn check_target(target: &TargetReference, path: &Path, report: &mut Report) {
    if target.name.is_empty() {
        let expected = "the target's name";
        report.problem(&path.field("name"), Problem::Missing { expected });
    }
    if target.namespace.is_some() {
        let other = "targetRef: a target is always in the policy's namespace";
        report.problem(&path.field("namespace"), Problem::Conflict { other });
    }
    let kind = (target.group.as_str(), target.kind.as_str());
    if !TARGETS.contains(&kind) {
        let found = format!("{}/{}", target.group, target.kind);
        let expected = "a Service, ServiceEntry, Gateway or GatewayClass with its group";
        report.invalid(&path.field("kind"), &found, expected);
    }
}

fn check_provider(spec: &AuthorizationPolicySpec, report: &mut Report) {
    let path = Path::root("spec.provider");
    let name = spec.provider.as_ref().map(|provider| &provider.name);
    match (spec.action, name) {
        (Action::Custom, None) => {
            let expected = "CUSTOM needs a provider";
            report.problem(&path, Problem::Missing { expected });
        }
        (Action::Custom, Some(name)) if name.is_empty() => {
            report.problem(&path.field("name"), Problem::Empty);
        }
        (Action::Custom, Some(_)) | (_, None) => {}
        (_, Some(_)) => {
            let other = "an action other than CUSTOM";
            report.problem(&path, Problem::Conflict { other });
        }
    }
}

/// Whether the policy is only tried out, by its annotation.
pub(crate) fn is_dry_run(policy: &AuthorizationPolicy) -> bool {
    let written = policy.metadata.annotations.get(DRY_RUN);
    written.and_then(|written| parse_bool(written)) == Some(true)
}

fn check_type(policy: &AuthorizationPolicy, report: &mut Report) {
    if !API_VERSIONS.contains(&policy.api_version.as_str()) {
        let expected = "security.istio.io/v1 or security.istio.io/v1beta1";
        report.invalid(&Path::root("apiVersion"), &policy.api_version, expected);
    }
    if policy.kind != KIND {
        report.invalid(&Path::root("kind"), &policy.kind, KIND);
    }
}

fn check_metadata(policy: &AuthorizationPolicy, report: &mut Report) {
    let metadata = &policy.metadata;
    let path = Path::root("metadata.name");
    match &metadata.name {
        None => report.problem(
            &path,
            Problem::Missing {
                expected: "the policy's name",
            },
        ),
        Some(name) => {
            report.limit(&path, name.len(), "bytes", limits::MAX_NAME_BYTES);
            if !is_name(name, b"-.") {
                report.invalid(
                    &path,
                    name,
                    "a name of a-z, 0-9, - and . that begins and ends with a-z or 0-9",
                );
            }
        }
    }
    let path = Path::root("metadata.namespace");
    match &metadata.namespace {
        None => report.problem(
            &path,
            Problem::Missing {
                expected: "the policy's namespace",
            },
        ),
        Some(namespace) => {
            report.limit(&path, namespace.len(), "bytes", limits::MAX_NAMESPACE_BYTES);
            if !is_name(namespace, b"-") {
                report.invalid(
                    &path,
                    namespace,
                    "a name of a-z, 0-9 and - that begins and ends with a-z or 0-9",
                );
            }
        }
    }
    if let Some(dry_run) = metadata.annotations.get(DRY_RUN) {
        let path = Path::root("metadata.annotations").field(DRY_RUN);
        if parse_bool(dry_run).is_none() {
            report.invalid(&path, dry_run, "true or false");
        }
    }
}

fn check_selector(selector: &WorkloadSelector, report: &mut Report) {
    for (key, value) in selector.match_labels.iter().flatten() {
        let path = Path::root("spec.selector.matchLabels").field(key);
        if key.is_empty() || key.contains('*') {
            report.invalid(&path, key, "a label name without wildcard");
        }
        if value.contains('*') {
            report.invalid(&path, value, "a label value without wildcard");
        }
    }
}

fn is_name(name: &str, punctuation: &[u8]) -> bool {
    let edge =
        |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = name.as_bytes();
    edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|b| edge(Some(b)) || punctuation.contains(b))
}

/// The spellings Istio accepts (those of Go's `ParseBool`).
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

const API_VERSIONS: [&str; 2] = ["security.istio.io/v1", "security.istio.io/v1beta1"];
/// Group and kind of what `targetRefs` may name.
pub(crate) const TARGETS: [(&str, &str); 6] = [
    ("", "Service"),
    ("core", "Service"),
    ("networking.istio.io", "ServiceEntry"),
    ("networking.istio.io", "Gateway"),
    ("gateway.networking.k8s.io", "Gateway"),
    ("gateway.networking.k8s.io", "GatewayClass"),
];
const KIND: &str = "AuthorizationPolicy";
const DRY_RUN: &str = "istio.io/dry-run";
