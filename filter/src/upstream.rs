//! Requests going out: is the server the one that was named.
//!
//! The lock is the exact SAN matcher in the cluster's TLS context; this is the second one. It works
//! in the upstream filter chain, where the request waits until its connection is there: nothing of a
//! request is sent to a server whose certificate has not been looked at.

use std::collections::BTreeSet;

use identity::SpiffeId;
use policy::PeerFault;

use crate::attributes::{
    CLUSTER_NAME, UPSTREAM_LOCAL_ADDRESS, UPSTREAM_PEER_CERTIFICATE, UPSTREAM_PEER_DIGEST,
    UPSTREAM_PEER_URI, UPSTREAM_TLS_VERSION,
};
use crate::host::Host;
use crate::peer::{self, Fault, Seen};
use crate::root::Root;
use crate::settings::Plugin;
use crate::time::Now;

/// Why an outbound request is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NamingDenial {
    /// No configuration was accepted yet.
    #[error("no configuration was accepted")]
    NoConfiguration,
    /// Something the decision rests on cannot be read.
    #[error("the attribute {attribute} cannot be read")]
    Unreadable {
        /// Its name.
        attribute: &'static str,
    },
    /// The configuration names no servers for this cluster.
    #[error("no identities are configured for cluster {cluster:?}")]
    ClusterUnknown {
        /// The cluster.
        cluster: String,
    },
    /// The configuration names an empty set for it.
    #[error("the set of identities of cluster {cluster:?} is empty")]
    IdentitySetEmpty {
        /// The cluster.
        cluster: String,
    },
    /// The connection to the server is not encrypted, so the server cannot say who it is.
    #[error("the connection to the server uses no TLS, and the hold needs it")]
    Plaintext,
    /// The server's certificate does not prove an identity.
    #[error("server rejected: {0}")]
    Rejected(PeerFault),
    /// The server is somebody else.
    #[error("the server is {found}, which cluster {cluster:?} does not name")]
    UnexpectedIdentity {
        /// Who it is.
        found: SpiffeId,
        /// The cluster.
        cluster: String,
    },
    /// The server was not known in time.
    #[error("the server was not known after {milliseconds} ms")]
    HoldTimeout {
        /// The limit.
        milliseconds: u32,
    },
    /// Too many requests wait already.
    #[error("{max} requests are held already")]
    HoldLimit {
        /// The limit.
        max: u32,
    },
}

impl NamingDenial {
    /// The reason's stable name in `snake_case`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoConfiguration => "no_configuration",
            Self::Unreadable { .. } => "attribute_unreadable",
            Self::ClusterUnknown { .. } => "cluster_unknown",
            Self::IdentitySetEmpty { .. } => "identity_set_empty",
            Self::Plaintext => "upstream_plaintext",
            Self::Rejected(PeerFault::Svid { code, .. }) => code,
            Self::Rejected(PeerFault::CertificateMissing) => "certificate_missing",
            Self::Rejected(PeerFault::UnknownTrustDomain { .. }) => "unknown_trust_domain",
            Self::Rejected(PeerFault::Revoked { .. }) => "revoked",
            Self::Rejected(PeerFault::Suspended { .. }) => "suspended",
            Self::Rejected(PeerFault::DenyListMissing) => "deny_list_missing",
            Self::Rejected(PeerFault::DenyListStale) => "deny_list_stale",
            Self::Rejected(_) => "server_rejected",
            Self::UnexpectedIdentity { .. } => "unexpected_identity",
            Self::HoldTimeout { .. } => "hold_timeout",
            Self::HoldLimit { .. } => "hold_limit",
        }
    }
}

/// What is known of the server of a request.
#[derive(Clone, Debug)]
pub enum Check {
    /// It is the right one.
    Verified,
    /// The connection is not there yet.
    Pending,
    /// It is not, or that cannot be told.
    Denied {
        /// Why.
        denial: NamingDenial,
        /// What the proxy answered, where it did not answer well.
        note: Option<String>,
    },
}

