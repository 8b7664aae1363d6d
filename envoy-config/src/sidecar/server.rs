//! The Envoy in front of a server.

use std::net::SocketAddr;
use std::path::PathBuf;

use policy::MtlsMode;
use policy::config::PluginConfig;

use super::checks::{check_places, check_rest};
use super::inbound::{self, Inbound};
use super::{HttpVersion, MeshSettings, PathNormalization, agent_clusters};
use crate::address::{Admin, Endpoint};
use crate::age::ConnectionAge;
use crate::bootstrap::Bootstrap;
use crate::cluster::{APP_CLUSTER, Cluster};
use crate::error::{Checks, Problem, SpecErrors};
use crate::http::{ConnectionManager, HttpFilter, RouteAction, RouteConfig, VirtualHost};
use crate::listener::Listener;
use crate::tls::{ClientSans, TlsSource, TransportSocket};
use crate::typed::Seconds;
use crate::version::EnvoyVersion;
use crate::wasm::PluginName;

/// What decides about requests that a server's Envoy receives.
#[derive(Clone, Debug)]
pub enum InboundFilter {
    /// Nothing beyond mutual TLS.
    None,
    /// Envoy's own RBAC filter with these rules (`envoy.config.rbac.v3.RBAC`), to compare with.
    NativeRbac {
        /// The rules, as Envoy's JSON form has them.
        rules: serde_json::Value,
    },
    /// Our filter.
    Wasm {
        /// The built `.wasm` file.
        module: PathBuf,
        /// Its configuration; `direction` is inbound.
        config: Box<PluginConfig>,
    },
}

/// Whether the peer's certificate is also put into filter state, for Envoys without an attribute for it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum FilterStateRoute {
    /// When the Envoy is older than 1.39.
    #[default]
    WhenNeeded,
    /// Always.
    Always,
}

/// A server's Envoy: mutual TLS from the network, plain HTTP to the application.
#[derive(Clone, Debug)]
pub struct Server {
    /// Envoy's node id, which the agent sees.
    pub node_id: String,
    /// The Envoy this is for.
    pub envoy: EnvoyVersion,
    /// Where mutual TLS is accepted.
    pub listen: SocketAddr,
    /// The application.
    pub app: Endpoint,
    /// What the application speaks.
    pub app_version: HttpVersion,
    /// Key, chain and roots.
    pub tls: TlsSource,
    /// Who may finish a handshake.
    pub clients: ClientSans,
    /// What decides about requests.
    pub filter: InboundFilter,
    /// How the filter gets the peer's certificate.
    pub filter_state_route: FilterStateRoute,
    /// The agent's HTTP socket, polled for the deny list.
    pub agent_http: Option<PathBuf>,
    /// Administration interface.
    pub admin: Admin,
    /// JSON lines, one a request.
    pub access_log: Option<PathBuf>,
    /// Bound on the age of connections.
    pub connection_age: ConnectionAge,
    /// What the resources in the filter's configuration refer to.
    pub mesh: MeshSettings,
    /// Path normalisation. `None` takes what the plug-in configuration declares, or without our filter the
    /// strictest; a mode given here must not differ from what the plug-in configuration declares.
    pub path_normalization: Option<PathNormalization>,
}

impl Server {
    /// A server with no filter, no administration interface and no log.
    #[must_use]
    pub fn new(node_id: &str, listen: SocketAddr, app: Endpoint, tls: TlsSource) -> Self {
        Self {
            node_id: node_id.to_owned(),
            envoy: EnvoyVersion::CURRENT,
            listen,
            app,
            app_version: HttpVersion::Http1,
            tls,
            clients: ClientSans::AnyVerified,
            filter: InboundFilter::None,
            filter_state_route: FilterStateRoute::WhenNeeded,
            agent_http: None,
            admin: Admin::None,
            access_log: None,
            connection_age: ConnectionAge::default(),
            mesh: MeshSettings::default(),
            path_normalization: None,
        }
    }

    /// Checks the spec and builds the bootstrap.
    ///
    /// Not checked: whether files exist, and whether native RBAC rules are ones Envoy takes.
    ///
    /// # Errors
    /// Everything wrong with the spec, each with its field path.
    pub fn bootstrap(&self) -> Result<Bootstrap, SpecErrors> {
        let mut checks = Checks::default();
        self.check(&mut checks);
        let inbound = match &self.filter {
            InboundFilter::Wasm { config, .. } => Inbound::new(self, config, &mut checks),
            InboundFilter::None | InboundFilter::NativeRbac { .. } => Inbound::default(),
        };
        self.check_forwarding(inbound.mtls, &mut checks);
        let filters = self.filters(&inbound).unwrap_or_else(|problem| {
            checks.refuse("filter.config", problem);
            Vec::new()
        });
        checks.done()?;

        // No limit on a whole request: streams may be long. Idle ones are ended by the connection manager.
        let action = RouteAction {
            cluster: APP_CLUSTER.to_owned(),
            timeout: Seconds::whole(0),
            retry_policy: None,
            hedge_policy: None,
        };
        let everything = VirtualHost::new(APP_CLUSTER, vec!["*".to_owned()], action);
        let manager = ConnectionManager::server(
            self.connection_age,
            self.envoy,
            self.paths().into(),
            self.access_log.as_deref(),
            RouteConfig::new("inbound", vec![everything]),
            filters,
        );
        let listener = self.listener(manager, inbound.mtls);
        let mut clusters = vec![Cluster::app(&self.app, self.app_version)];
        clusters.extend(inbound.clusters);
        clusters.extend(agent_clusters(
            self.tls.sds_socket(),
            self.agent_http.as_deref(),
        ));
        Ok(Bootstrap::new(
            &self.node_id,
            &self.admin,
            listener,
            clusters,
        ))
    }

