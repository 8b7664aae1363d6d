//! What a decision looks at.

use std::net::IpAddr;

use identity::{UnixTime, x509::X509Svid};

use crate::{
    claims::{Claims, DynamicMetadata, NoMetadata},
    peer::Peer,
};

/// One request, as the proxy saw it. `None` means the attribute is absent, in which case a positive field
/// does not match and a negative field does. An attribute that exists but cannot be read is not `None`:
/// callers deny with [`crate::NotEvaluable::AttributeUnreadable`].
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The other end of the connection.
    pub peer: &'a Peer,
    /// `:method`.
    pub method: Option<&'a [u8]>,
    /// `:path` as received by the filter, with its query.
    pub path: Option<&'a [u8]>,
    /// `:authority`, with its port if it has one.
    pub host: Option<&'a [u8]>,
    /// The other headers. Pseudo-headers in here, except `:scheme`, are not looked at.
    pub headers: &'a dyn Headers,
    /// Address of the TCP peer (Istio's `ipBlocks`).
    pub source_ip: Option<IpAddr>,
    /// Address of the client behind trusted proxies (Istio's `remoteIpBlocks`).
    pub remote_ip: Option<IpAddr>,
    /// Local address of the connection.
    pub destination_ip: Option<IpAddr>,
    /// Local port of the connection.
    pub destination_port: Option<u16>,
    /// Server name the client asked for in TLS.
    pub sni: Option<&'a [u8]>,
    /// Payload of the JSON Web Token that the proxy validated; `None` without a token.
    pub claims: Option<&'a dyn Claims>,
    /// What other filters left about the request (Istio's `experimental.envoy.filters.*`).
    pub metadata: &'a dyn DynamicMetadata,
    /// The peer's certificate, which passed every check. Only looked at with [`Peer::Workload`].
    pub certificate: Option<&'a X509Svid>,
    /// Wall-clock time, for ages of certificates.
    pub now: Option<UnixTime>,
}

impl<'a> Request<'a> {
    /// A request of `peer` with every other attribute absent.
    #[must_use]
    pub fn new(peer: &'a Peer) -> Self {
        Self {
            peer,
            method: None,
            path: None,
            host: None,
            headers: &NoHeaders,
            source_ip: None,
            remote_ip: None,
            destination_ip: None,
            destination_port: None,
            sni: None,
            claims: None,
            metadata: &NoMetadata,
            certificate: None,
            now: None,
        }
    }

    /// Sets `:method`.
    #[must_use]
    pub fn with_method(mut self, method: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.method = Some(method.as_ref());
        self
    }

    /// Sets `:path`, with its query.
    #[must_use]
    pub fn with_path(mut self, path: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.path = Some(path.as_ref());
        self
    }

    /// Sets `:authority`.
    #[must_use]
    pub fn with_host(mut self, host: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.host = Some(host.as_ref());
        self
    }

    /// Sets the headers.
    #[must_use]
    pub fn with_headers(mut self, headers: &'a dyn Headers) -> Self {
        self.headers = headers;
        self
    }

    /// Sets the address of the TCP peer.
    #[must_use]
    pub fn with_source_ip(mut self, address: IpAddr) -> Self {
        self.source_ip = Some(address);
        self
    }

    /// Sets the local address and port of the connection.
    #[must_use]
    pub fn with_destination(mut self, address: IpAddr, port: u16) -> Self {
        self.destination_ip = Some(address);
        self.destination_port = Some(port);
        self
    }

    /// Sets the address of the client behind trusted proxies.
    #[must_use]
    pub fn with_remote_ip(mut self, address: IpAddr) -> Self {
        self.remote_ip = Some(address);
        self
    }

    /// Sets the server name the client asked for in TLS.
    #[must_use]
    pub fn with_sni(mut self, sni: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.sni = Some(sni.as_ref());
        self
    }

    /// Sets the payload of the validated token.
    #[must_use]
    pub fn with_claims(mut self, claims: &'a dyn Claims) -> Self {
        self.claims = Some(claims);
        self
    }

    /// Sets what other filters left about the request.
    #[must_use]
    pub fn with_metadata(mut self, metadata: &'a dyn DynamicMetadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// Sets the peer's checked certificate and the time its age is reckoned at.
    #[must_use]
    pub fn with_certificate(mut self, certificate: &'a X509Svid, now: UnixTime) -> Self {
        self.certificate = Some(certificate);
        self.now = Some(now);
        self
    }
}

/// Header look-up by name, every value on its own.
///
/// Implemented for lists and arrays of name and value pairs; names compare without ASCII case.
pub trait Headers {
    /// Calls `test` with each value of the header `name` (lower case) until it says true; whether one did.
    ///
    /// A header that occurs twice has two values: joining them would let `user` + `admin` pass as neither.
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool;
}

/// A request without headers.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHeaders;

impl Headers for NoHeaders {
    fn any(&self, _name: &str, _test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        false
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> Headers for Vec<(N, V)> {
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        any_of(self, name, test)
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> Headers for &[(N, V)] {
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        any_of(self, name, test)
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>, const LEN: usize> Headers for [(N, V); LEN] {
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        any_of(self, name, test)
    }
}

fn any_of<N: AsRef<[u8]>, V: AsRef<[u8]>>(
    headers: &[(N, V)],
    name: &str,
    test: &mut dyn FnMut(&[u8]) -> bool,
) -> bool {
    headers
        .iter()
        .filter(|(found, _)| found.as_ref().eq_ignore_ascii_case(name.as_bytes()))
        .any(|(_, value)| test(value.as_ref()))
}
