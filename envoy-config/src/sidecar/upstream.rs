//! A server that a client calls, by the identities that may answer for it.

use std::collections::BTreeSet;
use std::time::Duration;

use identity::SpiffeId;

use super::{HttpVersion, OutlierDetection};
use crate::address::{Endpoint, is_host_name};
use crate::age::ConnectionAge;
use crate::cluster::{AGENT_HTTP_CLUSTER, AGENT_SDS_CLUSTER, Cluster, ClusterParts, HttpOptions};
use crate::error::{Checks, HoldRule, MIN_PER_TRY_TIMEOUT, Problem};
use crate::http::{HedgePolicy, HttpFilter, RouteAction, RouteRetry, VirtualHost};
use crate::tls::{TlsSource, TransportSocket};
use crate::typed::Seconds;

/// How a client's Envoy reaches a server.
#[derive(Clone, Debug)]
pub enum UpstreamTls {
    /// Mutual TLS with this key, chain and roots.
    Mutual(TlsSource),
    /// Without TLS: no identity at either end. For tests, and only with both locks off.
    Plaintext,
}

/// The first lock: Envoy finishes a handshake only with an allowed SPIFFE ID.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum SanMatchers {
    /// One exact URI SAN matcher for each allowed SPIFFE ID.
    #[default]
    On,
    /// For tests of the second lock alone.
    Off,
}

/// The second lock: the filter holds a request until the server's identity is known and allowed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Hold {
    /// Requests are held.
    On,
    /// They are not.
    #[default]
    Off,
}

/// Whether a slow try is left running beside its retry.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Hedge {
    /// A try that timed out is cancelled.
    #[default]
    Never,
    /// It goes on; refused together with the hold.
    OnPerTryTimeout,
}

/// Retries by Envoy. There are none unless asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Retry {
    /// Envoy's conditions, such as `connect-failure` and `5xx`.
    pub on: Vec<String>,
    /// Tries after the first; at least 1.
    pub attempts: u32,
    /// Limit of each try; with the hold at least 20 ms.
    pub per_try_timeout: Option<Duration>,
    /// Hedging.
    pub hedge: Hedge,
}

/// A server that the application behind this client calls.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Envoy's cluster name; the filter's secure naming is by this name.
    pub name: String,
    /// Values of `:authority` (port ignored) that mean this server; `*` for all others.
    pub hosts: Vec<String>,
    /// Its addresses, all of one kind: IP addresses and Unix sockets, or names.
    pub endpoints: Vec<Endpoint>,
    /// Who may answer. Empty is an error: it would deny everything.
    pub allowed: BTreeSet<SpiffeId>,
    /// Mutual TLS or nothing.
    pub tls: UpstreamTls,
    /// Server name indication; the SPIFFE ID is what is checked, never this name.
    pub sni: Option<String>,
    /// HTTP version.
    pub version: HttpVersion,
    /// First lock.
    pub san_matchers: SanMatchers,
    /// Second lock.
    pub hold: Hold,
    /// Limit of a connection attempt including the TLS handshake.
    pub connect_timeout: Duration,
    /// Limit of a whole request, `None` for none.
    pub request_timeout: Option<Duration>,
    /// Retries.
    pub retry: Option<Retry>,
    /// Taking failing addresses out.
    pub outlier_detection: Option<OutlierDetection>,
}

impl Upstream {
    /// Mutual TLS over HTTP/2 to one address, matchers on, hold off, no retries; every host means it.
    #[must_use]
    pub fn new(
        name: &str,
        endpoint: Endpoint,
        allowed: BTreeSet<SpiffeId>,
        tls: TlsSource,
    ) -> Self {
        Self {
            name: name.to_owned(),
            hosts: vec!["*".to_owned()],
            endpoints: vec![endpoint],
            allowed,
            tls: UpstreamTls::Mutual(tls),
            sni: None,
            version: HttpVersion::Http2,
            san_matchers: SanMatchers::On,
            hold: Hold::Off,
            connect_timeout: Duration::from_secs(2),
            request_timeout: None,
            retry: None,
            outlier_detection: None,
        }
    }

