//! One certificate of a deny list, and the record it is written as.

use serde::{Deserialize, Serialize};

use crate::UnixTime;
use crate::deny_list::error::EntriesError;
use crate::x509::Sha256Digest;

/// One certificate of a deny list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Entry {
    /// SHA-256 of the certificate's DER.
    pub sha256: Sha256Digest,
    /// How it is denied.
    pub state: State,
    /// Since when; from 1970 on.
    pub since: UnixTime,
}

/// How, and since when, a certificate is denied.
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
    /// The state's name in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Suspended => "suspended",
        }
    }
}

/// Bytes of a record: 32 of the digest, one of the state, seven of the time.
pub const RECORD_BYTES: usize = 40;

/// A record as it stands on the wire.
pub(crate) type Record = [u8; RECORD_BYTES];

/// What a record says of its certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Said {
    /// It is denied.
    Denied(DenyEntry),
    /// It is denied no longer; in changes only.
    Removed,
}

const REMOVED: u8 = 0;
const REVOKED: u8 = 1;
const SUSPENDED: u8 = 2;

impl Entry {
    /// The record of this entry.
    pub(crate) fn to_record(self) -> Result<Record, EntriesError> {
        // A negative number has its first bit set.
        let [0, time @ ..] = self.since.as_secs().to_be_bytes() else {
            return Err(EntriesError::BadTime { since: self.since });
        };
        let state = match self.state {
            State::Revoked => REVOKED,
            State::Suspended => SUSPENDED,
        };
        Ok(join(self.sha256.as_bytes(), state, &time))
    }
}

/// The record that takes a certificate off the list.
pub(crate) fn removal(sha256: &[u8; 32]) -> Record {
    join(sha256, REMOVED, &[0; 7])
}

fn join(sha256: &[u8; 32], state: u8, time: &[u8; 7]) -> Record {
    let mut record = [0; RECORD_BYTES];
    let parts = sha256.iter().chain([&state]).chain(time);
    for (to, from) in record.iter_mut().zip(parts) {
        *to = *from;
    }
    record
}

/// The digest a record is about.
pub(crate) fn digest(record: &Record) -> &[u8; 32] {
    let (digest, _rest) = split(record);
    digest
}

/// What a record says; `None` where it is not written as records are.
pub(crate) fn said(record: &Record) -> Option<Said> {
    let (_digest, &[state, time @ ..]) = split(record);
    let [a, b, c, d, e, f, g] = time;
    let seconds = i64::from_be_bytes([0, a, b, c, d, e, f, g]);
    let since = UnixTime::from_secs(seconds);
    let denied = |state| Some(Said::Denied(DenyEntry { state, since }));
    match state {
        REVOKED => denied(State::Revoked),
        SUSPENDED => denied(State::Suspended),
        REMOVED if seconds == 0 => Some(Said::Removed),
        _ => None,
    }
}

fn split(record: &Record) -> (&[u8; 32], &[u8; 8]) {
    // Both lengths are constants that fit, so neither default is ever taken.
    const NO_DIGEST: &[u8; 32] = &[0; 32];
    const NO_REST: &[u8; 8] = &[0xff; 8];
    (
        record.first_chunk().unwrap_or(NO_DIGEST),
        record.last_chunk().unwrap_or(NO_REST),
    )
}
