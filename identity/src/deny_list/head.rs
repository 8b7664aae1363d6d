//! The signed part of a deny list.

use serde::{Deserialize, Serialize};

use crate::UnixTime;
use crate::deny_list::entries::Entries;
use crate::deny_list::error::{Currency, DenyListError};
use crate::deny_list::{MAX_CLOCK_AHEAD_SECONDS, MAX_ENTRIES, MAX_LIFE_SECONDS};
use crate::signed::members::Members;
use crate::x509::Sha256Digest;

/// The version of the head's schema.
pub const SCHEMA_VERSION: u32 = 2;

/// The signed part of a deny list, as its JWS carries it in JSON. Unknown fields are errors.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Head {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Each start of an authority opens a new one; later ones are greater.
    pub epoch: u64,
    /// Counts the signings of an epoch.
    pub sequence: u64,
    /// When it was signed, in seconds since the epoch of Unix.
    pub issued: UnixTime,
    /// When it is stale, in seconds; at most
    /// [`MAX_LIFE_SECONDS`] after `issued`.
    pub expires: UnixTime,
    /// How many certificates are on the list; at most
    /// [`MAX_ENTRIES`].
    pub count: u32,
    /// [`Entries::digest`] of the entries.
    pub entries_sha256: Sha256Digest,
}

impl Head {
    /// The head of a list of `entries`, signed at `issued` and stale `life_seconds` later; `None`
    /// beyond the calendar.
    #[must_use]
    pub fn of(
        entries: &Entries,
        (epoch, sequence): (u64, u64),
        issued: UnixTime,
        life_seconds: i64,
    ) -> Option<Self> {
        Some(Self {
            schema_version: SCHEMA_VERSION,
            epoch,
            sequence,
            issued,
            expires: issued.plus_secs(life_seconds)?,
            count: u32::try_from(entries.len()).ok()?,
            entries_sha256: entries.digest(),
        })
    }

    /// Epoch and sequence, in the order in which lists follow each other.
    #[must_use]
    pub const fn position(&self) -> (u64, u64) {
        (self.epoch, self.sequence)
    }

    pub(crate) fn read(from: &mut Members) -> Option<Self> {
        Some(Self {
            schema_version: from.number("schemaVersion")?,
            epoch: from.number("epoch")?,
            sequence: from.number("sequence")?,
            issued: from.time("issued")?,
            expires: from.time("expires")?,
            count: from.number("count")?,
            entries_sha256: from.parsed("entriesSha256")?,
        })
    }

    /// The head as JSON, without blanks. As serde would write it, but this cannot fail.
    pub(crate) fn to_json(&self) -> String {
        format!(
            r#"{{"schemaVersion":{},"epoch":{},"sequence":{},"issued":{},"expires":{},"count":{},"entriesSha256":"{}"}}"#,
            self.schema_version,
            self.epoch,
            self.sequence,
            self.issued.as_secs(),
            self.expires.as_secs(),
            self.count,
            self.entries_sha256,
        )
    }

    /// Checks what does not depend on the time.
    pub(crate) fn check_numbers(&self) -> Result<(), DenyListError> {
        if self.schema_version != SCHEMA_VERSION {
            return Err(DenyListError::UnknownSchema {
                found: self.schema_version,
            });
        }
        let seconds = self.expires.secs_since(self.issued);
        if !(1..=MAX_LIFE_SECONDS).contains(&seconds) {
            return Err(DenyListError::BadLife { seconds });
        }
        let count = usize::try_from(self.count).unwrap_or(usize::MAX);
        if count > MAX_ENTRIES {
            return Err(crate::deny_list::EntriesError::TooMany { count }.into());
        }
        Ok(())
    }

    pub(crate) fn check_time(&self, now: UnixTime) -> Result<(), Currency> {
        if now >= self.expires {
            let expires = self.expires;
            return Err(Currency::Expired { expires, now });
        }
        if self.issued.secs_since(now) > MAX_CLOCK_AHEAD_SECONDS {
            let issued = self.issued;
            return Err(Currency::FromTheFuture { issued, now });
        }
        Ok(())
    }

    pub(crate) fn check_floor(&self, floor: Option<(u64, u64)>) -> Result<(), DenyListError> {
        match floor {
            Some(floor) if self.position() < floor => Err(DenyListError::RolledBack {
                epoch: self.epoch,
                sequence: self.sequence,
                floor_epoch: floor.0,
                floor_sequence: floor.1,
            }),
            _ => Ok(()),
        }
    }
}
