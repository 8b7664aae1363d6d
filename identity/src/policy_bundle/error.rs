//! Why a policy bundle or its name is refused.

use crate::policy_bundle::{BundleName, MAX_BODY_BYTES, MAX_BUNDLE_BYTES, SCHEMA_VERSION};
use crate::signed::SignedError;

/// Why a policy bundle is refused. The one held until then stays.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyBundleError {
    /// More bytes than the limit.
    #[error("policy bundle is {len} bytes, limit is {MAX_BUNDLE_BYTES}")]
    TooLarge {
        /// Length found, in bytes.
        len: usize,
    },
    /// Not cut as bundles are.
    #[error("policy bundle is not of a known form")]
    NotBundle,
    /// The head is not one that its signer signed for this purpose.
    #[error(transparent)]
    Signed(#[from] SignedError),
    /// A schema version other than [`SCHEMA_VERSION`].
    #[error("policy bundle schema version is {found}, expected {SCHEMA_VERSION}")]
    UnknownSchema {
        /// The version found.
        found: u32,
    },
    /// A head that stands for more than the limit.
    #[error("policy bundle says {size} bytes of policies, limit is {MAX_BODY_BYTES}")]
    BodyTooLarge {
        /// What the head says.
        size: u32,
    },
    /// Another bundle than the one asked for.
    #[error("policy bundle is {found}, expected {expected}")]
    OtherName {
        /// The name found.
        found: BundleName,
        /// The name asked for.
        expected: BundleName,
    },
    /// Policies of another length than the head says.
    #[error("policy bundle has {found} bytes of policies, its head says {expected}")]
    OtherSize {
        /// How many there are.
        found: usize,
        /// What the head says.
        expected: u32,
    },
    /// Other policies than those the head was signed for.
    #[error("policy bundle has other policies than those of its head")]
    OtherDigest,
    /// Older than what the verifier has seen already.
    #[error(
        "policy bundle is epoch {epoch} sequence {sequence}, {floor_epoch}/{floor_sequence} is known"
    )]
    RolledBack {
        /// Epoch of the bundle.
        epoch: u64,
        /// Sequence of the bundle.
        sequence: u64,
        /// Newest epoch known.
        floor_epoch: u64,
        /// Newest sequence known of that epoch.
        floor_sequence: u64,
    },
    /// Older than the verifier is told to accept.
    #[error("policy bundle is sequence {sequence}, at least {at_least} is accepted")]
    BelowLeast {
        /// Sequence of the bundle.
        sequence: u64,
        /// The lowest sequence accepted.
        at_least: u64,
    },
}

/// A text that is no name of a bundle.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{name:?} is no name of a policy bundle: 1 to {max} lower-case letters, digits and -, with none of these at \
     either end",
    max = BundleName::MAX_BYTES
)]
pub struct BadName {
    /// The text, as much of it as a name may have.
    pub name: String,
}
