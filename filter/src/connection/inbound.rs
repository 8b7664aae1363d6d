//! Connections coming in: who made it, and may it.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use identity::x509::X509Svid;
use policy::{Needs, Peer, Request};
use serde_json::Value;

use crate::attributes::{
    Attribute, AttributeError, CONNECTION_PEER_DIGEST, CONNECTION_SERVER_NAME,
    CONNECTION_TLS_VERSION, DESTINATION_ADDRESS, FILTER_STATE_DIRECT_ADDRESS,
    FILTER_STATE_HANDSHAKE, FILTER_STATE_HOLD, FILTER_STATE_REMOTE_ADDRESS, SOURCE_ADDRESS,
};
use crate::host::{Host, Side};
use crate::peer::{self, Fault, Seen};
use crate::root::Root;
use crate::settings::{Direction, Plugin};
use crate::shadow::Watched;
use crate::time::Now;
use crate::{metadata, summary};

use super::verdict::{Outcome, Verdict};
use super::{IDENTITY_LIMIT, Occasion};

/// Whether the peer can be known by now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Handshake {
    /// It has ended, or there is none.
    Over,
    /// It goes on; `held` where the listener lets it go on while the connection is stopped.
    Running { held: bool },
}

/// Decides, or says what is missing.
pub(super) fn judge<H: Host>(
    root: &Root<H>,
    plugin: &Plugin,
    now: Now,
    occasion: Occasion,
) -> Outcome {
    let handshake = match handshake(root.host(), occasion) {
        Ok(handshake) => handshake,
        Err(error) => return unreadable(&error),
    };
    match (handshake, occasion) {
        (Handshake::Over, _) => decide(root, plugin, now, occasion),
        (Handshake::Running { held: false }, Occasion::New) => Outcome::NotYet,
        (Handshake::Running { .. }, Occasion::Tick { last: true }) => {
            let detail = format!("the peer was not known after {IDENTITY_LIMIT} ms");
            Outcome::Denied(Verdict::denied(
                Direction::Inbound,
                "identity_timeout",
                detail,
            ))
        }
        (Handshake::Running { .. }, _) => Outcome::Unknown {
            limit: IDENTITY_LIMIT,
        },
    }
}

/// In the middle of a handshake Envoy already shows the certificate that the peer has sent, before the
/// peer has proved that it has the key. Nothing would pass to it, but the proxy would connect to the
/// application in its name; so where the listener marks the end of the handshake, only the mark
/// counts.
fn handshake<H: Host>(host: &H, occasion: Occasion) -> Result<Handshake, AttributeError> {
    if is_from_peer(occasion) {
        return Ok(Handshake::Over);
    }
    if CONNECTION_TLS_VERSION.bytes(host)?.is_none() {
        return Ok(Handshake::Over);
    }
    let held = FILTER_STATE_HOLD.bytes(host)?.is_some();
    let sign = if held {
        FILTER_STATE_HANDSHAKE
    } else {
        CONNECTION_PEER_DIGEST
    };
    if sign.bytes(host)?.is_some() {
        return Ok(Handshake::Over);
    }
    Ok(Handshake::Running { held })
}

fn decide<H: Host>(root: &Root<H>, plugin: &Plugin, now: Now, occasion: Occasion) -> Outcome {
    let mut seen = Seen::default();
    let presented = peer::presented(root, plugin, &mut seen);
    let (peer, certificate, note) = match identify(root, plugin, now, presented) {
        Ok(Some(svid)) => (Peer::Workload(svid.id().clone().into()), Some(svid), None),
        Ok(None) => (Peer::Plaintext, None, None),
        Err(Fault { fault, note }) => (Peer::Unidentified(fault), None, note),
    };
    let mut around = match Around::read(root.host(), plugin) {
        Ok(around) => around,
        // The peer's own fault is the better answer.
        Err(_) if matches!(peer, Peer::Unidentified(_)) => Around::default(),
        Err(error) => return unreadable(&error),
    };
    let request = around.request(&peer, certificate.as_deref(), now);
    let decision = plugin.policies.decide(&request);
    let mut verdict = Verdict::of(&decision, note.as_deref()).seeing(seen);
    verdict.failed = summary::of_denial(plugin, &decision, &request);
    if plugin.policies.has_shadow() {
        let read = around.read_for_shadow(root.host(), plugin);
        let request = read.map(|()| around.request(&peer, certificate.as_deref(), now));
        verdict.shadow = Some(Watched::ask(&plugin.policies, request));
    }
    if !decision.is_allowed() {
        return Outcome::Denied(verdict);
    }
    verdict.ends = certificate.map(|svid| svid.validity().not_after);
    verdict.unproven_plaintext = peer == Peer::Plaintext && !is_from_peer(occasion);
    Outcome::Allowed(verdict)
}