    /// The agent's socket for this server's secrets.
    pub(super) fn tls_source(&self) -> Option<&TlsSource> {
        match &self.tls {
            UpstreamTls::Mutual(source) => Some(source),
            UpstreamTls::Plaintext => None,
        }
    }

    pub(super) fn cluster(&self, age: ConnectionAge, hold: Option<HttpFilter>) -> Cluster {
        let mut http = HttpOptions::new(self.version);
        if let Some(filter) = hold {
            http = http.filter(filter);
        }
        let transport_socket = self.tls_source().map(|source| {
            let allowed = (self.san_matchers == SanMatchers::On).then_some(&self.allowed);
            TransportSocket::client(source, allowed, self.sni.as_deref(), self.version.alpn())
        });
        Cluster::new(ClusterParts {
            name: &self.name,
            endpoints: &self.endpoints,
            connect_timeout: self.connect_timeout,
            outlier: self.outlier_detection,
            http: http.max_connection_duration(age.client()),
            transport_socket,
        })
    }

    pub(super) fn virtual_host(&self) -> VirtualHost {
        let retry = self.retry.as_ref();
        let action = RouteAction {
            cluster: self.name.clone(),
            timeout: self.request_timeout.map_or(Seconds::whole(0), Seconds),
            retry_policy: retry.map(|retry| RouteRetry {
                retry_on: retry.on.join(","),
                num_retries: retry.attempts,
                per_try_timeout: retry.per_try_timeout.map(Seconds),
            }),
            hedge_policy: retry
                .filter(|retry| retry.hedge == Hedge::OnPerTryTimeout)
                .map(|_| HedgePolicy {
                    hedge_on_per_try_timeout: true,
                }),
        };
        VirtualHost::new(&self.name, self.hosts.clone(), action)
    }

