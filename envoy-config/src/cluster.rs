//! Clusters: the application behind a server, the agent, and the servers a client calls.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::address::{Address, Endpoint};
use crate::http::HttpFilter;
use crate::tls::TransportSocket;
use crate::typed::{Empty, Seconds, Typed};

/// The agent's HTTP side: the filter polls the deny list here. Plug-in configurations name it.
pub const AGENT_HTTP_CLUSTER: &str = "countersign_agent_http";
/// The agent's gRPC side: Envoy fetches keys, chains and roots here.
pub const AGENT_SDS_CLUSTER: &str = "countersign_agent_sds";
/// The application behind a server's Envoy.
pub const APP_CLUSTER: &str = "app";

/// HTTP version spoken to an application or to a server.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum HttpVersion {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    #[default]
    Http2,
}

impl HttpVersion {
    pub(crate) const fn alpn(self) -> &'static str {
        match self {
            Self::Http1 => "http/1.1",
            Self::Http2 => "h2",
        }
    }
}

/// Takes servers out of rotation that cannot be reached, among them those that hold the wrong certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OutlierDetection {
    /// Connect errors and 5xx in a row before a server is taken out; at least 1.
    pub consecutive_failures: u32,
    /// How long it stays out the first time; grows with each time.
    pub base_ejection: Duration,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Cluster {
    name: String,
    #[serde(rename = "type")]
    discovery: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dns_lookup_family: Option<&'static str>,
    connect_timeout: Seconds,
    load_assignment: LoadAssignment,
    #[serde(skip_serializing_if = "Option::is_none")]
    outlier_detection: Option<Outlier>,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_connection_buffer_limit_bytes: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    typed_extension_protocol_options: Option<ProtocolOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transport_socket: Option<TransportSocket>,
}

/// Shape of a cluster of servers.
#[derive(Debug)]
pub(crate) struct ClusterParts<'a> {
    pub(crate) name: &'a str,
    pub(crate) endpoints: &'a [Endpoint],
    pub(crate) connect_timeout: Duration,
    pub(crate) outlier: Option<OutlierDetection>,
    pub(crate) http: HttpOptions,
    pub(crate) transport_socket: Option<TransportSocket>,
}

/// Shape of a cluster that is not for HTTP.
#[derive(Debug)]
pub(crate) struct TcpClusterParts<'a> {
    pub(crate) name: &'a str,
    pub(crate) endpoints: &'a [Endpoint],
    pub(crate) connect_timeout: Duration,
    pub(crate) outlier: Option<OutlierDetection>,
    pub(crate) buffer_limit_bytes: u32,
    pub(crate) transport_socket: Option<TransportSocket>,
}

impl Cluster {
    pub(crate) fn new(parts: ClusterParts<'_>) -> Self {
        let by_name = parts
            .endpoints
            .iter()
            .any(|end| matches!(end, Endpoint::Dns { .. }));
        Self {
            name: parts.name.to_owned(),
            discovery: if by_name { "STRICT_DNS" } else { "STATIC" },
            dns_lookup_family: by_name.then_some("V4_PREFERRED"),
            connect_timeout: Seconds(parts.connect_timeout),
            load_assignment: LoadAssignment::new(
                parts.name,
                parts.endpoints.iter().map(Address::from),
            ),
            outlier_detection: parts.outlier.map(Outlier::from),
            per_connection_buffer_limit_bytes: None,
            typed_extension_protocol_options: Some(ProtocolOptions {
                http: parts.http.typed(),
            }),
            transport_socket: parts.transport_socket,
        }
    }

    /// Servers that speak something other than HTTP.
    pub(crate) fn tcp(parts: TcpClusterParts<'_>) -> Self {
        let http = Self::new(ClusterParts {
            name: parts.name,
            endpoints: parts.endpoints,
            connect_timeout: parts.connect_timeout,
            outlier: parts.outlier,
            http: HttpOptions::new(HttpVersion::Http1),
            transport_socket: parts.transport_socket,
        });
        Self {
            per_connection_buffer_limit_bytes: Some(parts.buffer_limit_bytes),
            typed_extension_protocol_options: None,
            ..http
        }
    }

    /// The application behind a TCP server.
    pub(crate) fn tcp_app(app: &Endpoint, buffer_limit_bytes: u32) -> Self {
        Self::tcp(TcpClusterParts {
            name: APP_CLUSTER,
            endpoints: std::slice::from_ref(app),
            connect_timeout: Duration::from_secs(2),
            outlier: None,
            buffer_limit_bytes,
            transport_socket: None,
        })
    }

    /// The application. Many servers close idle connections after 5 s; leaving first avoids the race
    /// between their close and our next request.
    pub(crate) fn app(app: &Endpoint, version: HttpVersion) -> Self {
        Self::new(ClusterParts {
            name: APP_CLUSTER,
            endpoints: std::slice::from_ref(app),
            connect_timeout: Duration::from_secs(2),
            outlier: None,
            http: HttpOptions::new(version).idle_timeout(Duration::from_secs(4)),
            transport_socket: None,
        })
    }

