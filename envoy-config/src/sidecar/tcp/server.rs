//! The Envoy in front of a server that speaks TCP.

use std::net::SocketAddr;
use std::path::PathBuf;

use policy::config::{Direction, PluginConfig, compile};
use policy::{MtlsMode, MtlsModes, Protocol, Resource, Resources};

use super::filters::Connect;
use super::{BUFFER_LIMIT_BYTES, NetworkFilter, SpeaksFirst};
use crate::access_log::Side;
use crate::address::{Admin, Endpoint};
use crate::age::ConnectionAge;
use crate::bootstrap::Bootstrap;
use crate::cluster::{APP_CLUSTER, Cluster};
use crate::error::{Checks, Problem, SpecErrors};
use crate::http::FilterStateValue;
use crate::listener::Listener;
use crate::plugin::check_plugin;
use crate::sidecar::upstream::check_endpoint;
use crate::sidecar::{FilterStateRoute, InboundFilter, agent_clusters};
use crate::tls::{ClientSans, TlsSource, TransportSocket};
use crate::version::EnvoyVersion;

/// A server's Envoy: mutual TLS from the network, plain TCP to the application.
///
/// A `PeerAuthentication` among the filter's policies decides whether plaintext is let in, too.
#[derive(Clone, Debug)]
pub struct TcpServer {
    /// Envoy's node id, which the agent sees.
    pub node_id: String,
    /// The Envoy this is for; with our filter at least 1.37.
    pub envoy: EnvoyVersion,
    /// Where mutual TLS is accepted.
    pub listen: SocketAddr,
    /// The application.
    pub app: Endpoint,
    /// Which side of the application's protocol speaks first.
    pub speaks_first: SpeaksFirst,
    /// Key, chain and roots.
    pub tls: TlsSource,
    /// Who may finish a handshake.
    pub clients: ClientSans,
    /// What decides about connections. The configuration of our filter has `protocol: tcp`.
    pub filter: InboundFilter,
    /// How the filter gets the peer's certificate.
    pub filter_state_route: FilterStateRoute,
    /// The agent's HTTP socket, polled for the deny list.
    pub agent_http: Option<PathBuf>,
    /// Administration interface.
    pub admin: Admin,
    /// JSON lines, one a connection.
    pub access_log: Option<PathBuf>,
    /// Bound on the age of connections. Unlike requests, connections are cut when they reach it.
    pub connection_age: ConnectionAge,
}

