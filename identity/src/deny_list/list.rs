//! A verified list, ready for look-ups.

use serde::{Deserialize, Serialize};

use crate::UnixTime;
use crate::deny_list::error::DenyListError;
use crate::deny_list::payload::{Payload, PayloadEntry, SCHEMA_VERSION};
use crate::deny_list::{MAX_ENTRIES, MAX_LIFE_SECONDS};
use crate::x509::{Sha256Digest, X509Svid};

/// A deny list whose signature, schema and numbers were checked. Made by
/// [`verify`](crate::deny_list::verify), or by the signer itself from its own [`Payload`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DenyList {
    epoch: u64,
    sequence: u64,
    issued: UnixTime,
    expires: UnixTime,
    /// Sorted by digest: 48 bytes an entry, and at the limit a look-up is 17 comparisons.
    entries: Vec<PayloadEntry>,
}

/// Why, and since when, a certificate is denied.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct DenyEntry {
    /// Revoked or suspended.
    pub state: State,
    /// Since when.
    pub since: UnixTime,
}

/// How a certificate is denied.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// For good.
    Revoked,
    /// Until it is resumed (RFC 5280 §5.3.1 `certificateHold`).
    Suspended,
}

impl State {
    /// The state's name in lower case, as in the payload.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Suspended => "suspended",
        }
    }
}

impl DenyList {
    /// Checks the numbers of a payload and makes it searchable. Neither signature nor time of day
    /// are checked: that is [`verify`](crate::deny_list::verify)'s.
    ///
    /// # Errors
    /// [`DenyListError::UnknownSchema`], [`DenyListError::BadLife`],
    /// [`DenyListError::TooManyEntries`], [`DenyListError::DuplicateEntry`].
    pub fn from_payload(payload: Payload) -> Result<Self, DenyListError> {
        let Payload {
            schema_version,
            epoch,
            sequence,
            issued,
            expires,
            mut entries,
        } = payload;
        if schema_version != SCHEMA_VERSION {
            return Err(DenyListError::UnknownSchema {
                found: schema_version,
            });
        }
        let seconds = expires.secs_since(issued);
        if !(1..=MAX_LIFE_SECONDS).contains(&seconds) {
            return Err(DenyListError::BadLife { seconds });
        }
        if entries.len() > MAX_ENTRIES {
            return Err(DenyListError::TooManyEntries);
        }
        entries.sort_unstable_by_key(|entry| entry.sha256);
        let twice = entries
            .iter()
            .zip(entries.iter().skip(1))
            .find_map(|(one, next)| (one.sha256 == next.sha256).then_some(one.sha256));
        if let Some(sha256) = twice {
            return Err(DenyListError::DuplicateEntry { sha256 });
        }
        entries.shrink_to_fit();
        Ok(Self {
            epoch,
            sequence,
            issued,
            expires,
            entries,
        })
    }

    /// What the list says of the certificate with this SHA-256.
    ///
    /// Where the certificate itself is at hand, [`state_of`](Self::state_of) is right: an ECDSA
    /// certificate has a second SHA-256.
    #[must_use]
    pub fn state(&self, sha256: &Sha256Digest) -> Option<DenyEntry> {
        let at = self
            .entries
            .binary_search_by(|entry| entry.sha256.cmp(sha256))
            .ok()?;
        self.entries.get(at).map(|entry| DenyEntry {
            state: entry.state,
            since: entry.since,
        })
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
        now >= self.expires
    }

    /// The epoch.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The sequence within the epoch.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// When it was signed.
    #[must_use]
    pub const fn issued(&self) -> UnixTime {
        self.issued
    }

    /// When it is stale.
    #[must_use]
    pub const fn expires(&self) -> UnixTime {
        self.expires
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

    /// The certificates, sorted by digest.
    #[must_use]
    pub fn entries(&self) -> &[PayloadEntry] {
        &self.entries
    }
}
