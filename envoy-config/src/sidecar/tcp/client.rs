//! The Envoy between an application and the TCP servers it calls.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use identity::SpiffeId;
use policy::config::PluginConfig;

use super::filters::Connect;
use super::server::check_protocol;
use super::{BUFFER_LIMIT_BYTES, NetworkFilter};
use crate::access_log::Side;
use crate::address::{Admin, Endpoint};
use crate::age::ConnectionAge;
use crate::bootstrap::Bootstrap;
use crate::cluster::{Cluster, OutlierDetection, TcpClusterParts};
use crate::error::{Checks, HoldRule, Problem, SpecErrors};
use crate::listener::Listener;
use crate::plugin::with_clusters;
use crate::sidecar::checks::{Once, check_one_agent, check_outbound, check_rest};
use crate::sidecar::upstream::{check_cluster_name, check_endpoint};
use crate::sidecar::{Hold, OutboundFilter, SanMatchers, agent_clusters};
use crate::tls::{TlsSource, TransportSocket};
use crate::version::EnvoyVersion;
use crate::wasm::PluginName;

/// TCP servers that share a set of identities, and where the application connects to reach them.
#[derive(Clone, Debug)]
pub struct TcpUpstream {
    /// Cluster name, which statistics and the filter's decision records show.
    pub name: String,
    /// Where the application connects. Loopback only: whoever reaches it speaks with this identity.
    pub listen: SocketAddr,
    /// The servers.
    pub endpoints: Vec<Endpoint>,
    /// Who they may be. Never empty.
    pub allowed: BTreeSet<SpiffeId>,
    /// Our own key and chain, and the roots.
    pub tls: TlsSource,
    /// Server name to ask for.
    pub sni: Option<String>,
    /// Whether a wrong server is refused in the handshake. Off only in tests of the other lock.
    pub san_matchers: SanMatchers,
    /// Whether the filter looks at the server's certificate before the first byte goes either way.
    pub hold: Hold,
    /// How long a connection, handshake included, may take.
    pub connect_timeout: Duration,
    /// Takes servers out of rotation that cannot be reached.
    pub outlier_detection: Option<OutlierDetection>,
}

impl TcpUpstream {
    /// One server, both locks on.
    #[must_use]
    pub fn new(
        name: &str,
        listen: SocketAddr,
        endpoint: Endpoint,
        allowed: BTreeSet<SpiffeId>,
        tls: TlsSource,
    ) -> Self {
        Self {
            name: name.to_owned(),
            listen,
            endpoints: vec![endpoint],
            allowed,
            tls,
            sni: None,
            san_matchers: SanMatchers::On,
            hold: Hold::On,
            connect_timeout: Duration::from_secs(5),
            outlier_detection: None,
        }
    }

    fn cluster(&self) -> Cluster {
        let allowed = (self.san_matchers == SanMatchers::On).then_some(&self.allowed);
        Cluster::tcp(TcpClusterParts {
            name: &self.name,
            endpoints: &self.endpoints,
            connect_timeout: self.connect_timeout,
            outlier: self.outlier_detection,
            buffer_limit_bytes: BUFFER_LIMIT_BYTES,
            transport_socket: Some(TransportSocket::tcp_client(
                &self.tls,
                allowed,
                self.sni.as_deref(),
            )),
        })
    }

    fn check(&self, path: &str, filter_present: bool, checks: &mut Checks) {
        check_cluster_name(&format!("{path}.name"), &self.name, checks);
        if self.listen.port() == 0 {
            checks.refuse(format!("{path}.listen"), Problem::NoPort);
        }
        if !self.listen.ip().is_loopback() {
            let address = self.listen;
            checks.refuse(format!("{path}.listen"), Problem::NotLoopback { address });
        }
        if self.endpoints.is_empty() {
            checks.refuse(format!("{path}.endpoints"), Problem::Empty);
        }
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            let path = format!("{path}.endpoints[{index}]");
            check_endpoint(&path, endpoint, checks);
        }
        if self.allowed.is_empty() {
            checks.refuse(format!("{path}.allowed"), Problem::NoIdentity);
        }
        self.tls.check(&format!("{path}.tls"), checks);
        checks.range(
            &format!("{path}.connectTimeout"),
            self.connect_timeout,
            Duration::from_millis(1),
            Duration::from_secs(60),
        );
        if self
            .outlier_detection
            .is_some_and(|outlier| outlier.consecutive_failures == 0)
        {
            let path = format!("{path}.outlierDetection.consecutiveFailures");
            checks.refuse(path, Problem::Empty);
        }
        if self.hold == Hold::On && !filter_present {
            let rule = HoldRule::NeedsFilter;
            checks.refuse(format!("{path}.hold"), Problem::Hold { rule });
        }
    }
}

