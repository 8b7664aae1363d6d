//! Requests coming in: who sent it, and may it.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use identity::UnixTime;
use identity::x509::{Sha256Digest, X509Svid};
use policy::{Claims, Decision, DenyReason, Needs, NotEvaluable, Peer, PeerFault, Request};
use serde_json::Value;

use crate::attributes::{
    AttributeError, DESTINATION_ADDRESS, FILTER_STATE_DIRECT_ADDRESS, FILTER_STATE_REMOTE_ADDRESS,
    SOURCE_ADDRESS,
};
use crate::headers::HeaderBlock;
use crate::host::{HeaderMap, Host};
use crate::link::Link;
use crate::peer::{self, Fault, Seen};
use crate::root::Root;
use crate::settings::Plugin;
use crate::shadow::Watched;
use crate::time::Now;
use crate::{forwarded, metadata, summary};

/// Where a request's headers come from.
#[derive(Debug)]
pub enum Given {
    /// It has just come: the proxy has them.
    Arriving,
    /// It is open since: what was kept of them then, if they were read.
    Open(Option<HeaderBlock>),
}

/// A decision and what it was made on, for the log and for the next time.
#[derive(Debug)]
pub struct Judged {
    /// The decision.
    pub decision: Decision,
    /// Who sent it.
    pub who: Who,
    /// The headers, if they were looked at.
    pub headers: Option<HeaderBlock>,
    /// What the proxy answered, where it did not answer well.
    pub note: Option<String>,
    /// Why no ALLOW rule matches, where none does.
    pub failed: Option<String>,
    /// What policies that never change a verdict say.
    pub shadow: Option<Watched>,
}

/// Who sent a request, as far as that was found out.
#[derive(Clone, Debug, Default)]
pub struct Who {
    /// The connection it came by.
    pub link: Option<Rc<Link>>,
    /// The certificate that the connection's other end forwarded.
    pub forwarded: Option<Rc<X509Svid>>,
    /// What was seen of a certificate that is refused.
    pub refused: Seen,
}

impl Who {
    /// The certificate that stands for the sender.
    #[must_use]
    pub fn certificate(&self) -> Option<&X509Svid> {
        let own = self
            .link
            .as_ref()
            .and_then(|link| link.certificate.as_ref());
        self.forwarded.as_ref().or(own).map(AsRef::as_ref)
    }

    /// The sender's SPIFFE ID, also where it is refused for another reason than its certificate.
    #[must_use]
    pub fn id(&self) -> Option<String> {
        let certain = self.certificate().map(|svid| svid.id().to_string());
        certain.or_else(|| self.refused.id.as_ref().map(ToString::to_string))
    }

    /// SHA-256 of the sender's certificate.
    #[must_use]
    pub fn digest(&self) -> Option<Sha256Digest> {
        let certain = self.certificate().map(X509Svid::sha256);
        certain.or(self.refused.digest)
    }

    /// The last second at which all of its certificates are valid.
    #[must_use]
    pub fn until(&self) -> Option<UnixTime> {
        let own = self
            .link
            .as_ref()
            .and_then(|link| link.certificate.as_ref());
        let both = own.into_iter().chain(&self.forwarded);
        both.map(|svid| svid.validity().not_after).min()
    }
}

/// Why a request is denied without asking the policies.
#[derive(Debug)]
enum Refusal {
    Peer(Fault),
    Unreadable(Unreadable),
}

/// Something that policies look at.
#[derive(Debug)]
struct Unreadable {
    attribute: &'static str,
    note: String,
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Peer(fault)
    }
}

impl From<PeerFault> for Refusal {
    fn from(fault: PeerFault) -> Self {
        Self::Peer(fault.into())
    }
}

impl From<Unreadable> for Refusal {
    fn from(unreadable: Unreadable) -> Self {
        Self::Unreadable(unreadable)
    }
}

impl From<AttributeError> for Unreadable {
    fn from(error: AttributeError) -> Self {
        Self {
            attribute: error.name(),
            note: error.to_string(),
        }
    }
}

