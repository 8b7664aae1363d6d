//! Finding the rules that could match without testing all of them.
//!
//! A tree over the rules. A node splits its rules by the keys they need of one attribute (a principal, the
//! beginning of a path, an address range): a rule is found under each of its keys, one that needs none of this
//! attribute under the node's rest. Below, the next attribute splits, so that neither many policies of one caller
//! nor many callers of one path, nor every pair of both, are tested one by one. All nodes share one hash table.
//!
//! A key is only ever a reason to test a rule, never to take it: a wrong candidate costs time and nothing else.

mod build;

use crate::rule::{Rule, View};

use super::{
    attribute::Attribute,
    hash::{Form, Table},
};

/// Rules in the order of their ids, and how to find them.
#[derive(Debug)]
pub(super) struct IndexedRules {
    rules: Box<[Rule]>,
    attributes: Box<[Attribute]>,
    nodes: Box<[Node]>,
    table: Table<Target>,
    root: Option<Target>,
}

/// A rule's place, or a node's number with the highest bit set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Target(u32);

const NODE: u32 = 1 << 31;

#[derive(Debug)]
struct Node {
    /// The lowest place below it.
    first: u32,
    below: Below,
}

#[derive(Debug)]
enum Below {
    /// Places, ascending, to be tested one by one.
    Rules(Box<[u32]>),
    Split {
        /// Index of an attribute.
        attribute: usize,
        /// The forms its keys have, ascending.
        forms: Box<[Form]>,
        /// Rules that need none of the keys.
        rest: Option<Target>,
    },
}

impl IndexedRules {
    pub(super) fn new(rules: Vec<Rule>) -> Self {
        build::build(rules, u64::MAX)
    }

    /// With hashes of few bits.
    #[cfg(test)]
    pub(super) fn with_mask(rules: Vec<Rule>, mask: u64) -> Self {
        build::build(rules, mask)
    }

    pub(super) fn all(&self) -> &[Rule] {
        &self.rules
    }

    /// The first matching rule in the order of ids.
    pub(super) fn first_match(&self, view: &View<'_>) -> Option<&Rule> {
        let mut search = Search {
            index: self,
            view,
            best: u32::MAX,
            tested: 0,
        };
        search.visit(self.root?);
        self.rules.get(usize::try_from(search.best).ok()?)
    }

    /// How many rules [`Self::first_match`] tests.
    #[cfg(test)]
    pub(super) fn tested(&self, view: &View<'_>) -> usize {
        let mut search = Search {
            index: self,
            view,
            best: u32::MAX,
            tested: 0,
        };
        if let Some(root) = self.root {
            search.visit(root);
        }
        search.tested
    }
}

struct Search<'s, 'r> {
    index: &'s IndexedRules,
    view: &'s View<'r>,
    /// The lowest place found to match.
    best: u32,
    tested: usize,
}

impl Search<'_, '_> {
    /// Children have higher numbers than their parents, so this ends.
    fn visit(&mut self, target: Target) {
        let index = self.index;
        let Some(number) = target.node() else {
            self.test(target.0);
            return;
        };
        let node = usize::try_from(number)
            .ok()
            .and_then(|number| index.nodes.get(number));
        let Some(node) = node.filter(|node| node.first < self.best) else {
            return;
        };
        match &node.below {
            Below::Rules(places) => {
                for place in places {
                    if *place >= self.best {
                        break;
                    }
                    self.test(*place);
                }
            }
            Below::Split {
                attribute,
                forms,
                rest,
            } => {
                let view = self.view;
                if let Some(attribute) = index.attributes.get(*attribute) {
                    attribute.keys_in(view, forms, &mut |key| {
                        if let Some(child) = index.table.get(number, key) {
                            self.visit(child);
                        }
                    });
                }
                if let Some(rest) = rest {
                    self.visit(*rest);
                }
            }
        }
    }

    fn test(&mut self, place: u32) {
        if place >= self.best {
            return;
        }
        self.tested = self.tested.saturating_add(1);
        let rule = usize::try_from(place)
            .ok()
            .and_then(|place| self.index.rules.get(place));
        if rule.is_some_and(|rule| rule.matches(self.view)) {
            self.best = place;
        }
    }
}

impl Target {
    fn rule(place: u32) -> Self {
        Self(place & !NODE)
    }

    fn to_node(number: u32) -> Self {
        Self(number | NODE)
    }

    fn node(self) -> Option<u32> {
        (self.0 & NODE != 0).then_some(self.0 & !NODE)
    }
}
