//! Rules that another rule makes pointless.

use std::collections::{BTreeMap, BTreeSet};

use crate::{authorization_policy::Action, matcher::segments_after};

use super::{
    Code, LintContext, Report,
    model::{Attribute, Field, Grammar, Policy, Rule},
    pattern::{Text, all_covered, all_exclude, is_template, peers_match},
};

/// Pairs of rules that are compared; with more, the rest is reported as not looked at.
pub(super) const MAX_COMPARISONS: usize = 4_000_000;

/// Ways in which one rule can match (sources times operations) that are compared; rules with more are not.
const MAX_WAYS: usize = 64;

/// A rule with its policy.
struct Ruled<'p, 'r> {
    policy: &'p Policy<'r>,
    rule: &'p Rule<'r>,
    /// The conditions of each way in which the rule can match.
    ways: Vec<Vec<&'p Field<'r>>>,
}

pub(super) fn check(
    policies: &[Policy<'_>],
    context: &LintContext,
    most: usize,
    report: &mut Report,
) {
    let rules: Vec<Ruled<'_, '_>> = policies
        .iter()
        .filter(|policy| !policy.dry_run && policy.action != Action::Custom)
        .flat_map(|policy| {
            policy
                .rules
                .iter()
                .filter_map(move |rule| Ruled::new(policy, rule))
        })
        .collect();
    let index = Index::new(&rules);
    let mut left = most;
    for (place, rule) in rules.iter().enumerate() {
        let mut found = BTreeSet::new();
        let candidates = index.candidates(rule);
        for (other_place, other) in candidates.filter_map(|at| Some((at, rules.get(at)?))) {
            let Some(code) =
                relation(rule, other).filter(|code| other_place != place && !found.contains(code))
            else {
                continue;
            };
            let Some(fewer) = left.checked_sub(1) else {
                return incomplete(rule, rules.len(), most, report);
            };
            left = fewer;
            let same = || other.covers(rule, context) && rule.covers(other, context);
            if other.covers(rule, context)
                && (other_place < place || code != Code::ShadowedRule || !same())
            {
                found.insert(code);
                pointless(rule, other, code, report);
            }
        }
    }
}

/// What it would mean for `rule` if `other` matched whatever it does.
fn relation(rule: &Ruled<'_, '_>, other: &Ruled<'_, '_>) -> Option<Code> {
    match (rule.policy.action, other.policy.action) {
        (a, b) if a == b => Some(Code::ShadowedRule),
        (Action::Allow, Action::Deny) => Some(Code::AllowUnderDeny),
        _ => None,
    }
}

fn pointless(rule: &Ruled<'_, '_>, other: &Ruled<'_, '_>, code: Code, report: &mut Report) {
    let name = &other.policy.name;
    let at = format!("{} of {}/{}", other.rule.path, name.namespace, name.name);
    let (message, help) = if code == Code::AllowUnderDeny {
        (
            format!("whatever it allows is denied by {at}"),
            "remove it, or make the DENY rule narrower: a DENY rule always comes first",
        )
    } else {
        (
            format!("whatever it matches is matched by {at} as well"),
            "remove it; or if it was to be the limit, make the other one narrower",
        )
    };
    report.warn(&rule.policy.name, &rule.rule.path, code, message, help);
}

fn incomplete(rule: &Ruled<'_, '_>, rules: usize, most: usize, report: &mut Report) {
    let message = format!(
        "of {rules} rules, those from here on were not compared with all others: there are more than \
         {most} pairs"
    );
    let help = "lint the policies of each namespace on their own";
    report.note(
        &rule.policy.name,
        &rule.rule.path,
        Code::Incomplete,
        message,
        help,
    );
}

impl<'p, 'r> Ruled<'p, 'r> {
    fn new(policy: &'p Policy<'r>, rule: &'p Rule<'r>) -> Option<Self> {
        let from = rule.from.len().max(1);
        if from.saturating_mul(rule.to.len().max(1)) > MAX_WAYS {
            return None;
        }
        let when = || rule.when.fields.iter();
        let mut ways: Vec<Vec<&Field<'r>>> = vec![when().collect()];
        for alternatives in [&rule.from, &rule.to] {
            if alternatives.is_empty() {
                continue;
            }
            ways = ways
                .iter()
                .flat_map(|way| {
                    alternatives
                        .iter()
                        .map(move |part| way.iter().copied().chain(&part.fields).collect())
                })
                .collect();
        }
        Some(Self { policy, rule, ways })
    }

    /// Whether it matches whatever `other` does, wherever `other` applies.
    fn covers(&self, other: &Self, context: &LintContext) -> bool {
        applies_wherever(self.policy, other.policy, context)
            && other.ways.iter().all(|way| {
                self.ways
                    .iter()
                    .any(|own| own.iter().all(|field| self.is_implied(field, other, way)))
            })
    }

    /// Whether `field` holds whenever all of `way`, one of `other`'s, does.
    fn is_implied(&self, field: &Field<'_>, other: &Self, way: &[&Field<'_>]) -> bool {
        let attribute = field.attribute;
        way.iter().any(|held| {
            if held.attribute != attribute {
                let matching = peers_match(held, field, &self.policy.name.namespace);
                return matching.is_some_and(|all| all != field.negated);
            }
            // An account without namespace is one of the policy's own.
            let relative = attribute.0 == "source.serviceAccount"
                && self.policy.name.namespace != other.policy.name.namespace;
            match (field.negated, held.negated) {
                _ if relative => false,
                (false, false) => all_covered(attribute, held.values, field.values),
                (true, true) => all_covered(attribute, field.values, held.values),
                (true, false) => {
                    attribute.is_single() && all_exclude(attribute, held.values, field.values)
                }
                (false, true) => false,
            }
        })
    }
}

