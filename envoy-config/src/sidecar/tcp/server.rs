//! The Envoy in front of a server that speaks TCP.

use std::net::SocketAddr;
use std::path::PathBuf;

use policy::config::{CompiledConfig, PluginConfig};
use policy::{Action, CompileError, MtlsMode, Protocol, Resources};

use super::filters::Connect;
use super::{BUFFER_LIMIT_BYTES, NetworkFilter, SpeaksFirst};
use crate::access_log::Side;
use crate::address::{Admin, Endpoint};
use crate::age::ConnectionAge;
use crate::bootstrap::Bootstrap;
use crate::cluster::{APP_CLUSTER, Cluster};
use crate::error::{Checks, Problem, SpecErrors};
use crate::ext_authz::{Custom, CustomFilter};
use crate::http::FilterStateValue;
use crate::listener::Listener;
use crate::rbac::is_dry_run;
use crate::sidecar::checks::{check_places, check_rest};
use crate::sidecar::{FilterStateRoute, InboundFilter, MeshSettings, agent_clusters, inbound};
use crate::tls::{ClientSans, TlsSource, TransportSocket};
use crate::version::EnvoyVersion;
use crate::wasm::PluginName;

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
    /// The providers that CUSTOM policies in the filter's configuration name. Keys of tokens are of no use here.
    pub mesh: MeshSettings,
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
            mesh: MeshSettings::default(),
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
        let read = match &self.filter {
            InboundFilter::Wasm { config, .. } => inbound::read(&self.mesh, config),
            InboundFilter::None | InboundFilter::NativeRbac { .. } => None,
        };
        let (mut mode, mut custom) = (None, Custom::default());
        if let Some((compiled, resources)) = &read {
            mode = inbound::mtls(compiled, resources, self.listen.port());
            custom = self.custom(resources, compiled, &mut checks);
        }
        let compiled = read.as_ref().map(|(compiled, _)| compiled);
        let filters = self
            .filters(custom.filters, compiled)
            .unwrap_or_else(|problem| {
                checks.refuse("filter.config", problem);
                Vec::new()
            });
        checks.done()?;

        let tls = TransportSocket::tcp_server(&self.tls, &self.clients);
        let mode = mode.unwrap_or(MtlsMode::Strict);
        let listener = Listener::tcp("inbound", self.listen, filters, tls, mode)
            .with_buffer_limit(BUFFER_LIMIT_BYTES);
        let app = Cluster::tcp_app(&self.app, BUFFER_LIMIT_BYTES);
        let agent = agent_clusters(self.tls.sds_socket(), self.agent_http.as_deref());
        Ok(Bootstrap::new(
            &self.node_id,
            &self.admin,
            listener,
            std::iter::once(app)
                .chain(custom.clusters)
                .chain(agent)
                .collect(),
        ))
    }

    /// What CUSTOM policies need, where the provider can be asked in time.
    fn custom(
        &self,
        resources: &Resources,
        compiled: &CompiledConfig,
        checks: &mut Checks,
    ) -> Custom {
        let providers = inbound::providers(&self.mesh, &self.tls);
        for (index, policy) in resources.authorization.iter().enumerate() {
            let counts = policy.spec.action == Action::Custom && !is_dry_run(policy);
            let Some(provider) = policy.spec.provider.as_ref() else {
                continue;
            };
            if !counts || !compiled.scope.applies(policy) {
                continue;
            }
            let problem = if self.speaks_first == SpeaksFirst::Server {
                // Envoy asks at the client's first bytes.
                policy::Problem::Conflict {
                    other: "speaksFirst: server, whose first bytes would pass before the provider is asked",
                }
            } else if providers.is_grpc(&provider.name) {
                continue;
            } else {
                policy::Problem::Invalid {
                    value: provider.name.clone(),
                    expected: "a provider with envoyExtAuthzGrpc, the only kind that can be asked about \
                               connections",
                }
            };
            let metadata = &policy.metadata;
            let part = |part: &Option<String>| part.clone().unwrap_or_default();
            let error = CompileError {
                kind: "AuthorizationPolicy",
                policy: format!("{}/{}", part(&metadata.namespace), part(&metadata.name)),
                index,
                path: "spec.provider.name".to_owned(),
                problem,
            };
            checks.refuse("filter.config.policies", Problem::Policy(error));
        }
        inbound::custom(resources, &compiled.scope, &providers, checks)
    }

    /// The provider is asked behind our filter. Were it in front, our filter would let bytes go that the provider
    /// has not answered about: whoever continues a connection in Envoy continues it with all that is there.
    fn filters(
        &self,
        custom: Vec<CustomFilter>,
        compiled: Option<&CompiledConfig>,
    ) -> Result<Vec<NetworkFilter>, Problem> {
        let mut filters = Vec::new();
        let connect = match &self.filter {
            InboundFilter::Wasm { module, config } => {
                let config = inbound::written(&self.mesh, config);
                let id = PluginName::new("countersign-inbound-tcp", &config, self.listen);
                filters.push(self.filter_state(compiled));
                filters.push(NetworkFilter::wasm(id, module, &config)?);
                filters.extend(custom.into_iter().filter_map(NetworkFilter::custom));
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

    fn filter_state(&self, compiled: Option<&CompiledConfig>) -> NetworkFilter {
        let needs = compiled.map(|compiled| compiled.needs());
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
        check_places(self.listen, &self.app, checks);
        self.tls.check("tls", checks);
        self.clients.check("clients", checks);
        self.check_filter(checks);
        let (agent, log) = (self.agent_http.as_deref(), self.access_log.as_deref());
        check_rest(agent, &self.admin, log, self.connection_age, checks);
    }

    fn check_filter(&self, checks: &mut Checks) {
        match &self.filter {
            InboundFilter::Wasm { module, config } => {
                let agent = self.agent_http.as_deref();
                inbound::check_filter(module, config, agent, &self.mesh, &self.tls, checks);
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