    /// Mutual TLS alone, unless a `PeerAuthentication` says otherwise. What a proxy in front forwards is read only
    /// where every client shows a certificate.
    fn listener(&self, manager: ConnectionManager, mode: Option<MtlsMode>) -> Listener {
        let tls = TransportSocket::server(&self.tls, &self.clients);
        let with_tls = match self.forwarding_hop() {
            Some(_) => manager.clone().with_forwarded_certificate(),
            None => manager.clone(),
        };
        match mode {
            None | Some(MtlsMode::Strict) => {
                Listener::new("inbound", self.listen, with_tls, Some(tls))
            }
            Some(MtlsMode::Permissive) => {
                Listener::permissive("inbound", self.listen, with_tls, tls, manager)
            }
            Some(MtlsMode::Disable) => Listener::new("inbound", self.listen, manager, None),
        }
    }

    /// The proxy whose word about its clients counts.
    fn forwarding_hop(&self) -> Option<&str> {
        match &self.filter {
            InboundFilter::Wasm { config, .. } => {
                let hop = config.forwarded_client_cert.as_ref();
                hop.map(|forwarded| forwarded.hop.as_str())
            }
            InboundFilter::None | InboundFilter::NativeRbac { .. } => None,
        }
    }

    /// Without TLS no client is ever known as that proxy.
    fn check_forwarding(&self, mode: Option<MtlsMode>, checks: &mut Checks) {
        if self.forwarding_hop().is_some() && mode == Some(MtlsMode::Disable) {
            checks.refuse(
                "filter.config.forwardedClientCert",
                Problem::Contradicts {
                    other: "a PeerAuthentication with mode DISABLE".to_owned(),
                    why: "without mutual TLS no client can be known as the proxy that forwards",
                },
            );
        }
    }

    fn check(&self, checks: &mut Checks) {
        checks.not_empty("nodeId", &self.node_id);
        check_places(self.listen, &self.app, checks);
        self.tls.check("tls", checks);
        self.clients.check("clients", checks);
        if let InboundFilter::Wasm { module, config } = &self.filter {
            let agent = self.agent_http.as_deref();
            inbound::check_filter(module, config, agent, &self.mesh, &self.tls, checks);
            if self
                .path_normalization
                .is_some_and(|mode| mode != config.path_normalization)
            {
                checks.refuse(
                    "pathNormalization",
                    Problem::Contradicts {
                        other: "filter.config.pathNormalization".to_owned(),
                        why: "policies are compiled for another form of paths than Envoy would produce",
                    },
                );
            }
        }
        let (agent, log) = (self.agent_http.as_deref(), self.access_log.as_deref());
        check_rest(agent, &self.admin, log, self.connection_age, checks);
    }

    fn paths(&self) -> PathNormalization {
        match &self.filter {
            InboundFilter::Wasm { config, .. } => config.path_normalization,
            InboundFilter::None | InboundFilter::NativeRbac { .. } => {
                self.path_normalization.unwrap_or_default()
            }
        }
    }

    pub(super) fn wants_peer_certificate(&self) -> bool {
        self.filter_state_route == FilterStateRoute::Always
            || !self.envoy.has_peer_certificate_attribute()
    }

    /// Istio's order: CUSTOM, tokens, then what our filter finds in filter state, then our filter.
    fn filters(&self, inbound: &Inbound) -> Result<Vec<HttpFilter>, Problem> {
        let mut filters = inbound.before.clone();
        match &self.filter {
            InboundFilter::None => {}
            InboundFilter::NativeRbac { rules } => {
                filters.push(HttpFilter::native_rbac(rules.clone()));
            }
            InboundFilter::Wasm { module, config } => {
                let config = inbound::written(&self.mesh, config);
                let id = PluginName::new("countersign-inbound", &config, self.listen);
                filters.extend(HttpFilter::filter_state(inbound.state.clone()));
                filters.push(HttpFilter::wasm(id, module, &config)?);
            }
        }
        filters.push(HttpFilter::router());
        Ok(filters)
    }
}
