//! Which conditions hold whenever others do. All of it errs on the side of saying nothing.

use crate::issuance::condition::{Condition, Test};
use crate::issuance::glob::Glob;

/// Whether `wide` holds whenever `narrow` does.
pub(super) fn covers(wide: &Condition, narrow: &Condition) -> bool {
    let narrow = narrow.conjuncts();
    wide.conjuncts()
        .iter()
        .all(|part| narrow.iter().any(|given| implies(given, part)))
}

fn implies(given: &Condition, part: &Condition) -> bool {
    let all_covered = |given: &[Glob], part: &[Glob]| {
        given
            .iter()
            .all(|given| part.iter().any(|part| part.covers(given)))
    };
    match (&given.test, &part.test) {
        (Test::Proof(given), Test::Proof(part)) => given.iter().all(|name| part.contains(name)),
        (Test::Selector(given), Test::Selector(part)) => part.covers(given),
        (Test::CallerId(given), Test::CallerId(part))
        | (Test::RequestedId(given), Test::RequestedId(part)) => all_covered(given, part),
        (given, part) => same(given, part),
    }
}

/// Whether two tests are the same but for where they are written.
fn same(one: &Test, other: &Test) -> bool {
    let lists = |one: &[Condition], other: &[Condition]| {
        one.len() == other.len()
            && one
                .iter()
                .zip(other)
                .all(|(one, other)| same(&one.test, &other.test))
    };
    match (one, other) {
        (Test::Any(one), Test::Any(other)) | (Test::All(one), Test::All(other)) => {
            lists(one, other)
        }
        (Test::Not(one), Test::Not(other)) => same(&one.test, &other.test),
        (one, other) => one == other,
    }
}

/// Whether a condition asks for nothing.
pub(super) fn always(condition: &Condition) -> bool {
    condition.conjuncts().is_empty()
}

/// Why a condition holds for no request, where that can be seen.
pub(super) fn never(condition: &Condition) -> Option<String> {
    let parts = condition.conjuncts();
    for (index, part) in parts.iter().enumerate() {
        if let Test::Not(inner) = &part.test {
            if always(inner) {
                return Some(format!("{}: what is always true is negated", part.path));
            }
            let others = parts.iter().filter(|other| other.path != part.path);
            if others.clone().any(|other| implies_all(other, inner)) {
                return Some(format!("{}: another part asks for just this", part.path));
            }
        }
        if let Test::Any(list) = &part.test
            && let Some(whys) = list.iter().map(never).collect::<Option<Vec<_>>>()
        {
            return Some(format!("{}: {}", part.path, whys.join("; ")));
        }
        for other in parts.iter().skip(index + 1) {
            if let Some(why) = clash(&part.test, &other.test) {
                return Some(format!("{} and {}: {why}", part.path, other.path));
            }
        }
    }
    None
}

fn implies_all(given: &Condition, condition: &Condition) -> bool {
    condition
        .conjuncts()
        .iter()
        .all(|part| implies(given, part))
}

/// Why two tests never hold together.
fn clash(one: &Test, other: &Test) -> Option<String> {
    match (one, other) {
        (Test::Proof(names), Test::Selector(pattern))
        | (Test::Selector(pattern), Test::Proof(names)) => {
            let kind = pattern.as_str().split(':').next().unwrap_or_default();
            let givers = PROOFS_OF
                .iter()
                .find(|(known, _)| *known == kind)
                .map(|(_, proofs)| *proofs)?;
            let is_given = names.iter().any(|name| givers.contains(&name.as_str()));
            (!is_given).then(|| format!("{} gives no selector of type {kind}", names.join(" or ")))
        }
        (Test::Proof(one), Test::Proof(other)) => {
            let common = one.iter().any(|name| other.contains(name));
            (!common).then(|| "no proof is both".to_owned())
        }
        (Test::Selector(one), Test::Selector(other)) => {
            let key = |pattern: &Glob| {
                let mut parts = pattern.as_str().splitn(3, ':');
                Some((
                    parts.next()?.to_owned(),
                    parts.next()?.to_owned(),
                    parts.next()?.to_owned(),
                ))
            };
            let (a, b) = (key(one)?, key(other)?);
            let is_single = SINGLE.contains(&format!("{}:{}", a.0, a.1).as_str());
            let differ = (&a.0, &a.1) == (&b.0, &b.1) && a.2 != b.2;
            let closed = !one.is_open() && !other.is_open();
            (is_single && differ && closed).then(|| "there is only one of them".to_owned())
        }
        _ => None,
    }
}

/// Selectors that only these proofs give.
const PROOFS_OF: [(&str, &[&str]); 5] = [
    ("join", &["join_token"]),
    ("renewal", &["client_certificate"]),
    ("parent", &["client_certificate"]),
    ("entry", &["client_certificate"]),
    ("operator", &["operator"]),
];
/// Selectors of which a proof gives one.
const SINGLE: [&str; 10] = [
    "k8s:cluster",
    "k8s:ns",
    "k8s:sa",
    "k8s:pod",
    "k8s:node",
    "oidc:iss",
    "oidc:sub",
    "operator:uid",
    "unix:uid",
    "join:id",
];
