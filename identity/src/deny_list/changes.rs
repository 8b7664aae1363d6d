//! What differs between two states of a deny list.

use std::cmp::Ordering;

use crate::deny_list::MAX_ENTRIES;
use crate::deny_list::entries::{Entries, check_order, whole};
use crate::deny_list::entry::{RECORD_BYTES, Record, digest, removal, said};
use crate::deny_list::error::EntriesError;

/// What differs between two states of a deny list: sorted records, of which one with state 0 and
/// time 0 takes its certificate off the list.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Changes(Vec<u8>);

impl Changes {
    /// What makes `new` of `old`.
    #[must_use]
    pub fn between(old: &Entries, new: &Entries) -> Self {
        let mut changes = Vec::new();
        let (mut old, mut new) = (old.all().iter().peekable(), new.all().iter().peekable());
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(one), Some(other)) => digest(one).cmp(digest(other)),
            };
            let gone = if order.is_le() { old.next() } else { None };
            let come = if order.is_ge() { new.next() } else { None };
            match (gone, come) {
                (Some(gone), None) => changes.extend_from_slice(&removal(digest(gone))),
                (gone, Some(come)) if gone != Some(come) => changes.extend_from_slice(come),
                _ => {}
            }
        }
        Self(changes)
    }

    /// Changes as they stand on the wire.
    ///
    /// # Errors
    /// [`EntriesError`], as of [`Entries::from_records`].
    pub fn from_records(records: Vec<u8>) -> Result<Self, EntriesError> {
        let all = whole(&records)?;
        if all.len() > MAX_ENTRIES {
            return Err(EntriesError::TooMany { count: all.len() });
        }
        check_order(all)?;
        if let Some(at) = all.iter().position(|record| said(record).is_none()) {
            return Err(EntriesError::BadState { at });
        }
        Ok(Self(records))
    }

    /// These changes and then `later`'s, as one.
    #[must_use]
    pub fn then(&self, later: &Self) -> Self {
        let mut both = Vec::with_capacity(self.0.len().saturating_add(later.0.len()));
        let mut rest = self.records();
        for change in later.records() {
            let wanted = digest(change);
            let at = rest.partition_point(|record| digest(record) < wanted);
            let (before, from) = rest.split_at_checked(at).unwrap_or((rest, &[]));
            both.extend_from_slice(before.as_flattened());
            both.extend_from_slice(change);
            rest = match from.split_first() {
                Some((first, after)) if digest(first) == wanted => after,
                _ => from,
            };
        }
        both.extend_from_slice(rest.as_flattened());
        Self(both)
    }

    /// How many certificates are concerned.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len() / RECORD_BYTES
    }

    /// Whether nothing differs.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The records as they stand on the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn records(&self) -> &[Record] {
        self.0.as_chunks().0
    }
}
