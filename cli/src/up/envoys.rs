//! The three Envoys' configurations: httpbin's, sleep's, and the impostor's.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use envoy_config::address::{Admin, Endpoint};
use envoy_config::age::ConnectionAge;
use envoy_config::sidecar::{
    Client, Hold, InboundFilter, OutboundFilter, SanMatchers, Server, Upstream,
};
use envoy_config::tls::TlsSource;
use envoy_config::{AGENT_HTTP_CLUSTER, Bootstrap, EnvoyVersion};
use identity::x509::SvidProfile;
use policy::config::{
    AllowedLog, DecisionLog, DenyListConfig, Direction, HoldLimits, PluginConfig, SCHEMA_VERSION,
    SecureNaming, StaleList, TrustEntry,
};
use policy::path::PathNormalization;
use serde_json::Value;

use crate::failure::Failure;
use crate::up::layout::{Layout, Side, TRUST_DOMAIN};

/// Envoys' names, as files and messages have them.
pub(crate) const SERVER: &str = "envoy-httpbin";
pub(crate) const CLIENT: &str = "envoy-sleep";
pub(crate) const IMPOSTOR: &str = "envoy-impostor";

/// What the configurations are made of.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) version: EnvoyVersion,
    /// The built filter, absolute.
    pub(crate) wasm: PathBuf,
    pub(crate) leaf_ttl: Duration,
    /// `AuthorizationPolicy` resources.
    pub(crate) policies: Vec<Value>,
    /// The certificate of the CA that signs leaves, PEM.
    pub(crate) issuer: String,
    /// Public keys of the deny list, PEM.
    pub(crate) list_keys: Vec<String>,
    /// Where httpbin listens.
    pub(crate) httpbin: SocketAddr,
    /// Where the impostor's application listens.
    pub(crate) impostor_app: SocketAddr,
}

impl Parts<'_> {
    /// httpbin's Envoy: mutual TLS, policies, deny list.
    pub(crate) fn server(&self) -> Result<Bootstrap, Failure> {
        let (layout, socket) = (self.layout, self.layout.agent_socket(Side::Server));
        let tls = sds(&socket);
        let mut server = Server::new(
            "httpbin",
            layout.server_listen,
            Endpoint::Ip(self.httpbin),
            tls,
        );
        let mut config = self.plugin(Direction::Inbound, "httpbin");
        config.policies = self.policies.clone();
        server.envoy = self.version;
        server.filter = InboundFilter::Wasm {
            module: self.wasm.clone(),
            config: Box::new(config),
        };
        server.agent_http = Some(socket);
        server.admin = admin(layout, SERVER);
        server.access_log = Some(layout.access_log(SERVER));
        server.connection_age = self.age();
        server
            .bootstrap()
            .map_err(|error| Failure::part("httpbin's Envoy", error))
    }

    /// sleep's Envoy: secure naming. Two of its hosts lead to the impostor, as if somebody had
    /// changed httpbin's addresses.
    pub(crate) fn client(&self) -> Result<Bootstrap, Failure> {
        let (layout, socket) = (self.layout, self.layout.agent_socket(Side::Client));
        let httpbin = BTreeSet::from([Side::Server.workload_id()?]);
        let upstream = |name: &str, hosts: &[&str], address: SocketAddr| {
            let mut upstream =
                Upstream::new(name, Endpoint::Ip(address), httpbin.clone(), sds(&socket));
            upstream.hosts = hosts.iter().map(ToString::to_string).collect();
            upstream.hold = Hold::On;
            upstream
        };
        let mut unlocked = upstream(
            "unlocked",
            &[layout.unlocked_host()],
            layout.impostor_listen,
        );
        unlocked.san_matchers = SanMatchers::Off;
        let upstreams = vec![
            upstream("httpbin", &["*"], layout.server_listen),
            upstream(
                "hijacked",
                &[layout.hijacked_host()],
                layout.impostor_listen,
            ),
            unlocked,
        ];
        let mut client = Client::new("sleep", layout.client_listen, upstreams);
        let mut config = self.plugin(Direction::Outbound, "sleep");
        config.secure_naming = Some(SecureNaming {
            clusters: BTreeMap::new(),
            hold: HoldLimits::default(),
        });
        client.envoy = self.version;
        client.filter = Some(OutboundFilter {
            module: self.wasm.clone(),
            config,
        });
        client.agent_http = Some(socket);
        client.admin = admin(layout, CLIENT);
        client.access_log = Some(layout.access_log(CLIENT));
        client.connection_age = self.age();
        client
            .bootstrap()
            .map_err(|error| Failure::part("sleep's Envoy", error))
    }

    /// The impostor's Envoy: a valid certificate, of somebody else.
    pub(crate) fn impostor(&self) -> Result<Bootstrap, Failure> {
        let files = self.layout.impostor_files();
        let tls = TlsSource::Files {
            certificate: files.join("cert-chain.pem"),
            key: files.join("key.pem"),
            root: files.join("root-cert.pem"),
        };
        let app = Endpoint::Ip(self.impostor_app);
        let mut server = Server::new("impostor", self.layout.impostor_listen, app, tls);
        server.envoy = self.version;
        server.admin = admin(self.layout, IMPOSTOR);
        server.access_log = Some(self.layout.access_log(IMPOSTOR));
        server.connection_age = self.age();
        server
            .bootstrap()
            .map_err(|error| Failure::part("the impostor's Envoy", error))
    }

    fn age(&self) -> ConnectionAge {
        ConnectionAge::quarter_of_leaf_life(self.leaf_ttl)
    }

    fn plugin(&self, direction: Direction, workload: &str) -> PluginConfig {
        PluginConfig {
            schema_version: SCHEMA_VERSION,
            direction,
            workload: policy::WorkloadScope {
                namespace: "default".to_owned(),
                labels: BTreeMap::from([("app".to_owned(), workload.to_owned())]),
            },
            trust_domain: TRUST_DOMAIN.to_owned(),
            trust_domain_aliases: Vec::new(),
            root_namespace: "istio-system".to_owned(),
            svid_profile: SvidProfile::Strict,
            trust: BTreeMap::from([(
                TRUST_DOMAIN.to_owned(),
                TrustEntry {
                    issuers: vec![self.issuer.clone()],
                },
            )]),
            policies: Vec::new(),
            path_normalization: PathNormalization::default(),
            deny_list: Some(DenyListConfig {
                cluster: AGENT_HTTP_CLUSTER.to_owned(),
                path: "/v1/denylist".to_owned(),
                poll_milliseconds: 500,
                keys: self.list_keys.clone(),
                authority: None,
                stale: StaleList::Deny,
                floor: None,
            }),
            secure_naming: None,
            decision_log: DecisionLog {
                allowed: AllowedLog::All,
                response_header: true,
                headers: Vec::new(),
            },
            ..PluginConfig::new(direction, TRUST_DOMAIN)
        }
    }
}

fn sds(socket: &Path) -> TlsSource {
    TlsSource::Sds {
        socket_path: socket.to_owned(),
        certificate: "default".to_owned(),
        validation: "ROOTCA".to_owned(),
    }
}

fn admin(layout: &Layout, envoy: &str) -> Admin {
    Admin::Unix(layout.run_dir().join(format!("{envoy}.sock")))
}