/// Decides the request in hand.
///
/// Everything the decision rests on is read before any policy is asked, and what cannot be read is
/// a denial. What policies look at that never change a verdict is read for them alone.
pub fn judge<H: Host>(root: &Root<H>, plugin: &Plugin, now: Now, given: Given) -> Judged {
    let mut judged = Judged::refused(without_configuration());
    let outcome = consider(root, plugin, now, given, &mut judged);
    let (reason, note) = match outcome {
        Ok(()) => return judged,
        Err(Refusal::Peer(Fault { fault, note })) => (DenyReason::PeerRejected(fault), note),
        Err(Refusal::Unreadable(Unreadable { attribute, note })) => {
            let fault = NotEvaluable::AttributeUnreadable { attribute };
            (DenyReason::NotEvaluable(fault), Some(note))
        }
    };
    judged.decision = Decision::Deny(reason);
    judged.note = note;
    judged
}

fn consider<H: Host>(
    root: &Root<H>,
    plugin: &Plugin,
    now: Now,
    given: Given,
    judged: &mut Judged,
) -> Result<(), Refusal> {
    let link = Link::of(root, plugin, &mut judged.who.refused)?;
    judged.who.link = Some(Rc::clone(&link));
    if let Some(svid) = &link.certificate {
        peer::check_now(root, plugin, svid, now)?;
    }
    let mut unread = None;
    if plugin.reads_headers() {
        match read_headers(root.host(), given) {
            Ok(headers) => judged.headers = Some(headers),
            Err(error) if plugin.decides_by_headers() => return Err(error.into()),
            Err(error) => unread = Some(error.attribute),
        }
    }
    let mut forwarded_peer = None;
    if let Some(hop) = plugin.hop_of(&link.peer) {
        let headers = judged.headers.as_ref();
        let headers =
            headers.ok_or_else(|| missing("request headers", "they hold the identity"))?;
        let svid = forwarded::certificate(root, plugin, hop, &link, headers)?;
        judged.who.forwarded = Some(Rc::clone(&svid));
        peer::check_now(root, plugin, &svid, now)?;
        forwarded_peer = Some(Peer::Workload(svid.id().clone().into()));
    }
    let mut around = Around::read(root.host(), plugin, &link)?;
    let peer = forwarded_peer.as_ref().unwrap_or(&link.peer);
    let request = judged.request(peer, &around, now);
    let decision = plugin.policies.decide(&request);
    judged.failed = summary::of_denial(plugin, &decision, &request);
    judged.decision = decision;
    if plugin.policies.has_shadow() {
        let read = match unread {
            Some(attribute) => Err(attribute),
            None => around.read_for_shadow(root.host(), plugin, &link),
        };
        let request = read.map(|()| judged.request(peer, &around, now));
        judged.shadow = Some(Watched::ask(&plugin.policies, request));
    }
    Ok(())
}

fn read_headers<H: Host>(host: &H, given: Given) -> Result<HeaderBlock, Unreadable> {
    match given {
        Given::Arriving => host
            .header_block(HeaderMap::Request)
            .map_err(|error| Unreadable {
                attribute: "request headers",
                note: error.to_string(),
            }),
        Given::Open(Some(kept)) => Ok(kept),
        Given::Open(None) => Err(missing("request headers", "they were not kept")),
    }
}

impl Judged {
    /// A decision that was made without looking at the request.
    #[must_use]
    pub fn refused(decision: Decision) -> Self {
        Self {
            decision,
            who: Who::default(),
            headers: None,
            note: None,
            failed: None,
            shadow: None,
        }
    }

    fn request<'a>(&'a self, peer: &'a Peer, around: &'a Around<'_>, now: Now) -> Request<'a> {
        let mut request = Request::new(peer);
        if let Some(headers) = &self.headers {
            request.headers = headers;
            request.method = headers.method();
            request.path = headers.path();
            request.host = headers.authority();
        }
        around.describe(&mut request);
        request.certificate = self.who.certificate();
        request.now = Some(now.unix);
        request
    }
}

