//! The Envoy between an application and the servers it calls.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use policy::config::PluginConfig;

use super::checks::{Once, check_one_agent, check_outbound, check_rest};
use super::{Hold, Upstream, agent_clusters};
use crate::address::Admin;
use crate::age::ConnectionAge;
use crate::bootstrap::Bootstrap;
use crate::error::{Checks, Problem, SpecErrors};
use crate::http::{ConnectionManager, HttpFilter, RouteConfig};
use crate::listener::Listener;
use crate::plugin::with_clusters;
use crate::tls::TlsSource;
use crate::version::EnvoyVersion;
use crate::wasm::PluginName;

/// Our filter on the way out, for clusters with the hold.
#[derive(Clone, Debug)]
pub struct OutboundFilter {
    /// The built `.wasm` file.
    pub module: PathBuf,
    /// Its configuration: `direction` is outbound and `secure_naming` is present. The clusters of
    /// `secure_naming` are written from the upstreams with the hold; leave them empty.
    pub config: PluginConfig,
}

/// A client's Envoy: plain HTTP from the application, mutual TLS to servers.
#[derive(Clone, Debug)]
pub struct Client {
    /// Envoy's node id, which the agent sees.
    pub node_id: String,
    /// The Envoy this is for.
    pub envoy: EnvoyVersion,
    /// Where the application connects. Loopback only: whoever reaches it speaks with this identity.
    pub listen: SocketAddr,
    /// The servers, each with its own hosts.
    pub upstreams: Vec<Upstream>,
    /// The filter, needed by upstreams with the hold.
    pub filter: Option<OutboundFilter>,
    /// The agent's HTTP socket, polled for the deny list.
    pub agent_http: Option<PathBuf>,
    /// Administration interface.
    pub admin: Admin,
    /// JSON lines, one a request.
    pub access_log: Option<PathBuf>,
    /// Bound on the age of connections to servers.
    pub connection_age: ConnectionAge,
}

impl Client {
    /// A client with no filter, no administration interface and no log.
    #[must_use]
    pub fn new(node_id: &str, listen: SocketAddr, upstreams: Vec<Upstream>) -> Self {
        Self {
            node_id: node_id.to_owned(),
            envoy: EnvoyVersion::CURRENT,
            listen,
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
        let hold = self.hold_filter().transpose().unwrap_or_else(|problem| {
            checks.refuse("filter.config", problem);
            None
        });
        checks.done()?;

        let hosts = self.upstreams.iter().map(Upstream::virtual_host).collect();
        let manager = ConnectionManager::client(
            self.access_log.as_deref(),
            RouteConfig::new("outbound", hosts),
            vec![HttpFilter::router()],
        );
        let listener = Listener::new("outbound", self.listen, manager, None);
        let cluster = |upstream: &Upstream| {
            let hold = if upstream.hold == Hold::On {
                hold.clone()
            } else {
                None
            };
            upstream.cluster(self.connection_age, hold)
        };
        let mut clusters: Vec<_> = self.upstreams.iter().map(cluster).collect();
        clusters.extend(agent_clusters(
            self.sds_socket(),
            self.agent_http.as_deref(),
        ));
        Ok(Bootstrap::new(
            &self.node_id,
            &self.admin,
            listener,
            clusters,
        ))
    }

    fn sds_socket(&self) -> Option<&Path> {
        let sources = self.upstreams.iter().filter_map(Upstream::tls_source);
        sources.filter_map(TlsSource::sds_socket).next()
    }

    /// The filter with secure naming as the upstreams have it: the two locks cannot disagree.
    fn hold_filter(&self) -> Option<Result<HttpFilter, Problem>> {
        let filter = self.filter.as_ref()?;
        let config = self.named(&filter.config);
        let id = PluginName::new("countersign-outbound", &config, self.listen);
        Some(HttpFilter::wasm(id, &filter.module, &config))
    }

    fn named(&self, config: &PluginConfig) -> PluginConfig {
        let held = self
            .upstreams
            .iter()
            .filter(|upstream| upstream.hold == Hold::On);
        with_clusters(
            config,
            held.map(|upstream| (upstream.name.clone(), &upstream.allowed)),
        )
    }

    fn check(&self, checks: &mut Checks) {
        checks.not_empty("nodeId", &self.node_id);
        if self.listen.port() == 0 {
            checks.refuse("listen", Problem::NoPort);
        }
        if !self.listen.ip().is_loopback() {
            checks.refuse(
                "listen",
                Problem::NotLoopback {
                    address: self.listen,
                },
            );
        }
        if self.upstreams.is_empty() {
            checks.refuse("upstreams", Problem::Empty);
        }
        self.check_unique(checks);
        for (index, upstream) in self.upstreams.iter().enumerate() {
            upstream.check(
                &format!("upstreams[{index}]"),
                self.filter.is_some(),
                checks,
            );
        }
        check_one_agent(self.upstreams.iter().map(Upstream::tls_source), checks);
        self.check_filter(checks);
        let (agent, log) = (self.agent_http.as_deref(), self.access_log.as_deref());
        check_rest(agent, &self.admin, log, self.connection_age, checks);
    }

    fn check_unique(&self, checks: &mut Checks) {
        let mut once = Once::default();
        for (index, upstream) in self.upstreams.iter().enumerate() {
            let path = format!("upstreams[{index}]");
            once.check(
                "name",
                upstream.name.clone(),
                format!("{path}.name"),
                checks,
            );
            for (at, host) in upstream.hosts.iter().enumerate() {
                let path = format!("{path}.hosts[{at}]");
                once.check("host", host.to_ascii_lowercase(), path, checks);
            }
        }
    }

    fn check_filter(&self, checks: &mut Checks) {
        let Some(filter) = &self.filter else { return };
        let told = self.named(&filter.config);
        let held = self.upstreams.iter().any(|up| up.hold == Hold::On);
        let agent = self.agent_http.as_deref();
        check_outbound(filter, &told, agent, held, checks);
    }
}
