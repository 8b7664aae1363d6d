//! Typed reading of Envoy's attributes.
//!
//! "Not there" and "could not be read" are different answers: the first is `None`, the second an
//! [`AttributeError`], and a request with one of those is denied.

use std::net::{IpAddr, SocketAddr};

use crate::host::{Host, HostError};

/// An attribute by its path, as Envoy's documentation names it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Attribute {
    /// As the ABI writes it: parts with a zero byte between them.
    encoded: &'static str,
    name: &'static str,
}

macro_rules! attributes {
    ($($(#[$doc:meta])* $name:ident = $first:literal . $rest:literal;)+) => {
        $($(#[$doc])* pub const $name: Attribute = Attribute {
            encoded: concat!($first, "\0", $rest),
            name: concat!($first, ".", $rest),
        };)+
    };
}

attributes! {
    /// True where TLS is used and the peer presented a certificate.
    CONNECTION_MTLS = "connection"."mtls";
    /// Number of the downstream connection.
    CONNECTION_ID = "connection"."id";
    /// Server name the client asked for.
    CONNECTION_SERVER_NAME = "connection"."requested_server_name";
    /// SHA-256 of the peer's certificate, hex.
    CONNECTION_PEER_DIGEST = "connection"."sha256_peer_certificate_digest";
    /// The peer's certificate, PEM; Envoy 1.39 and later.
    CONNECTION_PEER_CERTIFICATE = "connection"."peer_certificate";
    /// Whether Envoy verified it; Envoy 1.39 and later.
    CONNECTION_PEER_VALID = "connection"."peer_certificate_valid";
    /// First URI name of the proxy's own certificate.
    CONNECTION_LOCAL_URI = "connection"."uri_san_local_certificate";
    /// The peer's certificate as `envoy.filters.http.set_filter_state` left it for older Envoys.
    FILTER_STATE_PEER_CERTIFICATE = "filter_state"."countersign.peer_certificate";
    /// The TCP peer's address, without port, left likewise; Envoy has no attribute for it.
    FILTER_STATE_DIRECT_ADDRESS = "filter_state"."countersign.direct_remote_address";
    /// The client's address behind trusted proxies, without port, left likewise.
    FILTER_STATE_REMOTE_ADDRESS = "filter_state"."countersign.remote_address";
    /// Payload of the validated JSON Web Token as JSON, left likewise.
    FILTER_STATE_JWT_PAYLOAD = "filter_state"."countersign.jwt_payload";
    /// The client's address behind trusted proxies, with port: what Envoy's RBAC calls `remote_ip`.
    SOURCE_ADDRESS = "source"."address";
    /// Left where a connection may be held as a whole: the listener goes on with the handshake meanwhile.
    FILTER_STATE_HOLD = "filter_state"."countersign.tcp_hold";
    /// Left when the handshake of such a connection has ended.
    FILTER_STATE_HANDSHAKE = "filter_state"."countersign.tls_handshake";
    /// TLS version of the downstream connection; there as soon as the connection, if it uses TLS.
    CONNECTION_TLS_VERSION = "connection"."tls_version";
    /// The listener's address, with port.
    DESTINATION_ADDRESS = "destination"."address";
    /// Cluster the request goes to.
    CLUSTER_NAME = "xds"."cluster_name";
    /// Own address of the upstream connection, once there is one.
    UPSTREAM_LOCAL_ADDRESS = "upstream"."local_address";
    /// TLS version of the upstream connection.
    UPSTREAM_TLS_VERSION = "upstream"."tls_version";
    /// First URI name of the server's certificate.
    UPSTREAM_PEER_URI = "upstream"."uri_san_peer_certificate";
    /// SHA-256 of the server's certificate, hex.
    UPSTREAM_PEER_DIGEST = "upstream"."sha256_peer_certificate_digest";
    /// The server's certificate, PEM; Envoy 1.39 and later.
    UPSTREAM_PEER_CERTIFICATE = "upstream"."peer_certificate";
    /// First URI name of the certificate shown to the server.
    UPSTREAM_LOCAL_URI = "upstream"."uri_san_local_certificate";
}

/// Number of the downstream connection, by the way that takes Envoy least time.
pub const CONNECTION_NUMBER: Attribute = Attribute {
    encoded: "connection_id",
    name: "connection_id",
};

/// An attribute that cannot be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AttributeError {
    /// The proxy did not give it.
    #[error("{name}: {error}")]
    Refused {
        /// Its path.
        name: &'static str,
        /// How the call failed.
        error: HostError,
    },
    /// The proxy gave something of another shape.
    #[error("{name} is not {expected}")]
    Malformed {
        /// Its path.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
    },
}

impl AttributeError {
    /// Path of the attribute.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Refused { name, .. } | Self::Malformed { name, .. } => name,
        }
    }
}

impl Attribute {
    /// Its path with dots.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// Reads it as bytes; an empty value is none, for Envoy gives one where it has nothing.
    ///
    /// # Errors
    /// [`AttributeError::Refused`].
    pub fn bytes<H: Host>(self, host: &H) -> Result<Option<Vec<u8>>, AttributeError> {
        host.encoded_property(self.encoded)
            .map(|value| value.filter(|value| !value.is_empty()))
            .map_err(|error| AttributeError::Refused {
                name: self.name,
                error,
            })
    }

    /// Reads it as text.
    ///
    /// # Errors
    /// Refused, or not UTF-8.
    pub fn text<H: Host>(self, host: &H) -> Result<Option<String>, AttributeError> {
        self.bytes(host)?
            .map(|bytes| String::from_utf8(bytes).map_err(|_not_utf8| self.malformed("UTF-8 text")))
            .transpose()
    }

