//! Why a deny list or its key is refused.

use crate::deny_list::{
    MAX_CLOCK_AHEAD_SECONDS, MAX_ENTRIES, MAX_HEAD_BYTES, MAX_LIFE_SECONDS, MAX_UPDATE_BYTES,
    RECORD_BYTES, SCHEMA_VERSION,
};
use crate::pem::PemError;
use crate::signed::SignedError;
use crate::x509::{Sha256Digest, SvidError};
use crate::{SpiffeId, UnixTime};

/// Why a deny list is refused. The list held until then stays.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DenyListError {
    /// More bytes than the limit.
    #[error("deny list is {len} bytes, limit is {MAX_UPDATE_BYTES}")]
    TooLarge {
        /// Length found, in bytes.
        len: usize,
    },
    /// Not cut as updates are.
    #[error("deny list is not an update of a known form")]
    NotUpdate,
    /// A head of more bytes than the limit.
    #[error("deny list head is {len} bytes, limit is {MAX_HEAD_BYTES}")]
    HeadTooLarge {
        /// Length found, in bytes.
        len: usize,
    },
    /// Not three parts of base64url without padding (RFC 7515 §7.1).
    #[error("deny list head is not a JWS in compact serialization")]
    NotJws,
    /// The header is not exactly `alg` ES256, `kid`, this list's `typ` and maybe `x5c`.
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
    /// The signer's certificate is not one of the authority that is pinned.
    #[error(transparent)]
    BadSigner(#[from] SignerError),
    /// The key named did not make the signature.
    #[error("deny list signature is not its key's")]
    BadSignature,
    /// The head is not that of schema version 2.
    #[error("deny list head is malformed at line {line}, column {column}")]
    BadHead {
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
    /// `expires` is not after `issued`, or later than the longest life allows.
    #[error("deny list lives {seconds} s, expected 1 to {MAX_LIFE_SECONDS}")]
    BadLife {
        /// Seconds from `issued` to `expires`.
        seconds: i64,
    },
    /// The entries are not the head's, or none.
    #[error(transparent)]
    BadEntries(#[from] EntriesError),
    /// Changes to another list than the one in hand.
    #[error("deny list changes are made to {}/{}, which is not held", base.0, base.1)]
    OtherBase {
        /// Epoch and sequence of the list they are made to.
        base: (u64, u64),
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

impl From<SignedError> for DenyListError {
    fn from(error: SignedError) -> Self {
        match error {
            SignedError::TooLarge { len } => Self::HeadTooLarge { len },
            SignedError::NotJws => Self::NotJws,
            SignedError::BadHeader { problem } => Self::BadHeader { problem },
            SignedError::UnknownKey { kid } => Self::UnknownKey { kid },
            SignedError::BadSigner(error) => Self::BadSigner(error),
            SignedError::BadSignature => Self::BadSignature,
            SignedError::BadDocument { line, column } => Self::BadHead { line, column },
        }
    }
}

impl DenyListError {
    /// A stable name for logs and metrics, in snake case.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "list_too_large",
            Self::NotUpdate => "list_not_update",
            Self::HeadTooLarge { .. } => "list_head_too_large",
            Self::NotJws => "list_not_jws",
            Self::BadHeader { .. } => "list_bad_header",
            Self::UnknownKey { .. } => "list_unknown_key",
            Self::BadSigner(_) => "list_bad_signer",
            Self::BadSignature => "list_bad_signature",
            Self::BadHead { .. } => "list_bad_head",
            Self::UnknownSchema { .. } => "list_unknown_schema",
            Self::BadLife { .. } => "list_bad_life",
            Self::BadEntries(_) => "list_bad_entries",
            Self::OtherBase { .. } => "list_other_base",
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
    /// Not a JSON object of `alg`, `kid` and `typ`, each a string, each once, and maybe `x5c`, an
    /// array of one string in base64.
    #[error("not an object of alg, kid, typ and at most one certificate in x5c")]
    Malformed,
    /// `alg` is not `ES256`.
    #[error("alg is not ES256")]
    Algorithm,
    /// `typ` is that of something else, see [`Purpose`](crate::signed::Purpose).
    #[error("typ is that of something else")]
    Type,
}

/// Why a signer's certificate is refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SignerError {
    /// An authority is pinned, and the header has no `x5c`.
    #[error("deny list signer shows no certificate")]
    NoCertificate,
    /// It is no strict X509-SVID, not valid now, or signed by none of the issuers.
    #[error("deny list signer's certificate is refused")]
    Certificate(#[source] SvidError),
    /// It is of another identity.
    #[error("deny list signer is {found}")]
    OtherIdentity {
        /// The identity found.
        found: SpiffeId,
    },
    /// It has an extended key usage, so it was made for something else.
    #[error("deny list signer's certificate is one for TLS")]
    ForTls,
    /// Its key is not the one named, or not on P-256.
    #[error("deny list signer's certificate is for another key")]
    OtherKey,
    /// The list in hand denies it.
    #[error("deny list signer's certificate is revoked or suspended")]
    Denied,
}

/// Why the entries of a list, or changes of them, are refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EntriesError {
    /// More than the limit.
    #[error("deny list has {count} entries, limit is {MAX_ENTRIES}")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// Not a whole number of records.
    #[error("deny list entries are {len} bytes, expected a multiple of {RECORD_BYTES}")]
    NotRecords {
        /// Length found, in bytes.
        len: usize,
    },
    /// A record whose digest is below that of the one before.
    #[error("deny list entries are not sorted after entry {at}")]
    NotSorted {
        /// The earlier record's place, from 0.
        at: usize,
    },
    /// One certificate twice.
    #[error("deny list has certificate {sha256} twice")]
    Twice {
        /// The certificate.
        sha256: Sha256Digest,
    },
    /// A record whose state is none.
    #[error("deny list entry {at} has a state that is none")]
    BadState {
        /// The record's place, from 0.
        at: usize,
    },
    /// A time that no record can hold.
    #[error("deny list entry is since {since}, which cannot be written")]
    BadTime {
        /// The time.
        since: UnixTime,
    },
    /// Another number of entries than the head says.
    #[error("deny list has {found} entries, its head says {expected}")]
    OtherCount {
        /// How many there are.
        found: usize,
        /// How many the head says.
        expected: u32,
    },
    /// Other entries than those the head was signed for.
    #[error("deny list entries are not those of the head")]
    OtherDigest,
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
