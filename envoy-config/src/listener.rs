//! Listeners.

use std::net::SocketAddr;

use policy::MtlsMode;
use serde::Serialize;

use crate::address::Address;
use crate::http::ConnectionManager;
use crate::sidecar::NetworkFilter;
use crate::tls::TransportSocket;
use crate::typed::{Empty, Extension, Seconds, Typed};

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Listener {
    name: String,
    address: Address,
    /// Without it a second Envoy started on the same port by mistake would get half of the connections.
    enable_reuse_port: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_connection_buffer_limit_bytes: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    listener_filters: Vec<Extension<Empty>>,
    filter_chains: Vec<FilterChain>,
}

#[derive(Clone, Debug, Serialize)]
struct FilterChain {
    #[serde(skip_serializing_if = "Option::is_none")]
    filter_chain_match: Option<ChainMatch>,
    filters: Vec<NetworkFilter>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transport_socket: Option<TransportSocket>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transport_socket_connect_timeout: Option<Seconds>,
}

/// Which connections a filter chain is for, by what their first bytes are.
#[derive(Clone, Debug, Serialize)]
struct ChainMatch {
    transport_protocol: &'static str,
}

impl Listener {
    /// For requests.
    pub(crate) fn new(
        name: &str,
        address: SocketAddr,
        manager: ConnectionManager,
        transport_socket: Option<TransportSocket>,
    ) -> Self {
        let chain = FilterChain::new(vec![NetworkFilter::http(manager)], transport_socket);
        Self::of(name, address, vec![chain])
    }

    /// For requests, TLS and plaintext on one port: `transport_socket` and `manager` are for connections that
    /// begin with a ClientHello, `plaintext` is for the others.
    pub(crate) fn permissive(
        name: &str,
        address: SocketAddr,
        manager: ConnectionManager,
        transport_socket: TransportSocket,
        plaintext: ConnectionManager,
    ) -> Self {
        let tls = FilterChain::new(vec![NetworkFilter::http(manager)], Some(transport_socket));
        let plaintext = FilterChain::new(vec![NetworkFilter::http(plaintext)], None);
        Self::by_first_bytes(name, address, tls, plaintext)
    }

    /// For connections, with TLS as `mode` says.
    pub(crate) fn tcp(
        name: &str,
        address: SocketAddr,
        filters: Vec<NetworkFilter>,
        transport_socket: TransportSocket,
        mode: MtlsMode,
    ) -> Self {
        match mode {
            MtlsMode::Strict => {
                let chain = FilterChain::new(filters, Some(transport_socket));
                Self::of(name, address, vec![chain])
            }
            MtlsMode::Permissive => {
                let tls = FilterChain::new(filters.clone(), Some(transport_socket));
                let plaintext = FilterChain::new(filters, None);
                Self::by_first_bytes(name, address, tls, plaintext)
            }
            MtlsMode::Disable => Self::plaintext_tcp(name, address, filters),
        }
    }

    /// For connections, without TLS.
    pub(crate) fn plaintext_tcp(
        name: &str,
        address: SocketAddr,
        filters: Vec<NetworkFilter>,
    ) -> Self {
        Self::of(name, address, vec![FilterChain::new(filters, None)])
    }

    /// With a bound on what is buffered of a connection in each direction.
    pub(crate) fn with_buffer_limit(mut self, bytes: u32) -> Self {
        self.per_connection_buffer_limit_bytes = Some(bytes);
        self
    }

    fn by_first_bytes(
        name: &str,
        address: SocketAddr,
        tls: FilterChain,
        plaintext: FilterChain,
    ) -> Self {
        let chains = vec![tls.matching("tls"), plaintext.matching("raw_buffer")];
        let mut listener = Self::of(name, address, chains);
        listener.listener_filters.push(Extension {
            name: "envoy.filters.listener.tls_inspector",
            typed_config: Typed::new(
                "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
                Empty {},
            ),
        });
        listener
    }

    fn of(name: &str, address: SocketAddr, filter_chains: Vec<FilterChain>) -> Self {
        Self {
            name: name.to_owned(),
            address: Address::tcp(address),
            enable_reuse_port: false,
            per_connection_buffer_limit_bytes: None,
            listener_filters: Vec::new(),
            filter_chains,
        }
    }
}

impl FilterChain {
    fn new(filters: Vec<NetworkFilter>, transport_socket: Option<TransportSocket>) -> Self {
        Self {
            filter_chain_match: None,
            filters,
            // A handshake that does not finish is ended.
            transport_socket_connect_timeout: transport_socket
                .is_some()
                .then_some(Seconds::whole(10)),
            transport_socket,
        }
    }

    fn matching(mut self, transport_protocol: &'static str) -> Self {
        self.filter_chain_match = Some(ChainMatch { transport_protocol });
        self
    }
}
