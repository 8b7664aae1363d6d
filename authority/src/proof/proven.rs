//! Somebody whose token or foreign certificate held.

use std::fmt;

use identity::{SpiffeId, UnixTime};

use crate::issue::Proof;
use crate::proof::kubernetes::Account;

/// Somebody whose token or foreign certificate held.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proven {
    pub(crate) proof: Proof,
    pub(crate) by: String,
    pub(crate) subject: String,
    pub(crate) spiffe_id: Option<SpiffeId>,
    pub(crate) selectors: Vec<String>,
    pub(crate) evidence_sha256: String,
    pub(crate) proven_at: UnixTime,
    pub(crate) expires: UnixTime,
    pub(crate) account: Option<Account>,
}

impl Proven {
    /// Kind of proof.
    #[must_use]
    pub const fn proof(&self) -> Proof {
        self.proof
    }

    /// Name of the proof in the configuration: a cluster's, an issuer's, a foreign CA's.
    #[must_use]
    pub fn by(&self) -> &str {
        &self.by
    }

    /// The identity, where the configuration makes one of this proof.
    #[must_use]
    pub const fn spiffe_id(&self) -> Option<&SpiffeId> {
        self.spiffe_id.as_ref()
    }

    /// What was proven, each as `type:value`.
    #[must_use]
    pub fn selectors(&self) -> &[String] {
        &self.selectors
    }

    /// SHA-256 of the token or the certificate, lower-case hex.
    #[must_use]
    pub fn evidence_sha256(&self) -> &str {
        &self.evidence_sha256
    }

    /// When it was proven.
    #[must_use]
    pub const fn proven_at(&self) -> UnixTime {
        self.proven_at
    }

    /// When the token or certificate expires.
    #[must_use]
    pub const fn expires(&self) -> UnixTime {
        self.expires
    }
}

impl fmt::Display for Proven {
    /// As the record names it: who it is by the words of the proof, and whose they are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.subject, self.by)
    }
}
