//! Listeners.

use std::net::SocketAddr;

use serde::Serialize;

use crate::address::Address;
use crate::http::ConnectionManager;
use crate::tls::TransportSocket;
use crate::typed::{Extension, Seconds, Typed};

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Listener {
    name: &'static str,
    address: Address,
    /// Without it a second Envoy started on the same port by mistake would get half of the connections.
    enable_reuse_port: bool,
    filter_chains: Vec<FilterChain>,
}

#[derive(Clone, Debug, Serialize)]
struct FilterChain {
    filters: Vec<Extension<ConnectionManager>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transport_socket: Option<TransportSocket>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transport_socket_connect_timeout: Option<Seconds>,
}

impl Listener {
    pub(crate) fn new(
        name: &'static str,
        address: SocketAddr,
        manager: ConnectionManager,
        transport_socket: Option<TransportSocket>,
    ) -> Self {
        Self {
            name,
            address: Address::tcp(address),
            enable_reuse_port: false,
            filter_chains: vec![FilterChain {
                filters: vec![Extension {
                    name: "envoy.filters.network.http_connection_manager",
                    typed_config: Typed::new(
                        "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                        manager,
                    ),
                }],
                // A handshake that does not finish is ended.
                transport_socket_connect_timeout: transport_socket
                    .is_some()
                    .then_some(Seconds::whole(10)),
                transport_socket,
            }],
        }
    }
}