impl From<Fault> for Check {
    fn from(Fault { fault, note }: Fault) -> Self {
        let denial = match fault {
            PeerFault::AttributeUnreadable { attribute } => NamingDenial::Unreadable { attribute },
            fault => NamingDenial::Rejected(fault),
        };
        Self::Denied { denial, note }
    }
}

impl From<NamingDenial> for Check {
    fn from(denial: NamingDenial) -> Self {
        Self::Denied { denial, note: None }
    }
}

/// The cluster the request in hand goes to, if the configuration names servers for it.
///
/// # Errors
/// The denial where it does not.
pub fn cluster<H: Host>(host: &H, plugin: &Plugin) -> Result<String, Check> {
    let attribute = CLUSTER_NAME.name();
    let cluster = CLUSTER_NAME
        .text(host)
        .map_err(|error| Check::from(Fault::from(error)))?
        .ok_or(NamingDenial::Unreadable { attribute })?;
    match plugin.servers(&cluster) {
        None => Err(NamingDenial::ClusterUnknown { cluster }.into()),
        Some(expected) if expected.is_empty() => {
            Err(NamingDenial::IdentitySetEmpty { cluster }.into())
        }
        Some(_) => Ok(cluster),
    }
}

/// Looks at the upstream connection of the request in hand.
pub fn check<H: Host>(
    root: &Root<H>,
    plugin: &Plugin,
    cluster: &str,
    now: Now,
    seen: &mut Seen,
) -> Check {
    let empty = BTreeSet::new();
    let expected = plugin.servers(cluster).unwrap_or(&empty);
    match identify(root, plugin, now, seen) {
        Ok(Some(id)) if expected.contains(&id) => Check::Verified,
        Ok(Some(found)) => NamingDenial::UnexpectedIdentity {
            found,
            cluster: cluster.to_owned(),
        }
        .into(),
        Ok(None) => Check::Pending,
        Err(check) => check,
    }
}

fn identify<H: Host>(
    root: &Root<H>,
    plugin: &Plugin,
    now: Now,
    seen: &mut Seen,
) -> Result<Option<SpiffeId>, Check> {
    let host = root.host();
    let unreadable = |error| Check::from(Fault::from(error));
    let Some(digest) = peer::read_digest(host, UPSTREAM_PEER_DIGEST).map_err(unreadable)? else {
        let connected = UPSTREAM_LOCAL_ADDRESS
            .bytes(host)
            .map_err(unreadable)?
            .is_some();
        let encrypted = UPSTREAM_TLS_VERSION
            .bytes(host)
            .map_err(unreadable)?
            .is_some();
        return match (connected, encrypted) {
            (true, false) => Err(NamingDenial::Plaintext.into()),
            (true, true) => Err(Fault::from(PeerFault::CertificateMissing).into()),
            (false, _) => Ok(None),
        };
    };
    seen.digest = Some(digest);
    let svid = peer::certificate(root, plugin, &digest, || {
        UPSTREAM_PEER_CERTIFICATE.bytes(host)
    })?;
    let id = match svid {
        Some(svid) => {
            seen.id = Some(svid.id().clone());
            seen.until = Some(svid.validity().not_after);
            peer::check_now(root, plugin, &svid, now).map_err(Fault::from)?;
            svid.id().clone()
        }
        // Envoy before 1.39 shows a server's first URI name and digest, and nothing else.
        None => {
            let id = first_uri(host)?;
            seen.id = Some(id.clone());
            peer::check_deny_list(root, plugin, &digest, now, |list| list.state(&digest))
                .map_err(Fault::from)?;
            id
        }
    };
    Ok(Some(id))
}

fn first_uri<H: Host>(host: &H) -> Result<SpiffeId, Check> {
    let uri = UPSTREAM_PEER_URI
        .text(host)
        .map_err(|error| Check::from(Fault::from(error)))?;
    let uri = uri.ok_or_else(|| Check::from(Fault::from(PeerFault::CertificateMissing)))?;
    uri.parse().map_err(|error: identity::SpiffeIdError| {
        let fault = PeerFault::Svid {
            code: "bad_spiffe_id",
            detail: error.to_string(),
        };
        Check::from(Fault::from(fault))
    })
}