/// Whether policy `a` applies to every workload that `b` applies to.
fn applies_wherever(a: &Policy<'_>, b: &Policy<'_>, context: &LintContext) -> bool {
    let references = |policy: &Policy<'_>| {
        let spec = &policy.written.spec;
        let all = spec.target_refs.iter().flatten().chain(&spec.target_ref);
        all.map(|one| (one.group.clone(), one.kind.clone(), one.name.clone()))
            .collect::<BTreeSet<_>>()
    };
    let (of_a, of_b) = (references(a), references(b));
    let same_namespace = a.name.namespace == b.name.namespace;
    if !of_a.is_empty() || !of_b.is_empty() {
        return same_namespace && !of_b.is_empty() && of_b.is_subset(&of_a);
    }
    let labels = a.labels().is_none_or(|wanted| {
        let found = b.labels();
        wanted
            .iter()
            .all(|(key, value)| found.and_then(|found| found.get(key)) == Some(value))
    });
    (same_namespace || a.name.namespace == context.root_namespace) && labels
}

/// Rules by a value that whatever they cover must have; so that not all pairs are compared.
struct Index {
    by_value: BTreeMap<(String, String), BTreeSet<usize>>,
    others: BTreeSet<usize>,
}

impl Index {
    fn new(rules: &[Ruled<'_, '_>]) -> Self {
        let mut index = Self {
            by_value: BTreeMap::new(),
            others: BTreeSet::new(),
        };
        for (place, rule) in rules.iter().enumerate() {
            for way in &rule.ways {
                let keys = way.iter().filter(|field| !field.negated).find_map(|field| {
                    let namespace = &rule.policy.name.namespace;
                    field
                        .values
                        .iter()
                        .map(|value| key(field.attribute, value, namespace))
                        .collect::<Option<Vec<_>>>()
                });
                let Some(keys) = keys else {
                    index.others.insert(place);
                    continue;
                };
                for key in keys {
                    index.by_value.entry(key).or_default().insert(place);
                }
            }
        }
        index
    }

    /// Whatever covers the rule covers its first way, with a value of that.
    fn candidates(&self, rule: &Ruled<'_, '_>) -> impl Iterator<Item = usize> {
        let mut found = BTreeSet::new();
        let fields = rule
            .ways
            .first()
            .into_iter()
            .flatten()
            .filter(|field| !field.negated);
        for (field, value) in fields.filter_map(|field| Some((field, field.values.first()?))) {
            let mut keys = Vec::from_iter(key(field.attribute, value, &rule.policy.name.namespace));
            if field.attribute.0 == "source.principal" {
                keys.extend(keys_of_peer(value));
            }
            found.extend(
                keys.iter()
                    .filter_map(|key| self.by_value.get(key))
                    .flatten()
                    .copied(),
            );
        }
        self.others.iter().copied().chain(found)
    }
}

/// What a value that takes nothing but itself is found by.
fn key(attribute: Attribute<'_>, value: &str, namespace: &str) -> Option<(String, String)> {
    let is_exact = matches!(Text::new(value), Text::Exact(_));
    let value = match attribute.grammar() {
        Grammar::Text if is_exact => value.to_owned(),
        Grammar::Host if is_exact => value.to_ascii_lowercase(),
        Grammar::Path if is_exact && !is_template(value) => value.to_owned(),
        Grammar::Namespace if !value.contains(['*', '/']) => value.to_owned(),
        Grammar::Opaque if attribute.0 == "source.serviceAccount" => {
            let (namespace, account) = value.split_once('/').unwrap_or((namespace, value));
            format!("{namespace}/{account}")
        }
        _ => return None,
    };
    Some((attribute.0.to_owned(), value))
}

/// The namespaces and accounts of a principal.
fn keys_of_peer(principal: &str) -> Vec<(String, String)> {
    let peer = format!("/{principal}");
    let mut keys = Vec::new();
    for namespace in segments_after(&peer, "ns", false) {
        keys.push(("source.namespace".to_owned(), namespace.to_owned()));
        for account in segments_after(&peer, "sa", true) {
            keys.push((
                "source.serviceAccount".to_owned(),
                format!("{namespace}/{account}"),
            ));
        }
    }
    keys
}
