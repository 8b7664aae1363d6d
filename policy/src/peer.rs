//! Who the other end of the connection proved to be.

use std::{fmt, ops::Deref, str::FromStr};

use identity::{SpiffeId, SpiffeIdError, TrustDomain};

use crate::matcher::SlashPrincipal;

/// The peer of a request. "No identity" is a case of its own, never an empty string.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Peer {
    /// No TLS client certificate at all: positive identity fields never match, negative ones do.
    Plaintext,
    /// A peer whose X.509-SVID was checked; its SPIFFE ID is the only thing identity fields look at
    /// (never a DNS name or the subject, unlike Envoy's RBAC).
    Workload(Workload),
    /// A certificate was presented but does not prove an identity: always denied.
    Unidentified(PeerFault),
}

/// The SPIFFE ID of a peer, and what policies compare of it, worked out once: whoever keeps a peer for a connection
/// spares each of its requests that.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Workload {
    id: SpiffeId,
    slash_principal: SlashPrincipal,
}

impl Workload {
    /// The peer with this SPIFFE ID.
    #[must_use]
    pub fn new(id: SpiffeId) -> Self {
        let principal = [id.trust_domain_name(), id.path()].concat();
        Self {
            slash_principal: SlashPrincipal::of(&principal),
            id,
        }
    }

    /// Its SPIFFE ID.
    #[must_use]
    pub const fn id(&self) -> &SpiffeId {
        &self.id
    }

    pub(crate) const fn slash_principal(&self) -> &SlashPrincipal {
        &self.slash_principal
    }
}

impl From<SpiffeId> for Workload {
    fn from(id: SpiffeId) -> Self {
        Self::new(id)
    }
}

impl FromStr for Workload {
    type Err = SpiffeIdError;

    fn from_str(id: &str) -> Result<Self, Self::Err> {
        SpiffeId::new(id).map(Self::new)
    }
}

impl Deref for Workload {
    type Target = SpiffeId;

    fn deref(&self) -> &SpiffeId {
        &self.id
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)
    }
}

/// Why a presented certificate does not prove an identity.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerFault {
    /// The connection is mutually authenticated, but the host shows no peer certificate.
    #[error("the connection is mutually authenticated but no peer certificate can be read")]
    CertificateMissing,
    /// The proxy says the certificate was not validated (an untrusting listener, a resumed session).
    #[error("the proxy did not validate the peer certificate")]
    CertificateNotValidated,
    /// The certificate is not a valid X.509-SVID, is outside its dates, or its signature does not verify.
    #[error("{detail}")]
    Svid {
        /// The violation's stable name, e.g. `two_uri_sans` or `expired`.
        code: &'static str,
        /// One sentence for people.
        detail: String,
    },
    /// There is no issuer for the trust domain of the SPIFFE ID.
    #[error("trust domain {trust_domain} is not in the trust bundle")]
    UnknownTrustDomain {
        /// The trust domain of the presented SPIFFE ID.
        trust_domain: TrustDomain,
    },
    /// The trust domain is trusted, but its allow list does not name this identity.
    #[error("{id} is not on the allow list of its trust domain")]
    NotFederated {
        /// The presented SPIFFE ID.
        id: SpiffeId,
    },
    /// The certificate is revoked for good.
    #[error("the certificate {sha256} is revoked")]
    Revoked {
        /// Lower-case hexadecimal SHA-256 of the certificate.
        sha256: String,
    },
    /// The certificate is suspended and may come back.
    #[error("the certificate {sha256} is suspended")]
    Suspended {
        /// Lower-case hexadecimal SHA-256 of the certificate.
        sha256: String,
    },
    /// No deny list has been received yet, and the configuration says to deny without one.
    #[error("no deny list has been received yet")]
    DenyListMissing,
    /// The deny list in hand has expired, and the configuration says to deny with such a list.
    #[error("the deny list in hand has expired")]
    DenyListStale,
    /// The host refused or garbled an attribute that identity depends on.
    #[error("the connection attribute {attribute} cannot be read")]
    AttributeUnreadable {
        /// The host's name of the attribute, e.g. `connection.mtls`.
        attribute: &'static str,
    },
}

impl PeerFault {
    /// The fault's stable name in `snake_case`, for logs and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::CertificateMissing => "certificate_missing",
            Self::CertificateNotValidated => "certificate_not_validated",
            Self::Svid { code, .. } => code,
            Self::UnknownTrustDomain { .. } => "unknown_trust_domain",
            Self::NotFederated { .. } => "not_federated",
            Self::Revoked { .. } => "revoked",
            Self::Suspended { .. } => "suspended",
            Self::DenyListMissing => "deny_list_missing",
            Self::DenyListStale => "deny_list_stale",
            Self::AttributeUnreadable { .. } => "peer_attribute_unreadable",
        }
    }
}
