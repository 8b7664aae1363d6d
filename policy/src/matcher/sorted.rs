//! Byte strings in order, packed.

use std::cmp::Ordering;

use crate::order;

/// Byte strings in ascending order, in one allocation (two if there are several).
#[derive(Debug, Default)]
pub(crate) struct SortedValues {
    /// All of them, one after the other.
    bytes: Box<[u8]>,
    /// Where each but the last one ends in `bytes`.
    ends: Box<[usize]>,
}

impl SortedValues {
    pub(crate) fn new(mut values: Vec<Vec<u8>>) -> Self {
        order::sort(&mut values);
        values.dedup();
        let mut ends: Vec<usize> = values
            .iter()
            .scan(0_usize, |end, value| {
                *end = end.saturating_add(value.len());
                Some(*end)
            })
            .collect();
        // The empty string alone would look like nothing at all: it is held twice.
        if values.iter().any(|value| !value.is_empty()) {
            ends.pop();
        }
        Self {
            bytes: values.concat().into(),
            ends: ends.into(),
        }
    }

    /// The same for values that stand for everything that begins with them: those that another one covers
    /// are left out, so that at most one of them is the beginning of any text.
    pub(crate) fn prefix_free(mut values: Vec<Vec<u8>>) -> Self {
        order::sort(&mut values);
        values.dedup_by(|later, kept| later.starts_with(kept));
        Self::new(values)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.ends.is_empty()
    }

    fn len(&self) -> usize {
        if self.is_empty() {
            0
        } else {
            self.ends.len().saturating_add(1)
        }
    }

    fn get(&self, index: usize) -> Option<&[u8]> {
        let end = |index: usize| self.ends.get(index).copied();
        let start = index.checked_sub(1).map_or(Some(0), end)?;
        self.bytes
            .get(start..end(index).unwrap_or(self.bytes.len()))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    pub(crate) fn contains(&self, value: &[u8]) -> bool {
        if self.ends.is_empty() {
            // One value, or none: nothing at all is not even the empty text.
            return !self.bytes.is_empty() && same(&self.bytes, value);
        }
        self.last_at_most(|held| held.cmp(value))
            .is_some_and(|held| same(held, value))
    }

    /// Whether `value` begins with one of them; they must be [`Self::prefix_free`].
    ///
    /// Whatever sorts between a beginning of `value` and `value` begins with it too. So of all that sort
    /// before `value` only the last one can be a beginning, or one of those left out would have to be.
    pub(crate) fn any_begins(&self, value: &[u8]) -> bool {
        self.last_at_most(|held| held.cmp(value))
            .is_some_and(|held| value.starts_with(held))
    }

    /// The same for values that were turned around, and the end of `value`.
    pub(crate) fn any_ends(&self, value: &[u8]) -> bool {
        let ends = |held: &[u8]| {
            held.len() <= value.len() && held.iter().eq(value.iter().rev().take(held.len()))
        };
        if self.len() == 1 {
            return self.get(0).is_some_and(ends);
        }
        self.last_at_most(|held| held.iter().cmp(value.iter().rev()))
            .is_some_and(ends)
    }

    /// The last one that is not greater, by a comparison of it with what is sought.
    fn last_at_most(&self, compare: impl Fn(&[u8]) -> Ordering) -> Option<&[u8]> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if compare(self.get(middle)?).is_gt() {
                high = middle;
            } else {
                low = middle.saturating_add(1);
            }
        }
        self.get(low.checked_sub(1)?)
    }
}

/// Whether two texts are the same, eight bytes at a time: WebAssembly has no instruction for it, and its
/// `memcmp` goes byte by byte.
fn same(a: &[u8], b: &[u8]) -> bool {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    a.len() == b.len()
        && a.iter()
            .zip(b)
            .all(|(a, b)| u64::from_le_bytes(*a) == u64::from_le_bytes(*b))
        && a_rest == b_rest
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn values(of: &[&str]) -> Vec<Vec<u8>> {
        of.iter().map(|value| value.as_bytes().to_vec()).collect()
    }

    #[test]
    fn holds_none_one_and_several() {
        let none = SortedValues::new(Vec::new());
        assert!(none.is_empty() && !none.contains(b"") && !none.any_begins(b"a"));
        let empty = SortedValues::new(values(&[""]));
        assert!(!empty.is_empty() && empty.contains(b"") && !empty.contains(b"a"));
        let with_empty = SortedValues::new(values(&["a", ""]));
        assert!(
            with_empty.contains(b"") && with_empty.contains(b"a") && !with_empty.contains(b"b")
        );
        let one = SortedValues::new(values(&["a"]));
        assert_eq!(one.iter().collect::<Vec<_>>(), [b"a"]);
        let many = SortedValues::new(values(&["b", "a", "ab", "b"]));
        assert_eq!(many.iter().collect::<Vec<_>>(), [&b"a"[..], b"ab", b"b"]);
        assert!(many.contains(b"ab") && !many.contains(b"abc") && !many.contains(b""));
    }

    #[test]
    fn a_covered_beginning_is_left_out() {
        let prefixes = SortedValues::prefix_free(values(&["/a/b", "/a", "/a-", "/b"]));
        assert_eq!(prefixes.iter().collect::<Vec<_>>(), [b"/a", b"/b"]);
    }

    proptest! {
        #[test]
        fn finds_what_a_linear_search_finds(
            held in vec(vec(97_u8..100, 0..4), 0..12),
            value in vec(97_u8..100, 0..6),
        ) {
            let exact = SortedValues::new(held.clone());
            prop_assert_eq!(exact.contains(&value), held.contains(&value));
            let begins = held.iter().any(|held| value.starts_with(held));
            prop_assert_eq!(SortedValues::prefix_free(held.clone()).any_begins(&value), begins);
            let ends = held.iter().any(|held| value.ends_with(held));
            let turned = held.iter().map(|held| held.iter().rev().copied().collect()).collect();
            prop_assert_eq!(SortedValues::prefix_free(turned).any_ends(&value), ends);
        }
    }
}
