//! The servers that key sets are fetched from.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use policy::request_authentication::JwtRule;

use crate::address::{Endpoint, is_host_name};
use crate::cluster::{Cluster, ClusterParts, HttpOptions, HttpVersion};
use crate::error::{Checks, Problem};
use crate::tls::TransportSocket;

/// A server of keys; rules that name the same one share a cluster.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct KeyServer {
    tls: bool,
    /// Name or address, without brackets.
    host: String,
    /// 0 where something else is written than a port.
    port: u16,
}

impl KeyServer {
    /// `None` for a rule whose keys are in place.
    pub(super) fn of(rule: &JwtRule) -> Option<Self> {
        let (tls, authority) = rule.jwks_address()?;
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().unwrap_or_default()),
            _ => (authority, if tls { 443 } else { 80 }),
        };
        let bracketed = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        Some(Self {
            tls,
            host: bracketed.unwrap_or(host).to_ascii_lowercase(),
            port,
        })
    }

    /// Whether it can be an address at all; another port than the one that is written is not asked in its place.
    pub(super) fn check(&self, rule: &JwtRule, checks: &mut Checks) {
        let expected = if self.port == 0 {
            "a jwksUri whose port is from 1 to 65535"
        } else if !is_host_name(&self.host) && self.host.parse::<IpAddr>().is_err() {
            "a jwksUri whose host is a name or an IP address"
        } else {
            return;
        };
        let value = rule.jwks_uri.clone().unwrap_or_default();
        let problem = Problem::BadText { value, expected };
        checks.refuse("filter.config.policies", problem);
    }

    /// That nothing verifies it.
    pub(super) fn without_roots(&self) -> Problem {
        Problem::Contradicts {
            other: format!("a jwksUri of https://{}:{}", self.host, self.port),
            why: "without roots that server could not be told from any other",
        }
    }

    /// A colon would change the name of Envoy's statistics.
    pub(super) fn cluster_name(&self) -> String {
        format!("jwks|{}|{}", self.port, self.host.replace(':', "_"))
    }

    /// `None` where TLS is asked for and there is nothing to verify the server with.
    pub(super) fn cluster(&self, roots: Option<&Path>) -> Option<Cluster> {
        let transport_socket = match (self.tls, roots) {
            (false, _) => None,
            (true, Some(roots)) => Some(TransportSocket::web_client(roots, &self.host)),
            (true, None) => return None,
        };
        let endpoint = match self.host.parse::<IpAddr>() {
            Ok(ip) => Endpoint::Ip((ip, self.port).into()),
            Err(_) => Endpoint::Dns {
                name: self.host.clone(),
                port: self.port,
            },
        };
        Some(Cluster::new(ClusterParts {
            name: &self.cluster_name(),
            endpoints: &[endpoint],
            connect_timeout: Duration::from_secs(5),
            outlier: None,
            http: HttpOptions::new(HttpVersion::Http1),
            transport_socket,
        }))
    }
}
