//! Building the tree.

use crate::{
    order,
    rule::{Clause, Rule},
};

use super::{
    super::{
        attribute::{Attribute, keys_of},
        hash::{Form, Key, Table},
    },
    Below, IndexedRules, Node, Target,
};

/// So few rules are tested one by one rather than split further.
const FEW_RULES: usize = 4;

/// Splits on the way from the root to a rule: there are fewer attributes than this, but for header names.
const MAX_DEPTH: u32 = 24;

/// Attributes that rules are found by; further header names are not.
const MAX_ATTRIBUTES: usize = 64;

/// Alternatives of one rule that are looked at one by one where they have no attribute in common.
const MAX_ALTERNATIVES: usize = 16;

/// How many times the keys that are written in rules may occur in the index. One more than this and nested
/// lists of many values could take memory out of all proportion.
const MAX_REPETITION: usize = 4;

/// The keys a rule needs one of, by attribute (an index into the attributes). A list, as there are few attributes.
type Keys = Vec<(usize, Vec<Key>)>;

fn of_attribute(keys: &Keys, attribute: usize) -> Option<&Vec<Key>> {
    let mut keys = keys.iter();
    keys.find(|(of, _)| *of == attribute).map(|(_, keys)| keys)
}

/// One way in which a rule may match.
struct Entry {
    place: u32,
    keys: Keys,
}

pub(super) fn build(mut rules: Vec<Rule>, mask: u64) -> IndexedRules {
    order::sort_by(&mut rules, |a, b| a.id.id() < b.id.id());
    rules.iter_mut().for_each(shrink);
    let mut attributes = Attributes(Attribute::FIRST.to_vec());
    let mut entries = Vec::new();
    // Places and node numbers have 31 bits. So many rules would not fit anywhere else either.
    for (place, rule) in (0..super::NODE).zip(&rules) {
        attributes.entries(place, rule, &mut entries);
    }
    let keys = entries
        .iter()
        .flat_map(|entry| &entry.keys)
        .map(|(_, keys)| keys.len())
        .sum::<usize>();
    let mut builder = Builder {
        entries: &entries,
        nodes: Vec::new(),
        table: Table::with_mask(mask),
        budget: keys.saturating_mul(MAX_REPETITION),
    };
    let root = builder.target((0..entries.len()).collect(), 0, 0);
    let Builder {
        nodes, mut table, ..
    } = builder;
    table.shrink_to_fit();
    IndexedRules {
        rules: rules.into(),
        attributes: attributes.0.into(),
        nodes: nodes.into(),
        table,
        root,
    }
}

/// Lists grow by doubling; ten thousand rules keep what they do not need.
fn shrink(rule: &mut Rule) {
    rule.from.shrink_to_fit();
    rule.to.shrink_to_fit();
    rule.when.0.shrink_to_fit();
    rule.from
        .iter_mut()
        .chain(&mut rule.to)
        .for_each(|clause| clause.0.shrink_to_fit());
}

struct Attributes(Vec<Attribute>);

impl Attributes {
    /// Appends the ways in which `rule` may match. Together they leave none out.
    fn entries(&mut self, place: u32, rule: &Rule, into: &mut Vec<Entry>) {
        let when = self.of_clause(&rule.when);
        let from = self.of_alternatives(&rule.from);
        let to = self.of_alternatives(&rule.to);
        for from in &from {
            for to in &to {
                let mut keys = when.clone();
                from.iter()
                    .chain(to)
                    .for_each(|(attribute, of)| keep_fewer(&mut keys, *attribute, of.clone()));
                into.push(Entry { place, keys });
            }
        }
    }

    /// Keys of each alternative on its own if all together have none, else of all together.
    fn of_alternatives(&mut self, clauses: &[Clause]) -> Vec<Keys> {
        let each: Vec<Keys> = clauses
            .iter()
            .map(|clause| self.of_clause(clause))
            .collect();
        let mut all = Keys::new();
        for (attribute, _) in each.first().into_iter().flatten() {
            let mut keys = Vec::new();
            let in_all = each.iter().all(|alternative| {
                let found = of_attribute(alternative, *attribute);
                keys.extend(found.into_iter().flatten());
                found.is_some()
            });
            if in_all {
                keep_fewer(&mut all, *attribute, keys);
            }
        }
        if all.is_empty() && (2..=MAX_ALTERNATIVES).contains(&each.len()) {
            return each;
        }
        vec![all]
    }

    fn of_clause(&mut self, clause: &Clause) -> Keys {
        let mut keys = Keys::new();
        for condition in clause.0.iter().filter(|condition| !condition.negated) {
            keys_of(&condition.test, &mut |attribute, of| {
                if let Some(attribute) = self.index_of(attribute) {
                    keep_fewer(&mut keys, attribute, of);
                }
            });
        }
        keys
    }

    fn index_of(&mut self, attribute: Attribute) -> Option<usize> {
        let known = self.0.iter().position(|known| *known == attribute);
        known.or_else(|| {
            let next = self.0.len();
            (next < MAX_ATTRIBUTES).then(|| {
                self.0.push(attribute);
                next
            })
        })
    }
}

