//! Who the peer of a connection is, as far as Envoy's attributes and its certificate prove it.
//!
//! Envoy checks the chain in its handshake, but not on a resumed session and not for a listener that
//! accepts untrusted certificates. So the filter looks at the certificate itself: the X509-SVID
//! profile and the issuer's signature once per certificate, its dates and the deny list on every
//! request. Chains are not built here: the configured issuers are the keys that sign leaves.

use std::rc::Rc;

use identity::deny_list::{DenyEntry, DenyList, State};
use identity::x509::{Sha256Digest, SvidError, VerifySignature, X509Svid};
use identity::{SpiffeId, UnixTime};
use policy::{Peer, PeerFault};

use crate::attributes::{
    Attribute, AttributeError, CONNECTION_MTLS, CONNECTION_PEER_CERTIFICATE,
    CONNECTION_PEER_DIGEST, CONNECTION_PEER_VALID, FILTER_STATE_PEER_CERTIFICATE,
};
use crate::certificates::Known;
use crate::deny_list::Freshness;
use crate::host::Host;
use crate::root::Root;
use crate::settings::Plugin;
use crate::signature::{self, ProxyVerifier};
use crate::time::Now;

/// A peer, and what the decision log says about its certificate.
#[derive(Clone, Debug)]
pub struct PeerView {
    /// Who it is.
    pub peer: Peer,
    /// What its certificate says.
    pub seen: Seen,
    /// What the proxy answered, where it did not answer well.
    pub note: Option<String>,
}

/// What was seen of a certificate, also of one that is refused.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Its SPIFFE ID, where its issuer's signature is good.
    pub id: Option<SpiffeId>,
    /// Its SHA-256.
    pub digest: Option<Sha256Digest>,
    /// The last second at which it is valid.
    pub until: Option<UnixTime>,
}

/// A fault with what the proxy said, for the log.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The fault.
    pub fault: PeerFault,
    /// Its cause in the proxy.
    pub note: Option<String>,
}

impl From<PeerFault> for Fault {
    fn from(fault: PeerFault) -> Self {
        Self { fault, note: None }
    }
}

impl From<AttributeError> for Fault {
    fn from(error: AttributeError) -> Self {
        let fault = PeerFault::AttributeUnreadable {
            attribute: error.name(),
        };
        Self {
            fault,
            note: Some(error.to_string()),
        }
    }
}

/// Finds out who is at the other end of the downstream connection, dates and deny list included.
pub fn downstream<H: Host>(root: &Root<H>, plugin: &Plugin, now: Now) -> PeerView {
    let mut seen = Seen::default();
    match identify(root, plugin, now, &mut seen) {
        Ok(peer) => PeerView {
            peer,
            seen,
            note: None,
        },
        Err(Fault { fault, note }) => PeerView {
            peer: Peer::Unidentified(fault),
            seen,
            note,
        },
    }
}

fn identify<H: Host>(
    root: &Root<H>,
    plugin: &Plugin,
    now: Now,
    seen: &mut Seen,
) -> Result<Peer, Fault> {
    let Some(svid) = presented(root, plugin, seen)? else {
        return Ok(Peer::Plaintext);
    };
    check_now(root, plugin, &svid, now)?;
    Ok(Peer::Workload(svid.id().clone().into()))
}

/// The certificate that the downstream connection's other end proved to hold, checked but for its dates
/// and the deny list: what holds as long as the connection lives. `None` where it presented none.
///
/// # Errors
/// It does not prove an identity, or what tells cannot be read; `seen` has what was seen of it.
pub fn presented<H: Host>(
    root: &Root<H>,
    plugin: &Plugin,
    seen: &mut Seen,
) -> Result<Option<Rc<X509Svid>>, Fault> {
    let host = root.host();
    let mtls = CONNECTION_MTLS.boolean(host)?;
    let digest = read_digest(host, CONNECTION_PEER_DIGEST)?;
    seen.digest = digest;
    let digest = match (mtls, digest) {
        (Some(false), None) => return Ok(None),
        (Some(true), Some(digest)) => digest,
        (Some(true), None) => return Err(PeerFault::CertificateMissing.into()),
        // A certificate that this handshake did not present: a resumed session.
        (Some(false), Some(_)) => return Err(PeerFault::CertificateNotValidated.into()),
        (None, _) => {
            let attribute = CONNECTION_MTLS.name();
            return Err(PeerFault::AttributeUnreadable { attribute }.into());
        }
    };
    if CONNECTION_PEER_VALID.boolean(host)? == Some(false) {
        return Err(PeerFault::CertificateNotValidated.into());
    }
    let svid = certificate(root, plugin, &digest, || {
        let own = CONNECTION_PEER_CERTIFICATE.bytes(host)?;
        if own.is_some() {
            return Ok(own);
        }
        FILTER_STATE_PEER_CERTIFICATE.bytes(host)
    })?;
    let svid = svid.ok_or(PeerFault::CertificateMissing)?;
    seen.id = Some(svid.id().clone());
    plugin.check_federation(svid.id())?;
    Ok(Some(svid))
}

