//! What stays the same as long as a downstream connection lives.
//!
//! A proxy-wasm module is told of requests, not of connections, and each attribute it asks the proxy for
//! costs as much as a small policy. So what cannot change during a connection is read with its first
//! request and found again by the connection's number, which Envoy gives out once in the life of its
//! process. A verdict is never kept: dates, deny list and policies are looked at on every request.

use std::cell::OnceCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use identity::x509::{Sha256Digest, X509Svid};
use policy::Peer;

use crate::attributes::{
    AttributeError, CONNECTION_ID, CONNECTION_LOCAL_URI, CONNECTION_NUMBER, CONNECTION_SERVER_NAME,
    DESTINATION_ADDRESS, FILTER_STATE_DIRECT_ADDRESS,
};
use crate::host::Host;
use crate::peer::{self, Fault, Seen};
use crate::recent::{BuildNumberHasher, Recent};
use crate::root::Root;
use crate::settings::Plugin;

/// Most connections kept: about 3 MB where each has another certificate. What one beyond it is, is read anew
/// with each request.
pub const MAX_LINKS: usize = 1024;

/// The connections used lately.
pub type Links = Recent<u64, Rc<Link>, BuildNumberHasher>;

/// One downstream connection.
#[derive(Debug)]
pub struct Link {
    /// Its number, where the proxy said.
    pub id: Option<u64>,
    /// Who is at its other end, as the handshake proved it: never a peer whose identity is in doubt.
    pub peer: Peer,
    /// The peer's certificate, checked but for its dates and the deny list; none where it is plaintext.
    pub certificate: Option<Rc<X509Svid>>,
    source_ip: OnceCell<Option<IpAddr>>,
    destination: OnceCell<Option<SocketAddr>>,
    server_name: OnceCell<Option<Vec<u8>>>,
    local: OnceCell<Option<String>>,
}

impl Link {
    /// The connection of the request in hand.
    ///
    /// # Errors
    /// What is wrong with its peer; `seen` then has what was seen of the certificate.
    pub fn of<H: Host>(
        root: &Root<H>,
        plugin: &Plugin,
        seen: &mut Seen,
    ) -> Result<Rc<Self>, Fault> {
        // Where the proxy does not say which connection it is, everything is read anew.
        let id = number(root.host());
        if let Some(known) = id.and_then(|id| plugin.find_link(id)) {
            return Ok(known);
        }
        let certificate = peer::presented(root, plugin, seen)?;
        let peer = certificate.as_ref().map_or(Peer::Plaintext, |svid| {
            Peer::Workload(svid.id().clone().into())
        });
        let link = Rc::new(Self {
            id,
            peer,
            certificate,
            source_ip: OnceCell::new(),
            destination: OnceCell::new(),
            server_name: OnceCell::new(),
            local: OnceCell::new(),
        });
        if let Some(id) = id {
            plugin.keep_link(id, Rc::clone(&link));
        }
        Ok(link)
    }

    /// SHA-256 of the peer's certificate.
    #[must_use]
    pub fn digest(&self) -> Option<Sha256Digest> {
        self.certificate.as_ref().map(|svid| svid.sha256())
    }

    /// Address of the TCP peer, which Envoy has no attribute for: what a filter in front left.
    ///
    /// `source.address` is no stand-in. With settings that the filter cannot see, among them those of
    /// Istio's inbound listeners, Envoy takes it from a header that the peer wrote.
    ///
    /// # Errors
    /// It cannot be read. That is not remembered, and neither is its absence.
    pub fn source_ip<H: Host>(&self, host: &H) -> Result<Option<IpAddr>, AttributeError> {
        once(&self.source_ip, || FILTER_STATE_DIRECT_ADDRESS.ip(host))
    }

    /// The listener's address, with port.
    ///
    /// # Errors
    /// As [`Link::source_ip`].
    pub fn destination<H: Host>(&self, host: &H) -> Result<Option<SocketAddr>, AttributeError> {
        once(&self.destination, || DESTINATION_ADDRESS.address(host))
    }

    /// Server name the client asked for in TLS.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn server_name<H: Host>(&self, host: &H) -> Result<Option<&[u8]>, AttributeError> {
        if self.server_name.get().is_none() {
            // A handshake is over when its first request is there, so that no name is an answer to keep.
            self.server_name
                .set(CONNECTION_SERVER_NAME.bytes(host)?)
                .ok();
        }
        Ok(self.server_name.get().and_then(Option::as_deref))
    }

    /// First URI name of the proxy's own certificate, for the log.
    pub fn local<H: Host>(&self, host: &H) -> Option<&str> {
        self.local
            .get_or_init(|| CONNECTION_LOCAL_URI.text(host).unwrap_or_default())
            .as_deref()
    }
}

fn number<H: Host>(host: &H) -> Option<u64> {
    match CONNECTION_NUMBER.number(host).ok()? {
        None => CONNECTION_ID.number(host).ok()?,
        found => found,
    }
}

fn once<T: Copy>(
    cell: &OnceCell<Option<T>>,
    read: impl FnOnce() -> Result<Option<T>, AttributeError>,
) -> Result<Option<T>, AttributeError> {
    if let Some(found) = cell.get() {
        return Ok(*found);
    }
    let found = read()?;
    if found.is_some() {
        cell.set(found).ok();
    }
    Ok(found)
}