impl TcpServer {
    /// A server of a protocol in which the client speaks first, with no filter, no administration
    /// interface and no log.
    #[must_use]
    pub fn new(node_id: &str, listen: SocketAddr, app: Endpoint, tls: TlsSource) -> Self {
        Self {
            node_id: node_id.to_owned(),
            envoy: EnvoyVersion::CURRENT,
            listen,
            app,
            speaks_first: SpeaksFirst::Client,
            tls,
            clients: ClientSans::AnyVerified,
            filter: InboundFilter::None,
            filter_state_route: FilterStateRoute::WhenNeeded,
            agent_http: None,
            admin: Admin::None,
            access_log: None,
            connection_age: ConnectionAge::default(),
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
        let filters = self.filters().unwrap_or_else(|problem| {
            checks.refuse("filter.config", problem);
            Vec::new()
        });
        checks.done()?;

        let tls = TransportSocket::tcp_server(&self.tls, &self.clients);
        let mode = self.mtls().unwrap_or(MtlsMode::Strict);
        let listener = Listener::tcp("inbound", self.listen, filters, tls, mode)
            .with_buffer_limit(BUFFER_LIMIT_BYTES);
        let app = Cluster::tcp_app(&self.app, BUFFER_LIMIT_BYTES);
        let agent = agent_clusters(self.tls.sds_socket(), self.agent_http.as_deref());
        Ok(Bootstrap::new(
            &self.node_id,
            &self.admin,
            listener,
            std::iter::once(app).chain(agent).collect(),
        ))
    }

    /// What a `PeerAuthentication` says; of a configuration with errors nothing.
    fn mtls(&self) -> Option<MtlsMode> {
        let InboundFilter::Wasm { config, .. } = &self.filter else {
            return None;
        };
        let compiled = compile(config).ok()?;
        let parsed = config.policies.iter().map(Resource::from_value);
        let resources = parsed.collect::<Result<Resources, _>>().ok()?;
        let modes = MtlsModes::compile(&resources.peer_authentication, &compiled.scope).ok()?;
        modes.written(Some(self.listen.port()))
    }

    fn filters(&self) -> Result<Vec<NetworkFilter>, Problem> {
        let mut filters = Vec::new();
        let connect = match &self.filter {
            InboundFilter::Wasm { module, config } => {
                filters.push(self.filter_state(config));
                filters.push(NetworkFilter::wasm(
                    "countersign-inbound-tcp",
                    module,
                    config,
                )?);
                Connect::held(self.speaks_first)
            }
            InboundFilter::NativeRbac { rules } => {
                filters.push(NetworkFilter::native_rbac(rules.clone()));
                Connect::free(self.speaks_first, self.envoy)
            }
            InboundFilter::None => Connect::free(self.speaks_first, self.envoy),
        };
        let log = self.access_log.as_deref().map(|path| (path, Side::Server));
        filters.push(NetworkFilter::tcp_proxy(
            "inbound",
            APP_CLUSTER,
            connect,
            self.connection_age,
            log,
        ));
        Ok(filters)
    }

    fn filter_state(&self, config: &PluginConfig) -> NetworkFilter {
        let needs = compile(config).map(|compiled| compiled.policies.needs());
        let needs = needs.unwrap_or_default();
        let mut at_once = Vec::new();
        if needs.source_ip {
            at_once.push(FilterStateValue::direct_address());
        }
        if needs.remote_ip {
            at_once.push(FilterStateValue::remote_address());
        }
        let certificate = self.filter_state_route == FilterStateRoute::Always
            || !self.envoy.has_peer_certificate_attribute();
        let after = certificate.then(FilterStateValue::peer_certificate);
        NetworkFilter::filter_state(at_once, after.into_iter().collect())
    }

    fn check(&self, checks: &mut Checks) {
        checks.not_empty("nodeId", &self.node_id);
        if self.listen.port() == 0 {
            checks.refuse("listen", Problem::NoPort);
        }
        check_endpoint("app", &self.app, checks);
        if self.app == Endpoint::Ip(self.listen) {
            let (value, by) = (self.app.to_string(), "listen".to_owned());
            checks.refuse("app", Problem::Duplicate { value, by });
        }
        self.tls.check("tls", checks);
        self.clients.check("clients", checks);
        self.check_filter(checks);
        if let Some(socket) = &self.agent_http {
            checks.socket_path("agentHttp", socket);
        }
        if let Admin::Unix(socket) = &self.admin {
            checks.socket_path("admin", socket);
        }
        if let Some(log) = &self.access_log {
            checks.file_path("accessLog", log);
        }
        checks.age("connectionAge", self.connection_age);
    }

    fn check_filter(&self, checks: &mut Checks) {
        match &self.filter {
            InboundFilter::Wasm { module, config } => {
                checks.file_path("filter.module", module);
                let agent = self.agent_http.as_deref();
                check_plugin("filter.config", config, Direction::Inbound, agent, checks);
                check_protocol("filter.config", config, checks);
                if !self.envoy.has_upstream_connect_mode() {
                    checks.refuse(
                        "filter",
                        Problem::Contradicts {
                            other: "envoy".to_owned(),
                            why: "before 1.37 Envoy neither shows a network filter the client's certificate \
                                  nor lets it hold the connection until the handshake has ended",
                        },
                    );
                }
            }
            InboundFilter::NativeRbac { .. } if self.speaks_first == SpeaksFirst::Server => {
                checks.refuse(
                    "filter",
                    Problem::Contradicts {
                        other: "speaksFirst".to_owned(),
                        why: "Envoy's RBAC decides on the client's first bytes, and lets what the server \
                              says before them through to whoever is connected",
                    },
                );
            }
            InboundFilter::NativeRbac { .. } | InboundFilter::None => {}
        }
    }
}

/// A network filter with a configuration for requests would never see one.
pub(super) fn check_protocol(path: &str, config: &PluginConfig, checks: &mut Checks) {
    if config.protocol != Protocol::Tcp {
        checks.refuse(
            format!("{path}.protocol"),
            Problem::BadText {
                value: "http".to_owned(),
                expected: "tcp",
            },
        );
    }
}
