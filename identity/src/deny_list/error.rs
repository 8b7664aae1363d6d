//! Why a deny list or its key is refused.

use crate::UnixTime;
use crate::deny_list::{
    MAX_CLOCK_AHEAD_SECONDS, MAX_ENTRIES, MAX_JWS_BYTES, MAX_LIFE_SECONDS, SCHEMA_VERSION,
};
use crate::pem::PemError;
use crate::x509::Sha256Digest;

/// Why a deny list is refused. The list held until then stays.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DenyListError {
    /// More bytes than the limit.
    #[error("deny list is {len} bytes, limit is {MAX_JWS_BYTES}")]
    TooLarge {
        /// Length found, in bytes.
        len: usize,
    },
    /// Not three parts of base64url without padding (RFC 7515 §7.1).
    #[error("deny list is not a JWS in compact serialization")]
    NotJws,
    /// The header is not exactly `alg` ES256, `kid` and this list's `typ`.
    #[error("deny list header is refused: {problem}")]
    BadHeader {
        /// What is wrong with it.
        problem: HeaderProblem,
    },
    /// No pinned key has this key id.
    #[error("deny list is signed by key {kid:?}, which is not pinned")]
    UnknownKey {
        /// The key id, at most 64 characters of it.
        kid: String,
    },
    /// The key named did not make the signature.
    #[error("deny list signature is not its key's")]
    BadSignature,
    /// The payload is not that of schema version 1.
    #[error("deny list payload is malformed at line {line}, column {column}")]
    BadPayload {
        /// Line of the JSON, from 1.
        line: usize,
        /// Column of the JSON, from 1.
        column: usize,
    },
    /// A schema version other than [`SCHEMA_VERSION`].
    #[error("deny list schema version is {found}, expected {SCHEMA_VERSION}")]
    UnknownSchema {
        /// The version found.
        found: u32,
    },
    /// More entries than the limit.
    #[error("deny list has more than {MAX_ENTRIES} entries")]
    TooManyEntries,
    /// One certificate twice.
    #[error("deny list has certificate {sha256} twice")]
    DuplicateEntry {
        /// The certificate.
        sha256: Sha256Digest,
    },
    /// `expires` is not after `issued`, or later than the longest life allows.
    #[error("deny list lives {seconds} s, expected 1 to {MAX_LIFE_SECONDS}")]
    BadLife {
        /// Seconds from `issued` to `expires`.
        seconds: i64,
    },
    /// The list is not of now: it expired, or comes from the future.
    #[error(transparent)]
    NotCurrent(#[from] Currency),
    /// Older than what the verifier has seen already.
    #[error(
        "deny list is epoch {epoch} sequence {sequence}, {floor_epoch}/{floor_sequence} is known"
    )]
    RolledBack {
        /// Epoch of the list.
        epoch: u64,
        /// Sequence of the list.
        sequence: u64,
        /// Newest epoch known.
        floor_epoch: u64,
        /// Newest sequence known of that epoch.
        floor_sequence: u64,
    },
}

impl DenyListError {
    /// A stable name for logs and metrics, in snake case.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "list_too_large",
            Self::NotJws => "list_not_jws",
            Self::BadHeader { .. } => "list_bad_header",
            Self::UnknownKey { .. } => "list_unknown_key",
            Self::BadSignature => "list_bad_signature",
            Self::BadPayload { .. } => "list_bad_payload",
            Self::UnknownSchema { .. } => "list_unknown_schema",
            Self::TooManyEntries => "list_too_many_entries",
            Self::DuplicateEntry { .. } => "list_duplicate_entry",
            Self::BadLife { .. } => "list_bad_life",
            Self::NotCurrent(Currency::Expired { .. }) => "list_expired",
            Self::NotCurrent(Currency::FromTheFuture { .. }) => "list_from_the_future",
            Self::RolledBack { .. } => "list_rolled_back",
        }
    }
}

/// What is wrong with a list's header.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderProblem {
    /// Not a JSON object of exactly `alg`, `kid` and `typ`, each a string, each once.
    #[error("not an object of alg, kid and typ")]
    Malformed,
    /// `alg` is not `ES256`.
    #[error("alg is not ES256")]
    Algorithm,
    /// `typ` is not `countersign-deny-list+jws`.
    #[error("typ is not countersign-deny-list+jws")]
    Type,
}

/// Why a list is not of now.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Currency {
    /// Now is `expires` or later.
    #[error("deny list expired at {expires}, now is {now}")]
    Expired {
        /// When it expired.
        expires: UnixTime,
        /// The time given.
        now: UnixTime,
    },
    /// `issued` is further ahead than clocks may differ.
    #[error("deny list is issued at {issued}, more than {MAX_CLOCK_AHEAD_SECONDS} s after {now}")]
    FromTheFuture {
        /// When it says it was issued.
        issued: UnixTime,
        /// The time given.
        now: UnixTime,
    },
}

/// Why a key is no key for deny lists.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ListKeyError {
    /// Not the PEM of one public key.
    #[error("deny list key is not PEM")]
    Pem(#[source] PemError),
    /// Not an ECDSA key on P-256, in DER, its point uncompressed.
    #[error("deny list key is not an uncompressed P-256 public key")]
    NotP256,
}
