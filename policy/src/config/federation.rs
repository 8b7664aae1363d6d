//! Who of foreign trust domains may come in.

use std::collections::BTreeMap;

use identity::{SpiffeId, principal::principal};

use crate::matcher::{Presence, TextSet};

/// Allow lists of principals by foreign trust domain.
#[derive(Debug)]
pub struct Federation(BTreeMap<Box<str>, TextSet>);

impl Federation {
    pub(super) fn new(domains: BTreeMap<&str, &[String]>) -> Self {
        let set = |patterns: &[String]| TextSet::new(patterns, Presence::NonEmpty);
        // One by one: collecting brings a sort of its own into the filter.
        let mut sets = BTreeMap::new();
        for (name, patterns) in domains {
            sets.insert(name.into(), set(patterns));
        }
        Self(sets)
    }

    /// Whether `peer` is on the allow list of its trust domain; a trust domain without a list has nobody on it.
    #[must_use]
    pub fn permits(&self, peer: &SpiffeId) -> bool {
        let list = self.0.get(peer.trust_domain_name());
        list.is_some_and(|list| list.matches(principal(peer).as_bytes()))
    }
}

/// Whether a principal of trust domain `name` could match `pattern`.
pub(super) fn fits(name: &str, pattern: &str) -> bool {
    let begins = |text: &str| {
        let path = text.strip_prefix(name);
        path.is_some_and(|path| path.len() > 1 && path.starts_with('/'))
    };
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(_), _) => true,
        // A prefix that ends within the trust domain's name, or goes on into the path.
        (None, Some(prefix)) => {
            name.starts_with(prefix)
                || prefix
                    .strip_prefix(name)
                    .is_some_and(|path| path.starts_with('/'))
        }
        (None, None) => begins(pattern),
    }
}
