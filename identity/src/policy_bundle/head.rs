//! The signed part of a policy bundle.

use serde::{Deserialize, Serialize};

use crate::UnixTime;
use crate::policy_bundle::error::PolicyBundleError;
use crate::policy_bundle::name::BundleName;
use crate::policy_bundle::{Check, MAX_BODY_BYTES, SCHEMA_VERSION};
use crate::signed::members::Members;
use crate::x509::Sha256Digest;

/// The signed part of a policy bundle, as its JWS carries it in JSON. Unknown fields are errors.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Head {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Which bundle it is.
    pub name: BundleName,
    /// The epoch of the authority that signed it; later ones are greater.
    pub epoch: u64,
    /// Counts the bundles of this name that were published.
    pub sequence: u64,
    /// When it was signed, in seconds since the epoch of Unix. One bundle may be signed more than once.
    pub issued: UnixTime,
    /// Length of the body, in bytes; at most [`MAX_BODY_BYTES`].
    pub size: u32,
    /// SHA-256 of the body.
    pub sha256: Sha256Digest,
}

impl Head {
    /// The head of a bundle with this body, of epoch and sequence `position`, signed at `issued`; `None` where the
    /// body is longer than a bundle's may be.
    #[must_use]
    pub fn of(
        name: BundleName,
        position: (u64, u64),
        issued: UnixTime,
        body: &[u8],
    ) -> Option<Self> {
        let size = u32::try_from(body.len()).ok()?;
        (body.len() <= MAX_BODY_BYTES).then(|| Self {
            schema_version: SCHEMA_VERSION,
            name,
            epoch: position.0,
            sequence: position.1,
            issued,
            size,
            sha256: Sha256Digest::of(body),
        })
    }

    /// Epoch and sequence, in the order in which bundles of one name follow each other.
    #[must_use]
    pub const fn position(&self) -> (u64, u64) {
        (self.epoch, self.sequence)
    }

    /// Checks that this is the body that the head was signed for.
    ///
    /// # Errors
    /// [`PolicyBundleError::OtherSize`], [`PolicyBundleError::OtherDigest`].
    pub fn check_body(&self, body: &[u8]) -> Result<(), PolicyBundleError> {
        let (found, expected) = (body.len(), self.size);
        if u32::try_from(found) != Ok(expected) {
            return Err(PolicyBundleError::OtherSize { found, expected });
        }
        if Sha256Digest::of(body) != self.sha256 {
            return Err(PolicyBundleError::OtherDigest);
        }
        Ok(())
    }

    pub(crate) fn read(from: &mut Members) -> Option<Self> {
        Some(Self {
            schema_version: from.number("schemaVersion")?,
            name: from.parsed("name")?,
            epoch: from.number("epoch")?,
            sequence: from.number("sequence")?,
            issued: from.time("issued")?,
            size: from.number("size")?,
            sha256: from.parsed("sha256")?,
        })
    }

    /// The head as JSON, without blanks. As serde would write it, but this cannot fail.
    pub(crate) fn to_json(&self) -> String {
        format!(
            r#"{{"schemaVersion":{},"name":"{}","epoch":{},"sequence":{},"issued":{},"size":{},"sha256":"{}"}}"#,
            self.schema_version,
            // No name has a character that JSON would write otherwise.
            self.name,
            self.epoch,
            self.sequence,
            self.issued.as_secs(),
            self.size,
            self.sha256,
        )
    }

    /// Checks everything but who signed: schema, size, name, floor.
    ///
    /// # Errors
    /// See [`PolicyBundleError`].
    pub fn check(&self, check: &Check<'_>) -> Result<(), PolicyBundleError> {
        if self.schema_version != SCHEMA_VERSION {
            let found = self.schema_version;
            return Err(PolicyBundleError::UnknownSchema { found });
        }
        if usize::try_from(self.size).map_or(true, |size| size > MAX_BODY_BYTES) {
            return Err(PolicyBundleError::BodyTooLarge { size: self.size });
        }
        if let Some(expected) = check.name.filter(|name| **name != self.name) {
            return Err(PolicyBundleError::OtherName {
                found: self.name.clone(),
                expected: expected.clone(),
            });
        }
        if self.sequence < check.at_least {
            return Err(PolicyBundleError::BelowLeast {
                sequence: self.sequence,
                at_least: check.at_least,
            });
        }
        match check.floor {
            Some(floor) if self.position() < floor => Err(PolicyBundleError::RolledBack {
                epoch: self.epoch,
                sequence: self.sequence,
                floor_epoch: floor.0,
                floor_sequence: floor.1,
            }),
            _ => Ok(()),
        }
    }
}
