//! Everything of a resource but its rules.

use crate::{
    authorization_policy::{Action, AuthorizationPolicy, AuthorizationPolicySpec},
    error::Problem,
    report::{Path, Report},
};

pub(super) fn check(policy: &AuthorizationPolicy, report: &mut Report) {
    let written = (policy.api_version.as_str(), policy.kind.as_str());
    report.head(written, &policy.metadata);
    check_annotations(policy, report);
    let spec = &policy.spec;
    let selector = spec.selector.as_ref();
    report.selector(selector);
    let targets = spec.target_refs.as_deref();
    report.targets(selector, spec.target_ref.as_ref(), targets);
    check_provider(spec, report);
    let never_matches = spec.rules.as_ref().is_none_or(Vec::is_empty);
    let (Action::Deny | Action::Custom, true) = (spec.action, never_matches) else {
        return;
    };
    let action = spec.action.as_str();
    report.problem(&Path::root("spec.rules"), Problem::Meaningless { action });
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

fn check_annotations(policy: &AuthorizationPolicy, report: &mut Report) {
    if let Some(dry_run) = policy.metadata.annotations.get(DRY_RUN)
        && parse_bool(dry_run).is_none()
    {
        let path = Path::root("metadata.annotations").field(DRY_RUN);
        report.invalid(&path, dry_run, "true or false");
    }
}

/// The spellings Istio accepts (those of Go's `ParseBool`).
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// The kind, as it is written.
pub(crate) const KIND: &str = "AuthorizationPolicy";
const DRY_RUN: &str = "istio.io/dry-run";