fn identify<H: Host>(
    root: &Root<H>,
    plugin: &Plugin,
    now: Now,
    presented: Result<Option<Rc<X509Svid>>, Fault>,
) -> Result<Option<Rc<X509Svid>>, Fault> {
    let presented = presented?;
    if let Some(svid) = &presented {
        peer::check_now(root, plugin, svid, now)?;
    }
    Ok(presented)
}

/// Whether the peer itself has sent something: it comes out of the handshake's keys.
const fn is_from_peer(occasion: Occasion) -> bool {
    matches!(occasion, Occasion::Bytes(Side::Downstream, 1..))
}

/// Whether a certificate shows where none was.
///
/// # Errors
/// The proxy does not say.
pub(super) fn shows_certificate<H: Host>(host: &H) -> Result<bool, AttributeError> {
    Ok(CONNECTION_PEER_DIGEST.bytes(host)?.is_some())
}

fn unreadable(error: &AttributeError) -> Outcome {
    let note = error.to_string();
    Outcome::Denied(Verdict::unreadable(
        Direction::Inbound,
        error.name(),
        Some(&note),
    ))
}

/// What surrounds the connection, as far as the policies look at it.
#[derive(Debug, Default)]
struct Around {
    source_ip: Option<IpAddr>,
    remote_ip: Option<IpAddr>,
    destination: Option<SocketAddr>,
    sni: Option<Vec<u8>>,
    metadata: Option<Value>,
}

impl Around {
    fn read<H: Host>(host: &H, plugin: &Plugin) -> Result<Self, AttributeError> {
        let policies = &plugin.policies;
        let mut around = Self::default();
        around.add(host, policies.needs(), policies.metadata_keys())?;
        Ok(around)
    }

    /// What policies look at besides that never change a verdict.
    ///
    /// # Errors
    /// The attribute that cannot be read.
    fn read_for_shadow<H: Host>(&mut self, host: &H, plugin: &Plugin) -> Result<(), &'static str> {
        let policies = &plugin.policies;
        self.add(
            host,
            policies.shadow_needs(),
            policies.shadow_metadata_keys(),
        )
        .map_err(|error| error.name())
    }

    fn add<'p, H: Host>(
        &mut self,
        host: &H,
        needs: Needs,
        metadata_keys: impl Iterator<Item = (&'p str, &'p [Box<str>])>,
    ) -> Result<(), AttributeError> {
        if needs.source_ip {
            self.source_ip = Some(ip(host, FILTER_STATE_DIRECT_ADDRESS)?);
        }
        if needs.remote_ip {
            self.remote_ip = Some(remote_ip(host)?);
        }
        if needs.destination_ip || needs.destination_port {
            let address = DESTINATION_ADDRESS.address(host)?;
            self.destination = Some(address.ok_or_else(|| missing(DESTINATION_ADDRESS))?);
        }
        if needs.sni {
            self.sni = CONNECTION_SERVER_NAME.bytes(host)?;
        }
        if needs.metadata {
            self.metadata = Some(metadata::dynamic(host, metadata_keys)?);
        }
        Ok(())
    }

    fn request<'a>(
        &'a self,
        peer: &'a Peer,
        certificate: Option<&'a X509Svid>,
        now: Now,
    ) -> Request<'a> {
        let mut request = Request::new(peer);
        request.certificate = certificate;
        request.now = Some(now.unix);
        request.source_ip = self.source_ip;
        request.remote_ip = self.remote_ip;
        request.destination_ip = self.destination.map(|address| address.ip());
        request.destination_port = self.destination.map(|address| address.port());
        request.sni = self.sni.as_deref();
        if let Some(metadata) = &self.metadata {
            request.metadata = metadata;
        }
        request
    }
}

fn ip<H: Host>(host: &H, attribute: Attribute) -> Result<IpAddr, AttributeError> {
    attribute.ip(host)?.ok_or_else(|| missing(attribute))
}

/// Address of the client behind a proxy that speaks the PROXY protocol: what a filter in front left, else
/// what Envoy takes for the address of the connection, which is the same.
fn remote_ip<H: Host>(host: &H) -> Result<IpAddr, AttributeError> {
    if let Some(address) = FILTER_STATE_REMOTE_ADDRESS.ip(host)? {
        return Ok(address);
    }
    let address = SOURCE_ADDRESS.address(host)?;
    Ok(address.ok_or_else(|| missing(SOURCE_ADDRESS))?.ip())
}

fn missing(attribute: Attribute) -> AttributeError {
    AttributeError::Malformed {
        name: attribute.name(),
        expected: "there, and a policy looks at it",
    }
}
