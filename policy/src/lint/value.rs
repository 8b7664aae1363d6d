//! Lints over single values.

use crate::authorization_policy::Action;

use super::{
    Code, LintContext, Report,
    model::{Attribute, Field, Grammar, HOST, METHOD, PATH, Policy},
    pattern::{Text, is_template},
};

pub(super) fn check(
    policy: &Policy<'_>,
    field: &Field<'_>,
    context: &LintContext,
    report: &mut Report,
) {
    for (index, value) in field.values.iter().enumerate() {
        let path = format!("{}[{index}]", field.path);
        if let Some(reason) = impossible(field.attribute, value, context) {
            let help = "correct the value, or remove it";
            let message = format!("no request has {value:?}: {reason}");
            report.warn(&policy.name, &path, Code::ValueNeverMatches, message, help);
        } else if has_literal_star(field.attribute, value) {
            let help = "use one * at an end: abc* or *abc; the two cannot be combined in one value";
            let message = format!("{value:?} has a * that stands for itself");
            report.warn(&policy.name, &path, Code::LiteralStar, message, help);
        }
        trust_domain(policy, field, value, &path, context, report);
        if field.attribute.0 == PATH && is_template(value) {
            template(policy, field, value, &path, report);
        }
        if field.attribute.0 == HOST {
            host(policy, field, value, &path, report);
        }
    }
}

/// Why no request can have the value.
fn impossible(attribute: Attribute<'_>, value: &str, context: &LintContext) -> Option<String> {
    let text = Text::new(value);
    match attribute.0 {
        "source.principal" if value.trim_start_matches('*').starts_with("spiffe://") => {
            Some("a principal is written without spiffe://".to_owned())
        }
        METHOD => match text {
            Text::Exact(method) if method.bytes().any(|byte| byte.is_ascii_lowercase()) => {
                let upper = method.to_ascii_uppercase();
                Some(format!(
                    "methods are compared with their case, and it is {upper}"
                ))
            }
            _ => None,
        },
        HOST if value.contains('/') => {
            Some("a host has no slash; schemes and paths are no part of it".to_owned())
        }
        PATH => impossible_path(text, value, context),
        _ => None,
    }
}

fn impossible_path(text: Text<'_>, value: &str, context: &LintContext) -> Option<String> {
    if value.contains(['?', '#']) {
        return Some("paths are compared without query and fragment".to_owned());
    }
    let begins = match text {
        Text::Exact(path) | Text::Prefix(path) => path,
        Text::Suffix(_) | Text::Any => return None,
    };
    if !begins.starts_with('/') && value != "*" {
        return Some("a path begins with a slash".to_owned());
    }
    if is_template(value) {
        return None;
    }
    let is_normal = |path: &str| context.path_normalization.is_fixed_point(path.as_bytes());
    // A prefix may end within an escape or a segment.
    let unfinished = matches!(text, Text::Prefix(_))
        && (is_normal(&format!("{begins}a")) || begins.ends_with('%'));
    (!is_normal(begins) && !unfinished).then(|| {
        "paths are in normal form when they are compared (no //, no . or .. segments, no needless escapes)".to_owned()
    })
}

/// Whether a `*` is neither alone nor the one wildcard at an end.
fn has_literal_star(attribute: Attribute<'_>, value: &str) -> bool {
    match attribute.grammar() {
        Grammar::Text | Grammar::Host => {}
        Grammar::Path if !is_template(value) => {}
        Grammar::Path | Grammar::Namespace | Grammar::Range | Grammar::Opaque => return false,
    }
    match Text::new(value) {
        Text::Exact(rest) | Text::Prefix(rest) | Text::Suffix(rest) => rest.contains('*'),
        Text::Any => false,
    }
}

fn trust_domain(
    policy: &Policy<'_>,
    field: &Field<'_>,
    value: &str,
    path: &str,
    context: &LintContext,
    report: &mut Report,
) {
    let name = match (field.attribute.0, value.split_once('/')) {
        ("source.principal", Some((name, _))) => name,
        ("source.trustDomain", None) => value,
        _ => return,
    };
    let known = context
        .trust_domains
        .iter()
        .any(|known| known.as_str() == name);
    if context.trust_domains.is_empty() || known || name.contains('*') || name == "cluster.local" {
        return;
    }
    let names: Vec<&str> = context.trust_domains.iter().map(AsRef::as_ref).collect();
    let message = format!("the trust domain {name:?} is none of {}", names.join(", "));
    let help = "correct it, or add the trust domain to those the mesh trusts; cluster.local stands for the mesh's own";
    report.warn(&policy.name, path, Code::UnknownTrustDomain, message, help);
}

fn template(policy: &Policy<'_>, field: &Field<'_>, value: &str, path: &str, report: &mut Report) {
    let message = format!(
        "{value:?} takes different paths in different releases of Envoy's own RBAC: before 1.39 no segment with = or \
         *, among others"
    );
    let help =
        "where requests must not get past it, deny by prefix instead, or allow what is known";
    let lets_pass = policy.action == Action::Deny || field.negated;
    if lets_pass || value.contains('=') {
        report.warn(&policy.name, path, Code::PathTemplate, message, help);
    } else {
        report.note(&policy.name, path, Code::PathTemplate, message, help);
    }
}

/// `h` takes `h` only, `h:*` every port; clients send either.
fn host(policy: &Policy<'_>, field: &Field<'_>, value: &str, path: &str, report: &mut Report) {
    let (Text::Exact(host) | Text::Suffix(host)) = Text::new(value) else {
        return;
    };
    let has_port = host.rsplit_once(':').is_some_and(|(name, port)| {
        !name.is_empty()
            && !name.ends_with(':')
            && !port.contains(']')
            && port.bytes().all(|b| b.is_ascii_digit())
    });
    let lower = host.to_ascii_lowercase();
    let with_port = |other: &String| {
        let other = other.to_ascii_lowercase();
        other == "*"
            || other
                .trim_start_matches('*')
                .strip_prefix(lower.as_str())
                .is_some_and(|rest| rest.starts_with(':') || rest == "*")
    };
    if has_port || field.values.iter().any(with_port) {
        return;
    }
    let message =
        format!("{value:?} does not take the same host with a port, such as \"{lower}:80\"");
    if policy.action == Action::Deny || field.negated {
        let help =
            "name the host with its ports too (host:*): whoever sends one gets past this rule";
        report.warn(&policy.name, path, Code::HostWithoutPort, message, help);
    } else {
        let help = "name the host with its ports too (host:*) if clients may send one";
        report.note(&policy.name, path, Code::HostWithoutPort, message, help);
    }
}
