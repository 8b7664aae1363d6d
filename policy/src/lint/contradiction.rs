//! Conditions that exclude each other.

use super::{
    Code, Report,
    model::{Field, Part, Policy, Rule},
    pattern::{all_covered, all_exclude, peers_match},
};

/// Reports the alternatives that never match, or the rule if it never does.
pub(super) fn check(policy: &Policy<'_>, rule: &Rule<'_>, report: &mut Report) {
    if let Some(reason) = within(policy, &rule.when, None) {
        return never(policy, &rule.path, &reason, report);
    }
    for alternatives in [&rule.from, &rule.to] {
        let dead: Vec<(&Part<'_>, String)> = alternatives
            .iter()
            .filter_map(|part| Some((part, within(policy, part, Some(&rule.when))?)))
            .collect();
        let (Some((_, first)), false) = (dead.first(), alternatives.len() > dead.len()) else {
            for (part, reason) in &dead {
                never(policy, &part.path, reason, report);
            }
            continue;
        };
        return never(policy, &rule.path, first, report);
    }
}

fn never(policy: &Policy<'_>, path: &str, reason: &str, report: &mut Report) {
    let help = "remove it, or correct the values that exclude each other";
    let message = format!("never matches: {reason}");
    report.warn(&policy.name, path, Code::NeverMatches, message, help);
}

/// Why the conditions of `part`, with those of `when`, never hold together.
fn within(policy: &Policy<'_>, part: &Part<'_>, when: Option<&Part<'_>>) -> Option<String> {
    let others = || {
        part.fields
            .iter()
            .chain(when.into_iter().flat_map(|when| &when.fields))
    };
    part.fields.iter().find_map(|field| {
        let conflict =
            others().find(|other| !std::ptr::eq(field, *other) && exclude(policy, field, other))?;
        Some(format!(
            "{} and {} exclude each other",
            short(field),
            short(conflict)
        ))
    })
}

/// Whether the two never hold together.
fn exclude(policy: &Policy<'_>, field: &Field<'_>, other: &Field<'_>) -> bool {
    if field.attribute != other.attribute {
        let namespace = &policy.name.namespace;
        let matching =
            |a, b: &Field<'_>| peers_match(a, b, namespace).is_some_and(|all| all == b.negated);
        return matching(field, other) || matching(other, field);
    }
    match (field.negated, other.negated) {
        (false, true) => all_covered(field.attribute, field.values, other.values),
        (true, false) => all_covered(field.attribute, other.values, field.values),
        (false, false) => {
            field.attribute.is_single() && all_exclude(field.attribute, field.values, other.values)
        }
        (true, true) => false,
    }
}

/// The field within its rule, with its values if they are few.
fn short(field: &Field<'_>) -> String {
    let within = field
        .path
        .split_once("].")
        .map_or(field.path.as_str(), |(_, within)| within);
    match field.values {
        [one] => format!("{within} ({one:?})"),
        [one, two] => format!("{within} ({one:?}, {two:?})"),
        many => format!("{within} ({} values)", many.len()),
    }
}
