//! The certificates of a deny list: sorted records with an index.

use sha2::{Digest as _, Sha256};

use crate::deny_list::MAX_ENTRIES;
use crate::deny_list::changes::Changes;
use crate::deny_list::entry::{DenyEntry, Entry, RECORD_BYTES, Record, Said, digest, said};
use crate::deny_list::error::EntriesError;
use crate::x509::Sha256Digest;

/// The certificates of a deny list, checked and ready for look-ups.
///
/// They are held as they stand on the wire, 40 bytes each. Their digests are spread evenly, so an
/// index over the leading bits leads to about four records, whatever their number: a look-up takes
/// the same time on an empty list and on a full one. A full list takes 4.2 MB.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entries {
    records: Vec<u8>,
    index: Index,
    /// For each value of a digest's first byte, the SHA-256 of its records.
    groups: Vec<Sha256Digest>,
    digest: Sha256Digest,
}

impl Default for Entries {
    fn default() -> Self {
        Self::indexed(Vec::new(), None)
    }
}

impl Entries {
    /// The entries, in any order.
    ///
    /// # Errors
    /// [`EntriesError::TooMany`], [`EntriesError::Twice`], [`EntriesError::BadTime`].
    pub fn new(mut entries: Vec<Entry>) -> Result<Self, EntriesError> {
        check_count(entries.len())?;
        entries.sort_unstable_by_key(|entry| entry.sha256);
        let mut records = Vec::with_capacity(entries.len().saturating_mul(RECORD_BYTES));
        for entry in entries {
            records.extend_from_slice(&entry.to_record()?);
        }
        Self::from_records(records)
    }

    /// Entries as they stand on the wire.
    ///
    /// # Errors
    /// [`EntriesError`]: too many, not whole records, not in ascending order of their digests, or
    /// with a state that is none.
    pub fn from_records(records: Vec<u8>) -> Result<Self, EntriesError> {
        let all = whole(&records)?;
        check_count(all.len())?;
        check_order(all)?;
        if let Some(at) = all
            .iter()
            .position(|record| !matches!(said(record), Some(Said::Denied(_))))
        {
            return Err(EntriesError::BadState { at });
        }
        Ok(Self::indexed(records, None))
    }

    /// These entries with `changes` made. What a change takes away may be absent already: whoever
    /// applies changes compares the [`digest`](Self::digest) of the outcome.
    ///
    /// # Errors
    /// [`EntriesError::TooMany`].
    pub fn with(&self, changes: &Changes) -> Result<Self, EntriesError> {
        let added = changes.records().len();
        let mut records = Vec::with_capacity(
            self.records
                .len()
                .saturating_add(added.saturating_mul(RECORD_BYTES)),
        );
        let mut rest = self.all();
        for change in changes.records() {
            let wanted = digest(change);
            let at = rest.partition_point(|record| digest(record) < wanted);
            let (before, from) = rest.split_at_checked(at).unwrap_or((rest, &[]));
            records.extend_from_slice(before.as_flattened());
            rest = match from.split_first() {
                Some((first, after)) if digest(first) == wanted => after,
                _ => from,
            };
            if matches!(said(change), Some(Said::Denied(_))) {
                records.extend_from_slice(change);
            }
        }
        records.extend_from_slice(rest.as_flattened());
        check_count(records.len() / RECORD_BYTES)?;
        records.shrink_to_fit();
        Ok(Self::indexed(records, Some((self, changes))))
    }