    pub(super) fn check(&self, path: &str, filter_present: bool, checks: &mut Checks) {
        self.check_name(path, checks);
        if self.hosts.is_empty() {
            checks.refuse(format!("{path}.hosts"), Problem::Empty);
        }
        for (index, host) in self.hosts.iter().enumerate() {
            check_host(&format!("{path}.hosts[{index}]"), host, checks);
        }
        if self.endpoints.is_empty() {
            checks.refuse(format!("{path}.endpoints"), Problem::Empty);
        }
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            check_endpoint(&format!("{path}.endpoints[{index}]"), endpoint, checks);
        }
        if self.allowed.is_empty() {
            checks.refuse(format!("{path}.allowed"), Problem::NoIdentity);
        }
        match &self.tls {
            UpstreamTls::Mutual(source) => source.check(&format!("{path}.tls"), checks),
            UpstreamTls::Plaintext if self.san_matchers == SanMatchers::On => checks.refuse(
                format!("{path}.sanMatchers"),
                Problem::Contradicts {
                    other: format!("{path}.tls"),
                    why: "without TLS there is no certificate to match",
                },
            ),
            UpstreamTls::Plaintext => {}
        }
        let longest = Duration::from_secs(24 * 3600);
        let path_of = |field: &str| format!("{path}.{field}");
        checks.range(
            &path_of("connectTimeout"),
            self.connect_timeout,
            Duration::from_millis(1),
            Duration::from_secs(60),
        );
        if let Some(timeout) = self.request_timeout {
            checks.range(
                &path_of("requestTimeout"),
                timeout,
                Duration::from_millis(1),
                longest,
            );
        }
        if self
            .outlier_detection
            .is_some_and(|outlier| outlier.consecutive_failures == 0)
        {
            checks.refuse(
                path_of("outlierDetection.consecutiveFailures"),
                Problem::Empty,
            );
        }
        self.check_retry(path, checks);
        self.check_hold(path, filter_present, checks);
    }

    fn check_name(&self, path: &str, checks: &mut Checks) {
        check_cluster_name(&format!("{path}.name"), &self.name, checks);
    }

    fn check_retry(&self, path: &str, checks: &mut Checks) {
        let Some(retry) = &self.retry else { return };
        if retry.on.is_empty() {
            checks.refuse(format!("{path}.retry.on"), Problem::Empty);
        }
        for (index, condition) in retry.on.iter().enumerate() {
            let plain =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            if condition.is_empty() || !condition.bytes().all(plain) {
                checks.refuse(
                    format!("{path}.retry.on[{index}]"),
                    Problem::BadText {
                        value: condition.clone(),
                        expected: "an Envoy retry condition such as connect-failure",
                    },
                );
            }
        }
        if retry.attempts == 0 {
            checks.refuse(format!("{path}.retry.attempts"), Problem::Empty);
        }
        if retry.hedge == Hedge::OnPerTryTimeout && retry.per_try_timeout.is_none() {
            checks.refuse(
                format!("{path}.retry.hedge"),
                Problem::Contradicts {
                    other: format!("{path}.retry.perTryTimeout"),
                    why: "there is no per-try timeout to hedge on",
                },
            );
        }
    }

    fn check_hold(&self, path: &str, filter_present: bool, checks: &mut Checks) {
        if self.hold == Hold::Off {
            return;
        }
        let mut broken = |field: &str, rule| {
            checks.refuse(format!("{path}.{field}"), Problem::Hold { rule });
        };
        if !filter_present {
            broken("hold", HoldRule::NeedsFilter);
        }
        if matches!(self.tls, UpstreamTls::Plaintext) {
            broken("tls", HoldRule::NeedsTls);
        }
        let Some(retry) = &self.retry else { return };
        if retry.hedge == Hedge::OnPerTryTimeout {
            broken("retry.hedge", HoldRule::NoHedging);
        }
        if retry
            .per_try_timeout
            .is_some_and(|timeout| timeout < MIN_PER_TRY_TIMEOUT)
        {
            broken("retry.perTryTimeout", HoldRule::PerTryTimeout);
        }
    }
}

/// A cluster's name: not taken, and one that statistics can show.
pub(super) fn check_cluster_name(path: &str, name: &str, checks: &mut Checks) {
    checks.not_empty(path, name);
    // These names are taken, and a colon changes the name of Envoy's statistics.
    let reserved = [AGENT_HTTP_CLUSTER, AGENT_SDS_CLUSTER].contains(&name);
    if reserved
        || name
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || c == ':')
    {
        checks.refuse(
            path,
            Problem::BadText {
                value: name.to_owned(),
                expected: "a cluster name without spaces and colons, not one of the agent's",
            },
        );
    }
}

pub(super) fn check_endpoint(path: &str, endpoint: &Endpoint, checks: &mut Checks) {
    match endpoint {
        Endpoint::Ip(address) if address.port() == 0 => checks.refuse(path, Problem::NoPort),
        Endpoint::Dns { port: 0, .. } => checks.refuse(path, Problem::NoPort),
        Endpoint::Dns { name, .. } if !is_host_name(name) => checks.refuse(
            path,
            Problem::BadText {
                value: name.clone(),
                expected: "a host name",
            },
        ),
        Endpoint::Unix(socket) => checks.socket_path(path, socket),
        Endpoint::Ip(_) | Endpoint::Dns { .. } => {}
    }
}

/// A virtual host's domain: `*`, `*.suffix`, or a host without port.
fn check_host(path: &str, host: &str, checks: &mut Checks) {
    let name = host.strip_prefix("*.").unwrap_or(host);
    let address = name.trim_start_matches('[').trim_end_matches(']');
    if host != "*" && !is_host_name(name) && address.parse::<std::net::IpAddr>().is_err() {
        checks.refuse(
            path,
            Problem::BadText {
                value: host.to_owned(),
                expected: "a host without port, *.SUFFIX or *",
            },
        );
    }
}
