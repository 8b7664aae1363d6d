//! How a deny list travels: a signed head, and the entries or what changed in them.

use std::sync::Arc;

use crate::deny_list::changes::Changes;
use crate::deny_list::entries::Entries;
use crate::deny_list::entry::RECORD_BYTES;
use crate::deny_list::error::{DenyListError, EntriesError};
use crate::deny_list::list::DenyList;
use crate::deny_list::wire::{Check, verify};
use crate::deny_list::{MAX_HEAD_BYTES, MAX_UPDATE_BYTES};

/// A list on its way, cut into its parts but not checked.
///
/// | bytes | |
/// |---|---|
/// | 4 | `CSL2` |
/// | 1 | `F`: all entries follow; `D`: changes follow |
/// | 3 | 0 |
/// | 4 | length of the head, big-endian |
/// | 16 | only with `D`: epoch and sequence of the list the changes are made to, big-endian |
/// | … | the head, a JWS in compact serialization |
/// | … | records of 40 bytes: the entries, or the changes |
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Update {
    head: Vec<u8>,
    base: Option<(u64, u64)>,
    records: Vec<u8>,
}

const MAGIC: &[u8; 4] = b"CSL2";
const FULL: &[u8; 4] = b"F\0\0\0";
const DELTA: &[u8; 4] = b"D\0\0\0";

impl Update {
    /// Cuts an update into its parts. The records stay where they are.
    ///
    /// # Errors
    /// [`DenyListError::TooLarge`], [`DenyListError::NotUpdate`], [`DenyListError::HeadTooLarge`].
    pub fn parse(mut bytes: Vec<u8>) -> Result<Self, DenyListError> {
        if bytes.len() > MAX_UPDATE_BYTES {
            return Err(DenyListError::TooLarge { len: bytes.len() });
        }
        let (head, base, start) = Self::cut(&bytes).ok_or(DenyListError::NotUpdate)?;
        if head.len() > MAX_HEAD_BYTES {
            return Err(DenyListError::HeadTooLarge { len: head.len() });
        }
        let head = head.to_vec();
        bytes.drain(..start);
        Ok(Self {
            head,
            base,
            records: bytes,
        })
    }

    /// The head, the base, and where the records start.
    #[expect(clippy::type_complexity, reason = "named at its only use")]
    fn cut(bytes: &[u8]) -> Option<(&[u8], Option<(u64, u64)>, usize)> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (kind, rest) = rest.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (base, rest) = match kind {
            FULL => (None, rest),
            DELTA => {
                let (epoch, rest) = rest.split_first_chunk::<8>()?;
                let (sequence, rest) = rest.split_first_chunk::<8>()?;
                let base = (u64::from_be_bytes(*epoch), u64::from_be_bytes(*sequence));
                (Some(base), rest)
            }
            _ => return None,
        };
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (head, records) = rest.split_at_checked(length)?;
        Some((head, base, bytes.len().checked_sub(records.len())?))
    }

    /// The update that brings all entries, as it travels.
    #[must_use]
    pub fn full(head: &[u8], entries: &Entries) -> Vec<u8> {
        write(head, None, entries.as_bytes())
    }

    /// The update that brings what changed since the list of epoch and sequence `base`, as it
    /// travels.
    #[must_use]
    pub fn delta(head: &[u8], base: (u64, u64), changes: &Changes) -> Vec<u8> {
        write(head, Some(base), changes.as_bytes())
    }

    /// The signed head: a JWS in compact serialization.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Epoch and sequence of the list that the changes are made to; `None` where all entries come.
    #[must_use]
    pub const fn base(&self) -> Option<(u64, u64)> {
        self.base
    }

    /// Checks the head as [`verify`] does, and then that the entries are those it was signed for.
    ///
    /// # Errors
    /// See [`DenyListError`]; [`DenyListError::OtherBase`] where the changes are made to another
    /// list than the one in hand.
    pub fn verify(self, check: &Check<'_>) -> Result<DenyList, DenyListError> {
        let head = verify(&self.head, check)?;
        let held = check.held;
        if let Some(base) = self.base {
            let held = held.ok_or(DenyListError::OtherBase { base })?;
            if held.position() != base {
                return Err(DenyListError::OtherBase { base });
            }
            let changes = Changes::from_records(self.records)?;
            if changes.is_empty() {
                return DenyList::new(head, Arc::clone(held.entries()));
            }
            return DenyList::new(head, Arc::new(held.entries().with(&changes)?));
        }
        let found = self.records.len() / RECORD_BYTES;
        if u32::try_from(found) != Ok(head.count) {
            let expected = head.count;
            return Err(EntriesError::OtherCount { found, expected }.into());
        }
        match held.filter(|held| held.entries().digest() == head.entries_sha256) {
            Some(held) => DenyList::new(head, Arc::clone(held.entries())),
            None => DenyList::new(head, Arc::new(Entries::from_records(self.records)?)),
        }
    }
}

fn write(head: &[u8], base: Option<(u64, u64)>, records: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(
        head.len()
            .saturating_add(records.len())
            .saturating_add(MAX_PREFIX_BYTES),
    );
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(if base.is_some() { DELTA } else { FULL });
    // No head is longer than its limit, which is far below this one.
    let length = u32::try_from(head.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_be_bytes());
    for number in base
        .into_iter()
        .flat_map(|(epoch, sequence)| [epoch, sequence])
    {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    bytes.extend_from_slice(head);
    bytes.extend_from_slice(records);
    bytes
}

/// Bytes before the head, with a base.
pub(crate) const MAX_PREFIX_BYTES: usize = 28;
