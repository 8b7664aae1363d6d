//! One request with everything around it that policies can look at.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::{Value, json};

/// Who opens the connection.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Caller {
    /// No TLS at all.
    Plaintext,
    /// TLS without a client certificate.
    NoCertificate,
    /// A certificate with this one URI SAN and nothing else.
    Uri(String),
    /// A certificate that Envoy takes and that is not that simple.
    Odd(Odd),
}

/// Certificates with names that Envoy's own RBAC looks at and that prove no identity.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Odd {
    /// Two URI SANs: `…/ns/default/sa/sleep` and `…/ns/default/sa/impostor`.
    TwoUris,
    /// No URI SAN; the DNS SAN has `/ns/dns/` in it.
    DnsOnly,
    /// No SAN at all; the subject has `/ns/subject/` in it.
    SubjectOnly,
    /// A good SVID of `…/ns/default/sa/sleep` whose DNS SAN has `/ns/dns/` in it.
    DnsBeside,
}

impl Odd {
    pub(crate) const ALL: [Self; 4] = [
        Self::TwoUris,
        Self::DnsOnly,
        Self::SubjectOnly,
        Self::DnsBeside,
    ];
}

/// What a connection is made of; requests with equal links share one.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Link {
    pub(crate) caller: Caller,
    /// Address the TCP connection comes from, in 127.0.0.0/8.
    pub(crate) source: Ipv4Addr,
    /// Where the PROXY header says the client is.
    pub(crate) remote: SocketAddr,
    /// Where the PROXY header says the client wanted to go.
    pub(crate) destination: SocketAddr,
    pub(crate) sni: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    pub(crate) link: Link,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) host: String,
    pub(crate) headers: Vec<(String, String)>,
    /// Payload of the validated token.
    pub(crate) payload: Option<Value>,
    /// Dynamic metadata by its place in [`METADATA`].
    pub(crate) metadata: [Option<Value>; 2],
}

/// Dynamic metadata that a request can carry: namespace and key.
pub(crate) const METADATA: [(&str, &str); 2] = [
    ("envoy.filters.a.b", "c"),
    ("envoy.filters.http.custom", "tag"),
];

pub(crate) const SLEEP: &str = "spiffe://cluster.local/ns/default/sa/sleep";

impl Default for Request {
    /// A request that few policies name any part of.
    fn default() -> Self {
        Self {
            link: Link {
                caller: Caller::Uri("spiffe://cluster.local/ns/nobody/sa/nobody".to_owned()),
                source: Ipv4Addr::new(127, 0, 0, 1),
                remote: SocketAddr::from(([198, 51, 100, 200], 4_000)),
                destination: SocketAddr::from(([198, 51, 100, 100], 4_711)),
                sni: None,
            },
            method: "BREW".to_owned(),
            path: "/nothing".to_owned(),
            host: "nobody.invalid".to_owned(),
            headers: Vec::new(),
            payload: None,
            metadata: [None, None],
        }
    }
}

impl Request {
    /// Sets a claim at a path of names.
    pub(crate) fn claim(&mut self, path: &[&str], value: Value) {
        let mut place = self.payload.get_or_insert_with(|| json!({}));
        for name in path {
            if !place.is_object() {
                *place = json!({});
            }
            place = &mut place[*name];
        }
        *place = value;
    }

    pub(crate) fn set_remote(&mut self, address: IpAddr) {
        self.link.remote.set_ip(address);
        if self.link.destination.is_ipv4() != address.is_ipv4() {
            let stand_in = if address.is_ipv4() {
                "198.51.100.100"
            } else {
                "2001:db8:ffff::100"
            };
            self.link
                .destination
                .set_ip(stand_in.parse().expect("an address"));
        }
    }

    pub(crate) fn set_destination(&mut self, address: IpAddr) {
        self.link.destination.set_ip(address);
        if self.link.remote.is_ipv4() != address.is_ipv4() {
            let stand_in = if address.is_ipv4() {
                "198.51.100.200"
            } else {
                "2001:db8:ffff::200"
            };
            self.link
                .remote
                .set_ip(stand_in.parse().expect("an address"));
        }
    }
}