/// Of two lists that both must have a match, either will do to find the rule by.
fn keep_fewer(keys: &mut Keys, attribute: usize, mut of: Vec<Key>) {
    order::sort(&mut of);
    of.dedup();
    match keys.iter_mut().find(|(held, _)| *held == attribute) {
        Some((_, held)) if of.len() < held.len() => *held = of,
        Some(_) => {}
        None => keys.push((attribute, of)),
    }
}

struct Builder<'e> {
    entries: &'e [Entry],
    nodes: Vec<Node>,
    table: Table<Target>,
    /// Keys that may still be repeated.
    budget: usize,
}

impl Builder<'_> {
    /// A tree of `members`, indices of entries; `used` has a bit for each attribute that was split by above.
    fn target(&mut self, members: Vec<usize>, used: u64, depth: u32) -> Option<Target> {
        let mut places: Vec<u32> = self.of(&members).map(|(_, entry)| entry.place).collect();
        order::sort(&mut places);
        places.dedup();
        let first = *places.first()?;
        if places.len() == 1 {
            return Some(Target::rule(first));
        }
        let number = u32::try_from(self.nodes.len()).ok()?;
        self.nodes.push(Node {
            first,
            below: Below::Rules(Box::default()),
        });
        let few = places.len() <= FEW_RULES || depth >= MAX_DEPTH;
        let below = match self.best_attribute(&members, used).filter(|_| !few) {
            Some(attribute) => self.split(number, attribute, &members, used, depth),
            None => Below::Rules(places.into()),
        };
        let node = usize::try_from(number)
            .ok()
            .and_then(|number| self.nodes.get_mut(number));
        if let Some(node) = node {
            node.below = below;
        }
        Some(Target::to_node(number))
    }

    fn split(
        &mut self,
        number: u32,
        attribute: usize,
        members: &[usize],
        used: u64,
        depth: u32,
    ) -> Below {
        let used = used | bit(attribute);
        let depth = depth.saturating_add(1);
        let mut rest = Vec::new();
        let mut keyed = Vec::new();
        for (member, entry) in self.of(members) {
            match of_attribute(&entry.keys, attribute) {
                Some(keys) => keyed.extend(keys.iter().map(|key| (*key, member))),
                None => rest.push(member),
            }
        }
        self.budget = self.budget.saturating_sub(keyed.len());
        order::sort(&mut keyed);
        let mut forms: Vec<Form> = keyed.iter().map(|(key, _)| key.form).collect();
        forms.dedup();
        for group in keyed.chunk_by(|(a, _), (b, _)| a == b) {
            let Some((key, _)) = group.first() else {
                continue;
            };
            let group: Vec<usize> = group.iter().map(|(_, member)| *member).collect();
            let child = self.target(group.clone(), used, depth);
            // Another key is where this one belongs: these rules are looked at in any case.
            if !child.is_some_and(|child| self.table.insert(number, *key, child)) {
                rest.extend(group);
            }
        }
        Below::Split {
            attribute,
            forms: forms.into(),
            rest: self.target(rest, used, depth),
        }
    }

    /// The attribute that leaves the fewest rules to look at: those that it tells apart, less those that share a
    /// key. The first of those that are nearly as good: who asks is worth more than what for, should nothing match
    /// and somebody want to know which rule came closest.
    fn best_attribute(&self, members: &[usize], used: u64) -> Option<usize> {
        let mut keyed = [0_usize; MAX_ATTRIBUTES];
        let mut keys: Vec<(usize, Key)> = Vec::new();
        for (_, entry) in self.of(members) {
            let unused = entry
                .keys
                .iter()
                .filter(|(attribute, _)| used & bit(*attribute) == 0);
            for (attribute, of) in unused {
                if let Some(count) = keyed.get_mut(*attribute) {
                    *count = count.saturating_add(1);
                }
                keys.extend(of.iter().map(|key| (*attribute, *key)));
            }
        }
        order::sort(&mut keys);
        let of_attributes = keys.chunk_by(|(a, _), (b, _)| a == b);
        let gains: Vec<(usize, usize)> = of_attributes
            .filter(|keys| keys.len() <= self.budget)
            .filter_map(|keys| {
                let (attribute, _) = *keys.first()?;
                let gain = keyed.get(attribute)?.saturating_sub(together(keys)?);
                (gain > 1).then_some((attribute, gain))
            })
            .collect();
        let most = gains.iter().map(|(_, gain)| *gain).max()?;
        let enough = most.saturating_sub(most / 8);
        gains
            .iter()
            .find(|(_, gain)| *gain >= enough)
            .map(|(attribute, _)| *attribute)
    }

    fn of<'m>(&'m self, members: &'m [usize]) -> impl Iterator<Item = (usize, &'m Entry)> {
        members
            .iter()
            .filter_map(|member| Some((*member, self.entries.get(*member)?)))
    }
}

/// The number of rules under the key of an average rule; equal keys are side by side.
fn together(keys: &[(usize, Key)]) -> Option<usize> {
    let same = keys.chunk_by(|a, b| a == b).map(<[_]>::len);
    let squares = same
        .map(|count| count.saturating_mul(count))
        .fold(0, usize::saturating_add);
    squares.checked_div(keys.len())
}

fn bit(attribute: usize) -> u64 {
    u32::try_from(attribute)
        .ok()
        .and_then(|shift| 1_u64.checked_shl(shift))
        .unwrap_or(0)
}