/// What surrounds the request, as far as the policies look at it.
#[derive(Debug, Default)]
struct Around<'a> {
    source_ip: Option<IpAddr>,
    remote_ip: Option<IpAddr>,
    destination: Option<SocketAddr>,
    server_name: Option<&'a [u8]>,
    claims: Option<Value>,
    metadata: Option<Value>,
}

impl<'a> Around<'a> {
    /// What the decision looks at.
    fn read<H: Host>(host: &H, plugin: &Plugin, link: &'a Link) -> Result<Self, Unreadable> {
        let policies = &plugin.policies;
        let mut around = Self::default();
        around.add(
            host,
            link,
            policies.needs(),
            policies.claim_paths(),
            policies.metadata_keys(),
        )?;
        Ok(around)
    }

    /// What policies look at besides that never change a verdict.
    ///
    /// # Errors
    /// The attribute that cannot be read.
    fn read_for_shadow<H: Host>(
        &mut self,
        host: &H,
        plugin: &Plugin,
        link: &'a Link,
    ) -> Result<(), &'static str> {
        let policies = &plugin.policies;
        self.add(
            host,
            link,
            policies.shadow_needs(),
            policies.shadow_claim_paths(),
            policies.shadow_metadata_keys(),
        )
        .map_err(|unreadable| unreadable.attribute)
    }

    fn add<'p, H: Host>(
        &mut self,
        host: &H,
        link: &'a Link,
        needs: Needs,
        claim_paths: impl Iterator<Item = &'p [Box<str>]>,
        metadata_keys: impl Iterator<Item = (&'p str, &'p [Box<str>])>,
    ) -> Result<(), Unreadable> {
        if needs.source_ip {
            self.source_ip = Some(link.source_ip(host)?.ok_or_else(|| {
                missing(
                    FILTER_STATE_DIRECT_ADDRESS.name(),
                    "a policy looks at the address of the TCP peer",
                )
            })?);
        }
        if needs.remote_ip {
            self.remote_ip = Some(remote_ip(host)?);
        }
        if needs.destination_ip || needs.destination_port {
            self.destination = Some(link.destination(host)?.ok_or_else(|| {
                missing(
                    DESTINATION_ADDRESS.name(),
                    "a policy looks at the listener's address",
                )
            })?);
        }
        if needs.sni {
            self.server_name = link.server_name(host)?;
        }
        if needs.claims {
            self.claims = metadata::claims(host, claim_paths)?;
        }
        if needs.metadata {
            self.metadata = Some(metadata::dynamic(host, metadata_keys)?);
        }
        Ok(())
    }

    fn describe<'b>(&'b self, request: &mut Request<'b>) {
        request.source_ip = self.source_ip;
        request.remote_ip = self.remote_ip;
        request.destination_ip = self.destination.map(|address| address.ip());
        request.destination_port = self.destination.map(|address| address.port());
        request.sni = self.server_name;
        request.claims = self.claims.as_ref().map(|claims| -> &dyn Claims { claims });
        if let Some(metadata) = &self.metadata {
            request.metadata = metadata;
        }
    }
}

/// Address of the client behind trusted proxies: what a filter in front left, else what Envoy takes for
/// the address of the downstream connection, which is the same one.
fn remote_ip<H: Host>(host: &H) -> Result<IpAddr, Unreadable> {
    if let Some(address) = FILTER_STATE_REMOTE_ADDRESS.ip(host)? {
        return Ok(address);
    }
    let address = SOURCE_ADDRESS.address(host)?.ok_or_else(|| {
        missing(
            SOURCE_ADDRESS.name(),
            "a policy looks at the address of the client",
        )
    })?;
    Ok(address.ip())
}

fn missing(attribute: &'static str, why: &str) -> Unreadable {
    Unreadable {
        attribute,
        note: format!("{attribute} is missing: {why}"),
    }
}

/// The decision before there is any configuration.
pub fn without_configuration() -> Decision {
    Decision::Deny(DenyReason::NotEvaluable(NotEvaluable::NoConfiguration))
}

/// The decision where the proxy does not say what time it is.
pub fn without_time() -> Decision {
    Decision::Deny(DenyReason::PeerRejected(PeerFault::AttributeUnreadable {
        attribute: "current time",
    }))
}
