//! Finding the rules that could match without testing all of them.

use std::collections::HashMap;

use crate::{
    matcher::{TextSet, lower_case},
    rule::{Clause, Rule, Test, View},
};

/// Rules in the order of their ids. Each is kept in one of three places, by what it needs at the least:
/// one of certain principals, else one of certain hosts, else nothing that is indexed.
#[derive(Debug)]
pub(super) struct IndexedRules {
    rules: Vec<Rule>,
    /// Principal → places in `rules`, ascending.
    by_principal: HashMap<Box<[u8]>, Vec<usize>>,
    /// Host in lower case → places in `rules`, ascending.
    by_host: HashMap<Box<[u8]>, Vec<usize>>,
    /// Places of the other rules, ascending.
    others: Vec<usize>,
}

impl IndexedRules {
    pub(super) fn new(mut rules: Vec<Rule>) -> Self {
        rules.sort_by(|a, b| a.id.id().cmp(b.id.id()));
        let mut index = Self {
            rules: Vec::new(),
            by_principal: HashMap::new(),
            by_host: HashMap::new(),
            others: Vec::new(),
        };
        for (place, rule) in rules.iter().enumerate() {
            if let Some(keys) = exact_keys(&rule.from, &rule.when, principals) {
                add(&mut index.by_principal, keys, place);
            } else if let Some(keys) = exact_keys(&rule.to, &rule.when, hosts) {
                add(&mut index.by_host, keys, place);
            } else {
                index.others.push(place);
            }
        }
        index.rules = rules;
        index
    }

    pub(super) fn all(&self) -> &[Rule] {
        &self.rules
    }

    /// The first matching rule in the order of ids.
    pub(super) fn first_match(&self, view: &View<'_>) -> Option<&Rule> {
        if self.rules.is_empty() {
            return None;
        }
        let by_principal = view
            .principal()
            .and_then(|id| self.by_principal.get(id.as_bytes()));
        let by_host = view
            .request
            .host
            .filter(|_| !self.by_host.is_empty())
            .and_then(|host| self.by_host.get(lower_case(host).as_ref()));
        let candidates = Ascending([
            by_principal.map_or(&[][..], Vec::as_slice),
            by_host.map_or(&[][..], Vec::as_slice),
            &self.others,
        ]);
        candidates
            .filter_map(|place| self.rules.get(place))
            .find(|rule| rule.matches(view))
    }
}

/// Three ascending lists, merged.
struct Ascending<'i>([&'i [usize]; 3]);

impl Iterator for Ascending<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let list = self
            .0
            .iter_mut()
            .filter(|list| !list.is_empty())
            .min_by_key(|l| l.first())?;
        let (first, rest) = list.split_first()?;
        *list = rest;
        Some(*first)
    }
}

fn add(index: &mut HashMap<Box<[u8]>, Vec<usize>>, mut keys: Vec<&[u8]>, place: usize) {
    keys.sort_unstable();
    keys.dedup();
    for key in keys {
        index.entry(key.into()).or_default().push(place);
    }
}

/// The values of which the rule needs one: those of the `when` list, else those of every alternative.
/// `None` if the rule can match without an exact value.
fn exact_keys<'r>(
    alternatives: &'r [Clause],
    when: &'r Clause,
    of: impl Fn(&'r Test) -> Option<&'r TextSet>,
) -> Option<Vec<&'r [u8]>> {
    let exact = |clause: &'r Clause| {
        let mut positive = clause.0.iter().filter(|condition| !condition.negated);
        positive.find_map(|condition| of(&condition.test)?.only_exact())
    };
    let lists = match exact(when) {
        Some(values) => vec![values],
        None if alternatives.is_empty() => return None,
        None => alternatives.iter().map(exact).collect::<Option<Vec<_>>>()?,
    };
    Some(lists.into_iter().flatten().map(AsRef::as_ref).collect())
}

fn principals(test: &Test) -> Option<&TextSet> {
    match test {
        Test::Principal(set) => Some(set),
        _ => None,
    }
}

fn hosts(test: &Test) -> Option<&TextSet> {
    match test {
        Test::Host(set) => Some(set),
        _ => None,
    }
}
