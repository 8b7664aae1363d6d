//! Where providers are, and who may answer as one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use identity::SpiffeId;
use policy::request_authentication::parse_duration;

use crate::address::Endpoint;
use crate::cluster::{Cluster, ClusterParts, HttpOptions, HttpVersion};
use crate::tls::{TlsSource, TransportSocket};

use super::provider::{ExtensionProvider, ExternalAuthorizationGrpc, ExternalAuthorizationHttp};

/// istiod's limit for an answer where MeshConfig has none.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);

/// The providers of a proxy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Providers<'a> {
    pub(crate) list: &'a [ExtensionProvider],
    /// Provider → who may answer as it, by mutual TLS.
    pub(crate) identities: &'a BTreeMap<String, BTreeSet<SpiffeId>>,
    /// The proxy's own key, chain and roots.
    pub(crate) tls: &'a TlsSource,
}

/// A provider by the way it is asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Service<'a> {
    Http(&'a ExternalAuthorizationHttp),
    Grpc(&'a ExternalAuthorizationGrpc),
}

impl<'a> Providers<'a> {
    /// `None` also for one that is neither HTTP nor gRPC, which [`Providers::check`] refuses.
    pub(super) fn find(&self, name: &str) -> Option<Service<'a>> {
        let provider = self.list.iter().find(|provider| provider.name == name)?;
        Service::of(provider)
    }

    /// Whether it is one that can be asked about connections.
    pub(crate) fn is_grpc(&self, name: &str) -> bool {
        matches!(self.find(name), Some(Service::Grpc(_)))
    }

    pub(super) fn cluster(&self, name: &str, service: &Service<'_>) -> Cluster {
        let version = match service {
            Service::Http(_) => HttpVersion::Http1,
            Service::Grpc(_) => HttpVersion::Http2,
        };
        let transport_socket = self
            .identities
            .get(name)
            .map(|allowed| TransportSocket::client(self.tls, Some(allowed), None, version.alpn()));
        Cluster::new(ClusterParts {
            name: &service.cluster_name(),
            endpoints: &[service.endpoint()],
            connect_timeout: Duration::from_secs(2),
            outlier: None,
            http: HttpOptions::new(version),
            transport_socket,
        })
    }
}

impl<'a> Service<'a> {
    pub(super) fn of(provider: &'a ExtensionProvider) -> Option<Self> {
        match (
            &provider.envoy_ext_authz_http,
            &provider.envoy_ext_authz_grpc,
        ) {
            (Some(http), None) => Some(Self::Http(http)),
            (None, Some(grpc)) => Some(Self::Grpc(grpc)),
            _ => None,
        }
    }

    pub(super) fn port(&self) -> u16 {
        match self {
            Self::Http(http) => http.port,
            Self::Grpc(grpc) => grpc.port,
        }
    }

    pub(super) fn host(&self) -> &'a str {
        let service = match self {
            Self::Http(http) => &http.service,
            Self::Grpc(grpc) => &grpc.service,
        };
        service.split_once('/').map_or(service, |(_, host)| host)
    }

    /// Whether only processes of this machine can answer.
    pub(super) fn is_loopback(&self) -> bool {
        match self.host().parse::<IpAddr>() {
            Ok(ip) => ip.is_loopback(),
            Err(_) => self.host() == "localhost",
        }
    }

    pub(super) fn written_timeout(&self) -> Option<&'a str> {
        match self {
            Self::Http(http) => http.timeout.as_deref(),
            Self::Grpc(grpc) => grpc.timeout.as_deref(),
        }
    }

    pub(super) fn timeout(&self) -> Duration {
        self.written_timeout()
            .and_then(parse_duration)
            .unwrap_or(DEFAULT_TIMEOUT)
    }

    pub(super) fn status_on_error(&self) -> Option<&'a str> {
        match self {
            Self::Http(http) => http.status_on_error.as_deref(),
            Self::Grpc(grpc) => grpc.status_on_error.as_deref(),
        }
    }

    /// istiod's name of the cluster.
    pub(super) fn cluster_name(&self) -> String {
        format!(
            "outbound|{}||{}",
            self.port(),
            self.host().replace(':', "_")
        )
    }

    fn endpoint(&self) -> Endpoint {
        match self.host().parse::<IpAddr>() {
            Ok(ip) => Endpoint::Ip((ip, self.port()).into()),
            Err(_) => Endpoint::Dns {
                name: self.host().to_owned(),
                port: self.port(),
            },
        }
    }
}
