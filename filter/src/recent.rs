//! What was found out lately, by a key, with a bound.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};

/// A map of at most `max` entries that forgets what was not used for longest, half of it at a time.
///
/// Two generations: what is used moves into the young one; when that is half of the limit, the old one is
/// dropped and the young one becomes old. Finding and keeping cost a look-up or two and never a search.
#[derive(Debug)]
pub struct Recent<K, V, S = std::collections::hash_map::RandomState> {
    half: usize,
    young: HashMap<K, V, S>,
    old: HashMap<K, V, S>,
}

impl<K: Eq + Hash, V: Clone, S: BuildHasher + Default> Recent<K, V, S> {
    /// Room for `max` entries, an even number; with 0 or 1 nothing is kept.
    #[must_use]
    pub fn with_limit(max: usize) -> Self {
        Self {
            half: max / 2,
            young: HashMap::default(),
            old: HashMap::default(),
        }
    }

    /// What is kept for a key, which thereby has been used.
    pub fn find<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = self.old.remove_entry(key)?;
        self.keep(key, value.clone());
        Some(value)
    }

    /// Keeps a value, in place of the one kept for that key.
    pub fn keep(&mut self, key: K, value: V) {
        if self.half == 0 {
            return;
        }
        self.old.remove(&key);
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    /// How many are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.young.len().saturating_add(self.old.len())
    }

    /// True where none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.young.is_empty() && self.old.is_empty()
    }
}

/// Hashes numbers the proxy hands out one after another: nobody else chooses them.
#[derive(Clone, Copy, Debug, Default)]
pub struct NumberHasher(u64);

impl std::hash::Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        // Fibonacci hashing: consecutive numbers differ in the upper bits, too.
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        self.0 = (self.0 ^ number).wrapping_mul(GOLDEN).rotate_left(29);
    }
}

/// Makes [`NumberHasher`]s.
pub type BuildNumberHasher = std::hash::BuildHasherDefault<NumberHasher>;

#[cfg(test)]
mod tests {
    use super::*;

    type Numbers = Recent<u64, u64, BuildNumberHasher>;

    #[test]
    fn forgets_what_was_not_used() {
        let mut recent = Numbers::with_limit(4);
        for key in 1..=4 {
            recent.keep(key, key);
        }
        assert_eq!(recent.find(&1), Some(1));
        recent.keep(5, 5);
        recent.keep(6, 6);
        assert_eq!(recent.find(&1), Some(1), "used lately");
        assert_eq!(recent.find(&2), None);
    }

    #[test]
    fn never_grows_beyond_its_limit_and_finds_what_is_used_all_the_time() {
        let mut recent = Numbers::with_limit(8);
        recent.keep(0, 7);
        for key in 1..1000 {
            recent.keep(key, key);
            assert_eq!(recent.find(&key), Some(key));
            assert_eq!(recent.find(&0), Some(7), "{key}");
            assert!(recent.len() <= 8, "{}", recent.len());
        }
    }

    #[test]
    fn a_key_has_one_value() {
        let mut recent = Numbers::with_limit(4);
        for key in [1, 2, 3] {
            recent.keep(key, 0);
        }
        // Key 1 is in the old generation by now.
        recent.keep(1, 9);
        assert_eq!(recent.find(&1), Some(9));
        recent.keep(1, 10);
        assert_eq!((recent.find(&1), recent.len()), (Some(10), 3));
    }

    #[test]
    fn with_no_room_nothing_is_kept() {
        let mut recent = Numbers::with_limit(1);
        recent.keep(1, 1);
        assert!(recent.is_empty());
    }

    #[test]
    fn numbers_in_a_row_spread() {
        use std::collections::BTreeSet;
        use std::hash::BuildHasher;
        let hasher = BuildNumberHasher::default();
        let low: BTreeSet<_> = (0..1024_u64).map(|n| hasher.hash_one(n) & 1023).collect();
        let high: BTreeSet<_> = (0..128_u64).map(|n| hasher.hash_one(n) >> 57).collect();
        assert!(
            low.len() > 500 && high.len() > 60,
            "{} {}",
            low.len(),
            high.len()
        );
    }
}