/// Reads a certificate's digest.
///
/// # Errors
/// Unreadable, or no digest.
pub fn read_digest<H: Host>(
    host: &H,
    attribute: Attribute,
) -> Result<Option<Sha256Digest>, AttributeError> {
    let Some(text) = attribute.text(host)? else {
        return Ok(None);
    };
    let (name, expected) = (attribute.name(), "a SHA-256 digest");
    text.parse()
        .map(Some)
        .or(Err(AttributeError::Malformed { name, expected }))
}

/// The certificate of that digest, checked but for dates and deny list; `None` where the proxy does
/// not have it.
///
/// # Errors
/// What is wrong with it, the same for every request; or an attribute that cannot be read.
pub fn certificate<H: Host>(
    root: &Root<H>,
    plugin: &Plugin,
    digest: &Sha256Digest,
    read: impl FnOnce() -> Result<Option<Vec<u8>>, AttributeError>,
) -> Result<Option<Rc<X509Svid>>, Fault> {
    if let Some(known) = plugin.find_certificate(digest) {
        return Ok(Some(known?));
    }
    let Some(pem) = read()? else { return Ok(None) };
    let known = examine_by_proxy(root, plugin, Some(digest), &pem)?;
    plugin.keep_certificate(*digest, known.clone());
    Ok(Some(known?))
}

/// What holds of a certificate whatever the time: its profile, its issuer's signature, its SHA-256 where one
/// is given.
///
/// # Errors
/// The proxy could not verify the signature. That is not the certificate's fault, and maybe gone with the
/// next request: nothing to remember.
pub fn examine_by_proxy<H: Host>(
    root: &Root<H>,
    plugin: &Plugin,
    digest: Option<&Sha256Digest>,
    pem: &[u8],
) -> Result<Known, Fault> {
    let verifier = ProxyVerifier::new(root.host());
    let known = examine(plugin, digest, pem, &verifier);
    if let Some(error) = verifier.trouble().filter(|_| known.is_err()) {
        let fault = PeerFault::AttributeUnreadable {
            attribute: signature::FUNCTION,
        };
        return Err(Fault {
            fault,
            note: Some(error.to_string()),
        });
    }
    Ok(known)
}

fn examine(
    plugin: &Plugin,
    digest: Option<&Sha256Digest>,
    pem: &[u8],
    verifier: &dyn VerifySignature,
) -> Known {
    let svid = X509Svid::parse_pem(pem, plugin.svid_profile).map_err(|error| svid_fault(&error))?;
    if let Some(digest) = digest.filter(|digest| svid.sha256() != **digest) {
        return Err(PeerFault::Svid {
            code: "digest_mismatch",
            detail: format!("the certificate shown is not the one with digest {digest}"),
        });
    }
    let trust_domain = svid.id().trust_domain();
    if !plugin.trust.contains(trust_domain) {
        return Err(PeerFault::UnknownTrustDomain {
            trust_domain: trust_domain.clone(),
        });
    }
    let issuers = plugin.trust.issuers(trust_domain);
    svid.check_signature(issuers, verifier)
        .map_err(|error| svid_fault(&error))?;
    Ok(Rc::new(svid))
}

/// What has to be looked at on every request: dates and deny list.
///
/// # Errors
/// Outside its dates, denied, or no usable list.
pub fn check_now<H: Host>(
    root: &Root<H>,
    plugin: &Plugin,
    svid: &X509Svid,
    now: Now,
) -> Result<(), PeerFault> {
    svid.check_time(now.unix)
        .map_err(|error| svid_fault(&error))?;
    check_deny_list(root, plugin, &svid.sha256(), now, |list| {
        list.state_of(svid)
    })
}

/// Looks a certificate up in the deny list in hand.
///
/// # Errors
/// It is there; or there is no list, or a stale one, where that denies.
pub fn check_deny_list<H: Host>(
    root: &Root<H>,
    plugin: &Plugin,
    digest: &Sha256Digest,
    now: Now,
    look_up: impl FnOnce(&DenyList) -> Option<DenyEntry>,
) -> Result<(), PeerFault> {
    let Some(settings) = plugin.deny_list() else {
        return Ok(());
    };
    let list = root.deny_list();
    // An entry counts whatever the list's age: it does not expire by itself.
    if let Some(entry) = list.as_deref().and_then(look_up) {
        let sha256 = digest.to_string();
        return Err(match entry.state {
            State::Suspended => PeerFault::Suspended { sha256 },
            State::Revoked => PeerFault::Revoked { sha256 },
        });
    }
    let freshness = root.deny_list_freshness(now);
    if !settings.denies_with(freshness) {
        return Ok(());
    }
    Err(match freshness {
        Freshness::Missing => PeerFault::DenyListMissing,
        Freshness::Fresh | Freshness::Stale { .. } => PeerFault::DenyListStale,
    })
}

fn svid_fault(error: &SvidError) -> PeerFault {
    PeerFault::Svid {
        code: error.code(),
        detail: error.to_string(),
    }
}