    /// Indexes sorted records. The digests of groups that `changes` leave alone are `before`'s.
    fn indexed(records: Vec<u8>, before: Option<(&Self, &Changes)>) -> Self {
        let (all, _none) = records.as_chunks::<RECORD_BYTES>();
        let index = Index::over(all);
        let mut touched = [before.is_none(); GROUPS];
        for change in before
            .map(|(_, changes)| changes.records())
            .unwrap_or_default()
        {
            if let Some(group) = touched.get_mut(usize::from(first_byte(change))) {
                *group = true;
            }
        }
        let known = before
            .map(|(before, _)| before.groups.as_slice())
            .unwrap_or_default();
        let mut groups = Vec::with_capacity(GROUPS);
        let mut rest = all;
        for (number, touched) in (0..=u8::MAX).zip(touched) {
            let end = rest.partition_point(|record| first_byte(record) <= number);
            let (group, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            rest = after;
            let digest = match known.get(usize::from(number)) {
                Some(known) if !touched => *known,
                _ => Sha256Digest::of(group.as_flattened()),
            };
            groups.push(digest);
        }
        let mut whole = Sha256::new();
        for group in &groups {
            whole.update(group.as_bytes());
        }
        Self {
            digest: Sha256Digest::from_bytes(whole.finalize().into()),
            records,
            index,
            groups,
        }
    }

    /// How the certificate with this SHA-256 is denied.
    #[must_use]
    pub fn get(&self, sha256: &Sha256Digest) -> Option<DenyEntry> {
        let wanted = sha256.as_bytes();
        let near = self.all().get(self.index.range(wanted))?;
        let at = near
            .binary_search_by(|record| digest(record).cmp(wanted))
            .ok()?;
        match said(near.get(at)?) {
            Some(Said::Denied(entry)) => Some(entry),
            _ => None,
        }
    }

    /// What stands for the entries in a signed [`Head`](crate::deny_list::Head): the SHA-256 of 256
    /// digests, which are the SHA-256 of the records whose first byte is 0, 1 … 255. So a change
    /// costs the hashing of its group, not of the whole list.
    #[must_use]
    pub const fn digest(&self) -> Sha256Digest {
        self.digest
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The records as they stand on the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.records
    }

    /// The entries, ascending by their digests.
    pub fn iter(&self) -> impl Iterator<Item = Entry> {
        self.all().iter().filter_map(|record| match said(record)? {
            Said::Denied(DenyEntry { state, since }) => Some(Entry {
                sha256: Sha256Digest::from_bytes(*digest(record)),
                state,
                since,
            }),
            Said::Removed => None,
        })
    }

    pub(crate) fn all(&self) -> &[Record] {
        self.records.as_chunks().0
    }
}

/// Reads whole records.
pub(crate) fn whole(bytes: &[u8]) -> Result<&[Record], EntriesError> {
    let (all, rest) = bytes.as_chunks();
    if rest.is_empty() {
        return Ok(all);
    }
    Err(EntriesError::NotRecords { len: bytes.len() })
}

/// Checks that digests ascend, so that none is there twice.
pub(crate) fn check_order(records: &[Record]) -> Result<(), EntriesError> {
    let mut pairs = records.iter().zip(records.iter().skip(1));
    let Some(at) = pairs.position(|(one, next)| digest(one) >= digest(next)) else {
        return Ok(());
    };
    let twice = records.get(at).zip(records.get(at.saturating_add(1)));
    match twice {
        Some((one, next)) if digest(one) == digest(next) => Err(EntriesError::Twice {
            sha256: Sha256Digest::from_bytes(*digest(one)),
        }),
        _ => Err(EntriesError::NotSorted { at }),
    }
}

fn check_count(count: usize) -> Result<(), EntriesError> {
    if count > MAX_ENTRIES {
        return Err(EntriesError::TooMany { count });
    }
    Ok(())
}

fn first_byte(record: &Record) -> u8 {
    let [first, ..] = record;
    *first
}

/// Groups of records with a digest of their own: by their first byte.
const GROUPS: usize = 256;

/// Where the records begin whose digests have the same leading bits.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Index {
    /// How many bits lead: 0 to 16.
    bits: u32,
    /// For each value of these bits, the number of records below it; one more at the end.
    starts: Vec<u32>,
}

impl Index {
    /// Such that a value has about four records.
    fn over(records: &[Record]) -> Self {
        let bits = records.len().checked_ilog2().unwrap_or(0).saturating_sub(2);
        let bits = bits.min(u16::BITS);
        let mut starts = Vec::with_capacity((1_usize << bits).saturating_add(1));
        let mut below = 0_u32;
        for record in records {
            let value = leading(digest(record), bits);
            while starts.len() <= value {
                starts.push(below);
            }
            below = below.saturating_add(1);
        }
        while starts.len() <= 1 << bits {
            starts.push(below);
        }
        Self { bits, starts }
    }

    fn range(&self, wanted: &[u8; 32]) -> std::ops::Range<usize> {
        let value = leading(wanted, self.bits);
        let start = |at: usize| {
            let start = self.starts.get(at).copied().unwrap_or_default();
            usize::try_from(start).unwrap_or_default()
        };
        start(value)..start(value.saturating_add(1))
    }
}

/// The first `bits` bits, at most 16.
fn leading(digest: &[u8; 32], bits: u32) -> usize {
    let [first, second, ..] = digest;
    let sixteen = u32::from(u16::from_be_bytes([*first, *second]));
    let value = sixteen >> u16::BITS.saturating_sub(bits);
    usize::try_from(value).unwrap_or_default()
}