    /// The agent's Unix socket, for gRPC (SDS).
    pub(crate) fn agent_sds(socket: &Path) -> Self {
        Self::agent(AGENT_SDS_CLUSTER, socket, HttpVersion::Http2)
    }

    /// The agent's Unix socket, for plain HTTP (the deny list).
    pub(crate) fn agent_http(socket: &Path) -> Self {
        Self::agent(AGENT_HTTP_CLUSTER, socket, HttpVersion::Http1)
    }

    fn agent(name: &str, socket: &Path, version: HttpVersion) -> Self {
        Self::new(ClusterParts {
            name,
            endpoints: &[Endpoint::Unix(socket.to_owned())],
            connect_timeout: Duration::from_secs(1),
            outlier: None,
            http: HttpOptions::new(version),
            transport_socket: None,
        })
    }
}

#[derive(Clone, Debug, Serialize)]
struct LoadAssignment {
    cluster_name: String,
    endpoints: Vec<Locality>,
}

impl LoadAssignment {
    fn new(name: &str, addresses: impl Iterator<Item = Address>) -> Self {
        let lb_endpoints = addresses
            .map(|address| LbEndpoint {
                endpoint: HostAddress { address },
            })
            .collect();
        Self {
            cluster_name: name.to_owned(),
            endpoints: vec![Locality { lb_endpoints }],
        }
    }
}

#[derive(Clone, Debug, Serialize)]
struct Locality {
    lb_endpoints: Vec<LbEndpoint>,
}

#[derive(Clone, Debug, Serialize)]
struct LbEndpoint {
    endpoint: HostAddress,
}

#[derive(Clone, Debug, Serialize)]
struct HostAddress {
    address: Address,
}

#[derive(Clone, Debug, Serialize)]
struct Outlier {
    consecutive_5xx: u32,
    consecutive_gateway_failure: u32,
    enforcing_consecutive_gateway_failure: u32,
    interval: Seconds,
    base_ejection_time: Seconds,
    max_ejection_percent: u32,
}

impl From<OutlierDetection> for Outlier {
    fn from(outlier: OutlierDetection) -> Self {
        Self {
            consecutive_5xx: outlier.consecutive_failures,
            consecutive_gateway_failure: outlier.consecutive_failures,
            enforcing_consecutive_gateway_failure: 100,
            interval: Seconds::whole(1),
            base_ejection_time: Seconds(outlier.base_ejection),
            max_ejection_percent: 100,
        }
    }
}

#[derive(Clone, Debug, Serialize)]
struct ProtocolOptions {
    #[serde(rename = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions")]
    http: Typed<HttpOptions>,
}

const HTTP_OPTIONS_TYPE: &str =
    "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// `envoy.extensions.upstreams.http.v3.HttpProtocolOptions`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct HttpOptions {
    #[serde(skip_serializing_if = "Option::is_none")]
    common_http_protocol_options: Option<CommonOptions>,
    explicit_http_config: ExplicitHttp,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    http_filters: Vec<HttpFilter>,
}

#[derive(Clone, Debug, Default, Serialize)]
struct CommonOptions {
    #[serde(skip_serializing_if = "Option::is_none")]
    idle_timeout: Option<Seconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_connection_duration: Option<Seconds>,
}

#[derive(Clone, Debug, Serialize)]
enum ExplicitHttp {
    #[serde(rename = "http_protocol_options")]
    Http1(Empty),
    #[serde(rename = "http2_protocol_options")]
    Http2(Empty),
}

impl HttpOptions {
    pub(crate) const fn new(version: HttpVersion) -> Self {
        Self {
            common_http_protocol_options: None,
            explicit_http_config: match version {
                HttpVersion::Http1 => ExplicitHttp::Http1(Empty {}),
                HttpVersion::Http2 => ExplicitHttp::Http2(Empty {}),
            },
            http_filters: Vec::new(),
        }
    }

    pub(crate) fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.common_http_protocol_options
            .get_or_insert_default()
            .idle_timeout = Some(Seconds(timeout));
        self
    }

    pub(crate) fn max_connection_duration(mut self, age: Duration) -> Self {
        self.common_http_protocol_options
            .get_or_insert_default()
            .max_connection_duration = Some(Seconds(age));
        self
    }

    /// Upstream HTTP filters; the codec that has to end the chain is added here.
    pub(crate) fn filter(mut self, filter: HttpFilter) -> Self {
        self.http_filters = vec![filter, HttpFilter::upstream_codec()];
        self
    }

    pub(crate) const fn typed(self) -> Typed<Self> {
        Typed::new(HTTP_OPTIONS_TYPE, self)
    }
}
