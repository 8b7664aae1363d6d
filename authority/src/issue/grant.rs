//! What may be signed.

use std::net::IpAddr;

use identity::{SpiffeId, UnixTime};

use crate::issue::csr::VerifiedCsr;

/// Permission to sign one certificate. Only [`IssuancePolicy::authorize`] makes one, and only a
/// grant can be signed.
///
/// [`IssuancePolicy::authorize`]: crate::issue::IssuancePolicy::authorize
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Grant {
    pub(super) spiffe_id: SpiffeId,
    pub(super) csr: VerifiedCsr,
    pub(super) not_before: UnixTime,
    pub(super) not_after: UnixTime,
    pub(super) server_names: ServerNames,
    pub(super) entry_id: Option<String>,
    pub(super) purpose: Purpose,
    pub(super) rule: String,
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// TLS, at either end.
    Tls,
    /// TLS as a server, by a DNS name: the outer side of an ingress gateway.
    TlsServer,
    /// TLS as a client: the outer side of an egress gateway.
    TlsClient,
    /// Signing deny lists. It has no extended key usage: verifiers of lists take no certificate
    /// that has one, so that no key for TLS can sign a list.
    ListSigning,
}

/// Names beside the SPIFFE ID: those of the authority's own serving certificate, and DNS names that
/// a rule gives.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ServerNames {
    /// DNS names.
    pub dns: Vec<String>,
    /// IP addresses.
    pub ip: Vec<IpAddr>,
}

impl Grant {
    /// The identity certified.
    #[must_use]
    pub const fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    /// The key certified.
    #[must_use]
    pub const fn csr(&self) -> &VerifiedCsr {
        &self.csr
    }

    /// First second of validity.
    #[must_use]
    pub const fn not_before(&self) -> UnixTime {
        self.not_before
    }

    /// Last second of validity, never after the issuer's.
    #[must_use]
    pub const fn not_after(&self) -> UnixTime {
        self.not_after
    }

    /// Names beside the SPIFFE ID.
    #[must_use]
    pub const fn server_names(&self) -> &ServerNames {
        &self.server_names
    }

    /// What the certificate is for.
    #[must_use]
    pub const fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Id of the issuance rule that allowed it; `builtin/…` for the built-in ones.
    #[must_use]
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// The registration entry the certificate lives on.
    #[must_use]
    pub fn entry_id(&self) -> Option<&str> {
        self.entry_id.as_deref()
    }
}