/// A client's Envoy: plain TCP from the application, mutual TLS to servers.
///
/// Envoy connects to the server before it reads a byte of the client, and our filter, where it is used, looks
/// at the server's certificate before that byte goes on, as well as before the server's first byte does.
#[derive(Clone, Debug)]
pub struct TcpClient {
    /// Envoy's node id, which the agent sees.
    pub node_id: String,
    /// The Envoy this is for.
    pub envoy: EnvoyVersion,
    /// The servers, each with a listener of its own.
    pub upstreams: Vec<TcpUpstream>,
    /// The filter, needed by upstreams with the hold. Its configuration has `protocol: tcp`.
    pub filter: Option<OutboundFilter>,
    /// The agent's HTTP socket, polled for the deny list.
    pub agent_http: Option<PathBuf>,
    /// Administration interface.
    pub admin: Admin,
    /// JSON lines, one a connection.
    pub access_log: Option<PathBuf>,
    /// Bound on the age of connections. Unlike requests, connections are cut when they reach it.
    pub connection_age: ConnectionAge,
}

impl TcpClient {
    /// A client with no filter, no administration interface and no log.
    #[must_use]
    pub fn new(node_id: &str, upstreams: Vec<TcpUpstream>) -> Self {
        Self {
            node_id: node_id.to_owned(),
            envoy: EnvoyVersion::CURRENT,
            upstreams,
            filter: None,
            agent_http: None,
            admin: Admin::None,
            access_log: None,
            connection_age: ConnectionAge::default(),
        }
    }

    /// Checks the spec and builds the bootstrap.
    ///
    /// Not checked: whether files exist.
    ///
    /// # Errors
    /// Everything wrong with the spec, each with its field path.
    pub fn bootstrap(&self) -> Result<Bootstrap, SpecErrors> {
        let mut checks = Checks::default();
        self.check(&mut checks);
        let filter = self.wasm().unwrap_or_else(|problem| {
            checks.refuse("filter.config", problem);
            None
        });
        checks.done()?;

        let listener = |upstream: &TcpUpstream| {
            let mut filters = Vec::new();
            if upstream.hold == Hold::On {
                filters.extend(filter.clone());
            }
            let log = self.access_log.as_deref().map(|path| (path, Side::Client));
            filters.push(NetworkFilter::tcp_proxy(
                &upstream.name,
                &upstream.name,
                Connect::AtOnce,
                self.connection_age,
                log,
            ));
            Listener::plaintext_tcp(&upstream.name, upstream.listen, filters)
                .with_buffer_limit(BUFFER_LIMIT_BYTES)
        };
        let mut clusters: Vec<_> = self.upstreams.iter().map(TcpUpstream::cluster).collect();
        let sds = self.upstreams.iter().find_map(|up| up.tls.sds_socket());
        clusters.extend(agent_clusters(sds, self.agent_http.as_deref()));
        Ok(Bootstrap::with_listeners(
            &self.node_id,
            &self.admin,
            self.upstreams.iter().map(listener).collect(),
            clusters,
        ))
    }

    /// The filter with secure naming as the upstreams have it: the two locks cannot disagree.
    fn wasm(&self) -> Result<Option<NetworkFilter>, Problem> {
        let filter = self.filter.as_ref().map(|filter| {
            let config = self.named(&filter.config);
            // One configuration for all listeners, whichever there are.
            let id = PluginName::new("countersign-outbound-tcp", &config, &self.node_id);
            NetworkFilter::wasm(id, &filter.module, &config)
        });
        filter.transpose()
    }

    fn named(&self, config: &PluginConfig) -> PluginConfig {
        let held = self.upstreams.iter().filter(|up| up.hold == Hold::On);
        with_clusters(config, held.map(|up| (up.name.clone(), &up.allowed)))
    }

    fn check(&self, checks: &mut Checks) {
        checks.not_empty("nodeId", &self.node_id);
        if self.upstreams.is_empty() {
            checks.refuse("upstreams", Problem::Empty);
        }
        self.check_unique(checks);
        for (index, upstream) in self.upstreams.iter().enumerate() {
            let path = format!("upstreams[{index}]");
            upstream.check(&path, self.filter.is_some(), checks);
        }
        self.check_filter(checks);
        let (agent, log) = (self.agent_http.as_deref(), self.access_log.as_deref());
        check_rest(agent, &self.admin, log, self.connection_age, checks);
    }

    fn check_unique(&self, checks: &mut Checks) {
        let mut once = Once::default();
        for (index, upstream) in self.upstreams.iter().enumerate() {
            let path = |field: &str| format!("upstreams[{index}].{field}");
            once.check("name", upstream.name.clone(), path("name"), checks);
            let listen = upstream.listen.to_string();
            once.check("listen", listen, path("listen"), checks);
        }
        check_one_agent(self.upstreams.iter().map(|up| Some(&up.tls)), checks);
    }

    fn check_filter(&self, checks: &mut Checks) {
        let Some(filter) = &self.filter else { return };
        let told = self.named(&filter.config);
        let held = self.upstreams.iter().any(|up| up.hold == Hold::On);
        let agent = self.agent_http.as_deref();
        check_outbound(filter, &told, agent, held, checks);
        check_protocol("filter.config", &told, checks);
    }
}
