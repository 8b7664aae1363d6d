//! Everything of a resource but its rules.

use crate::{
    authorization_policy::{Action, AuthorizationPolicy, WorkloadSelector},
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
    if spec.target_ref.is_some() {
        report.not_supported(&Path::root("spec.targetRef"), "targetRef");
    }
    if spec.target_refs.is_some() {
        report.not_supported(&Path::root("spec.targetRefs"), "targetRefs");
    }
    if spec.provider.is_some() {
        let path = Path::root("spec.provider");
        if spec.action == Action::Custom {
            report.not_supported(&path, "provider");
        } else {
            report.problem(
                &path,
                Problem::Conflict {
                    other: "an action other than CUSTOM",
                },
            );
        }
    }
    match spec.action {
        Action::Audit | Action::Custom => {
            let what = format!("action {}", spec.action.as_str());
            report.not_supported(&Path::root("spec.action"), &what);
        }
        Action::Deny if spec.rules.as_ref().is_none_or(Vec::is_empty) => {
            report.problem(
                &Path::root("spec.rules"),
                Problem::Meaningless { action: "DENY" },
            );
        }
        Action::Allow | Action::Deny => {}
    }
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
        match parse_bool(dry_run) {
            Some(true) => report.not_supported(&path, "dry-run"),
            Some(false) => {}
            None => report.invalid(&path, dry_run, "true or false"),
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
const KIND: &str = "AuthorizationPolicy";
const DRY_RUN: &str = "istio.io/dry-run";
