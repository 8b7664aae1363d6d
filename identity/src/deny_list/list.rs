//! A list ready for look-ups.

use std::sync::Arc;

use crate::UnixTime;
use crate::deny_list::entries::Entries;
use crate::deny_list::entry::DenyEntry;
use crate::deny_list::error::{DenyListError, EntriesError};
use crate::deny_list::head::Head;
use crate::x509::{Sha256Digest, X509Svid};

/// A deny list: a head and the entries it stands for. Two lists that differ only in their heads
/// share their entries.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DenyList {
    head: Head,
    entries: Arc<Entries>,
}

impl DenyList {
    /// Puts a head and its entries together. Neither signature nor time of day are checked: that is
    /// [`verify`](crate::deny_list::verify)'s, from which a verifier has its head.
    ///
    /// # Errors
    /// [`DenyListError::UnknownSchema`], [`DenyListError::BadLife`], [`DenyListError::BadEntries`]
    /// where these are not the head's entries.
    pub fn new(head: Head, entries: Arc<Entries>) -> Result<Self, DenyListError> {
        head.check_numbers()?;
        let (found, expected) = (entries.len(), head.count);
        if u32::try_from(found) != Ok(expected) {
            return Err(EntriesError::OtherCount { found, expected }.into());
        }
        if entries.digest() != head.entries_sha256 {
            return Err(EntriesError::OtherDigest.into());
        }
        Ok(Self { head, entries })
    }

    /// What the list says of the certificate with this SHA-256.
    ///
    /// Where the certificate itself is at hand, [`state_of`](Self::state_of) is right: an ECDSA
    /// certificate has a second SHA-256.
    #[must_use]
    pub fn state(&self, sha256: &Sha256Digest) -> Option<DenyEntry> {
        self.entries.get(sha256)
    }

    /// What the list says of this certificate, in either form of its signature (see
    /// [`X509Svid::twin_sha256`]).
    #[must_use]
    pub fn state_of(&self, svid: &X509Svid) -> Option<DenyEntry> {
        self.state(&svid.sha256())
            .or_else(|| self.state(&svid.twin_sha256()?))
    }

    /// Whether the list may no longer be relied on: `now` is `expires` or later.
    #[must_use]
    pub fn is_stale(&self, now: UnixTime) -> bool {
        now >= self.head.expires
    }

    /// The signed part.
    #[must_use]
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// The certificates on it.
    #[must_use]
    pub const fn entries(&self) -> &Arc<Entries> {
        &self.entries
    }

    /// Epoch and sequence, in the order in which lists follow each other.
    #[must_use]
    pub const fn position(&self) -> (u64, u64) {
        self.head.position()
    }

    /// The epoch.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.head.epoch
    }

    /// The sequence within the epoch.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.head.sequence
    }

    /// When it was signed.
    #[must_use]
    pub const fn issued(&self) -> UnixTime {
        self.head.issued
    }

    /// When it is stale.
    #[must_use]
    pub const fn expires(&self) -> UnixTime {
        self.head.expires
    }

    /// How many certificates are on it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no certificate is on it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