    /// Reads it as a truth value: one byte, 0 or 1.
    ///
    /// # Errors
    /// Refused, or not such a byte.
    pub fn boolean<H: Host>(self, host: &H) -> Result<Option<bool>, AttributeError> {
        self.bytes(host)?
            .map(|bytes| match bytes.as_slice() {
                [0] => Ok(false),
                [1] => Ok(true),
                _ => Err(self.malformed("a boolean")),
            })
            .transpose()
    }

    /// Reads it as a number: eight bytes, little-endian.
    ///
    /// # Errors
    /// Refused, or not eight bytes.
    pub fn number<H: Host>(self, host: &H) -> Result<Option<u64>, AttributeError> {
        self.bytes(host)?
            .map(|bytes| {
                let bytes = <[u8; 8]>::try_from(bytes)
                    .map_err(|_other_length| self.malformed("a number"))?;
                Ok(u64::from_le_bytes(bytes))
            })
            .transpose()
    }

    /// Reads it as an IP address with a port; `None` where it is another kind of address.
    ///
    /// # Errors
    /// Refused, or neither an IP address nor one of a pipe or an internal listener.
    pub fn address<H: Host>(self, host: &H) -> Result<Option<SocketAddr>, AttributeError> {
        let Some(text) = self.text(host)? else {
            return Ok(None);
        };
        match text.parse() {
            Ok(address) => Ok(Some(address)),
            Err(_) if text.starts_with(['/', '@']) || text.starts_with("envoy://") => Ok(None),
            Err(_) => Err(self.malformed("an IP address with a port")),
        }
    }

    /// Reads it as an IP address without a port; the zone of a link-local one is left out.
    ///
    /// # Errors
    /// Refused, or not an IP address.
    pub fn ip<H: Host>(self, host: &H) -> Result<Option<IpAddr>, AttributeError> {
        let Some(text) = self.text(host)? else {
            return Ok(None);
        };
        let without_zone = text.split_once('%').map(|(address, _)| address.parse());
        without_zone
            .map_or_else(|| text.parse(), |address| address.map(IpAddr::V6))
            .map(Some)
            .map_err(|_not_an_address| self.malformed("an IP address"))
    }

    fn malformed(self, expected: &'static str) -> AttributeError {
        AttributeError::Malformed {
            name: self.name,
            expected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Status;
    use crate::host::fake::FakeHost;

    #[test]
    fn absent_and_empty_are_none() {
        let host = FakeHost::new();
        assert_eq!(CONNECTION_SERVER_NAME.text(&host), Ok(None));
        host.set_property("connection.requested_server_name", b"");
        assert_eq!(CONNECTION_SERVER_NAME.text(&host), Ok(None));
    }

    #[test]
    fn reads_each_type() {
        let host = FakeHost::new();
        host.set_property("connection.mtls", &[1]);
        host.set_property("connection.id", &7_u64.to_le_bytes());
        host.set_property("destination.address", b"[2001:db8::1]:80");
        assert_eq!(CONNECTION_MTLS.boolean(&host), Ok(Some(true)));
        assert_eq!(CONNECTION_ID.number(&host), Ok(Some(7)));
        assert_eq!(
            DESTINATION_ADDRESS.address(&host),
            Ok(Some("[2001:db8::1]:80".parse().expect("an address")))
        );
        host.set_property("destination.address", b"/run/a.sock");
        assert_eq!(DESTINATION_ADDRESS.address(&host), Ok(None));
    }

    #[test]
    fn reads_the_address_of_the_peer_without_port_and_zone() {
        let host = FakeHost::new();
        let name = "filter_state.countersign.direct_remote_address";
        for (text, address) in [
            ("10.1.1.1", Some("10.1.1.1")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("fe80::1%2", Some("fe80::1")),
            ("10.1.1.1%2", None),
            ("10.1.1.1:80", None),
            ("/run/a.sock", None),
        ] {
            host.set_property(name, text.as_bytes());
            let read = FILTER_STATE_DIRECT_ADDRESS.ip(&host).ok().flatten();
            assert_eq!(read, address.map(|ip| ip.parse().expect(ip)), "{text}");
        }
    }

    #[test]
    fn another_shape_is_an_error() {
        let host = FakeHost::new();
        host.set_property("connection.mtls", b"true");
        host.set_property("connection.id", b"7");
        host.set_property("destination.address", b"localhost");
        host.set_property("xds.cluster_name", &[0xff]);
        assert!(matches!(
            CONNECTION_MTLS.boolean(&host),
            Err(AttributeError::Malformed { .. })
        ));
        assert!(matches!(
            CONNECTION_ID.number(&host),
            Err(AttributeError::Malformed { .. })
        ));
        assert!(matches!(
            DESTINATION_ADDRESS.address(&host),
            Err(AttributeError::Malformed { .. })
        ));
        assert!(matches!(
            CLUSTER_NAME.text(&host),
            Err(AttributeError::Malformed { .. })
        ));
    }

    #[test]
    fn a_refusal_names_the_attribute_and_the_status() {
        let host = FakeHost::new();
        host.fail("proxy_get_property", Status::InternalFailure);
        let error = CONNECTION_MTLS.boolean(&host).expect_err("refused");
        assert_eq!(
            error.to_string(),
            "connection.mtls: proxy_get_property answered internal failure"
        );
    }
}
