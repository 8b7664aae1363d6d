//! The YAML of every kind of spec, kept in `tests/golden`. `UPDATE_GOLDEN=1` rewrites the files; the diff is to be
//! read like code. The `lab` crate loads each bootstrap into real Envoys.
//!
//! `issuer.pem` and `list-key.pem` are public halves of keys that were thrown away.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use envoy_config::address::{Admin, Endpoint};
use envoy_config::age::ConnectionAge;
use envoy_config::istio::{EnvoyFilter, ImagePullPolicy, Service, WasmPlugin};
use envoy_config::sidecar::{
    Client, FilterStateRoute, Hold, HttpVersion, InboundFilter, OutboundFilter, OutlierDetection,
    Retry, SanMatchers, Server, Upstream,
};
use envoy_config::tls::{ClientSans, TlsSource};
use envoy_config::{Bootstrap, EnvoyVersion};
use identity::SpiffeId;
use policy::config::PluginConfig;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn golden(file: &str, text: &str) {
    let path = folder().join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }
    let kept = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; UPDATE_GOLDEN=1 writes it", path.display()));
    assert!(
        kept == text,
        "{} differs, UPDATE_GOLDEN=1 rewrites it; now:\n{text}",
        path.display()
    );
}

/// Writes the case for the oldest and the current Envoy.
fn bootstraps(case: &str, make: impl Fn(EnvoyVersion) -> Bootstrap) {
    for envoy in [EnvoyVersion::OLDEST, EnvoyVersion::CURRENT] {
        let yaml = make(envoy).to_yaml().unwrap();
        assert_eq!(yaml, make(envoy).to_yaml().unwrap());
        golden(&format!("{case}/envoy-{envoy}.yaml"), &yaml);
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn endpoint(text: &str) -> Endpoint {
    text.parse().unwrap()
}

fn ids(names: &[&str]) -> BTreeSet<SpiffeId> {
    let id = |name: &&str| {
        format!("spiffe://cluster.local/ns/default/sa/{name}")
            .parse()
            .unwrap()
    };
    names.iter().map(id).collect()
}

fn files() -> TlsSource {
    TlsSource::Files {
        certificate: "/golden/leaf.pem".into(),
        key: "/golden/leaf.key".into(),
        root: "/golden/root.pem".into(),
    }
}

fn sds() -> TlsSource {
    TlsSource::Sds {
        socket_path: "/golden/agent.sock".into(),
        certificate: "default".to_owned(),
        validation: "ROOTCA".to_owned(),
    }
}

const MODULE: &str = "/golden/countersign_filter.wasm";

fn plugin(direction: &str) -> PluginConfig {
    let issuer = fs::read_to_string(folder().join("issuer.pem")).unwrap();
    let key = fs::read_to_string(folder().join("list-key.pem")).unwrap();
    let mut config = serde_json::json!({
        "schemaVersion": 1,
        "direction": direction,
        "workload": {"namespace": "default", "labels": {"app": "httpbin"}},
        "trustDomain": "cluster.local",
        "trust": {"cluster.local": {"issuers": [issuer]}},
        "denyList": {"cluster": "countersign_agent_http", "keys": [key]},
    });
    if direction == "outbound" {
        config["secureNaming"] = serde_json::json!({"clusters": {}});
    } else {
        config["policies"] = serde_json::json!([{
            "apiVersion": "security.istio.io/v1",
            "kind": "AuthorizationPolicy",
            "metadata": {"name": "sleep-reads", "namespace": "default"},
            "spec": {
                "action": "ALLOW",
                "rules": [{
                    "from": [{"source": {"principals": ["cluster.local/ns/default/sa/sleep"]}}],
                    "to": [{"operation": {"methods": ["GET"], "paths": ["/get", "/headers"]}}],
                }],
            },
        }]);
    }
    serde_json::from_value(config).unwrap()
}

fn server(tls: TlsSource) -> Server {
    let mut server = Server::new(
        "httpbin",
        address("127.0.0.1:15006"),
        endpoint("127.0.0.1:8000"),
        tls,
    );
    server.admin = Admin::Unix("/golden/admin.sock".into());
    server.access_log = Some("/golden/access.jsonl".into());
    server.connection_age = ConnectionAge::quarter_of_leaf_life(Duration::from_secs(60));
    server
}

fn inbound() -> InboundFilter {
    InboundFilter::Wasm {
        module: MODULE.into(),
        config: Box::new(plugin("inbound")),
    }
}

#[test]
fn server_with_files() {
    bootstraps("server-files", |envoy| {
        let mut server = server(files());
        server.envoy = envoy;
        server.clients = ClientSans::TrustDomains(["cluster.local".parse().unwrap()].into());
        server.bootstrap().unwrap()
    });
}

#[test]
fn server_with_sds_and_filter() {
    bootstraps("server-sds-wasm", |envoy| {
        let mut server = server(sds());
        server.envoy = envoy;
        server.filter = inbound();
        server.agent_http = Some("/golden/agent.sock".into());
        server.bootstrap().unwrap()
    });
}

#[test]
fn server_with_policies_on_addresses() {
    bootstraps("server-ip-blocks", |envoy| {
        let mut config = plugin("inbound");
        config.policies[0]["spec"]["rules"][0]["from"][0]["source"]["ipBlocks"] =
            serde_json::json!(["10.0.0.0/8"]);
        let mut server = server(files());
        server.envoy = envoy;
        server.filter = InboundFilter::Wasm {
            module: MODULE.into(),
            config: Box::new(config),
        };
        server.agent_http = Some("/golden/agent.sock".into());
        server.bootstrap().unwrap()
    });
}

#[test]
fn server_with_native_rbac() {
    let rules = serde_json::json!({
        "action": "ALLOW",
        "policies": {"sleep-reads": {
            "permissions": [{"url_path": {"path": {"exact": "/get"}}}],
            "principals": [{"authenticated": {"principal_name": {
                "exact": "spiffe://cluster.local/ns/default/sa/sleep",
            }}}],
        }},
    });
    bootstraps("server-native-rbac", |envoy| {
        let mut server = server(files());
        server.envoy = envoy;
        server.app_version = HttpVersion::Http2;
        server.filter = InboundFilter::NativeRbac {
            rules: rules.clone(),
        };
        server.bootstrap().unwrap()
    });
}

#[test]
fn server_with_the_filter_state_route_everywhere() {
    bootstraps("server-filter-state", |envoy| {
        let mut server = server(files());
        server.envoy = envoy;
        server.filter = inbound();
        server.filter_state_route = FilterStateRoute::Always;
        server.agent_http = Some("/golden/agent.sock".into());
        server.admin = Admin::Loopback(19000);
        server.bootstrap().unwrap()
    });
}

fn client(upstreams: Vec<Upstream>) -> Client {
    let mut client = Client::new("sleep", address("127.0.0.1:15001"), upstreams);
    client.admin = Admin::Unix("/golden/admin.sock".into());
    client.access_log = Some("/golden/access.jsonl".into());
    client.connection_age = ConnectionAge::quarter_of_leaf_life(Duration::from_secs(60));
    client
}

fn httpbin(tls: TlsSource) -> Upstream {
    Upstream::new(
        "httpbin",
        endpoint("127.0.0.1:15006"),
        ids(&["httpbin"]),
        tls,
    )
}

fn outbound() -> OutboundFilter {
    OutboundFilter {
        module: MODULE.into(),
        config: plugin("outbound"),
    }
}

#[test]
fn client_with_matchers_alone() {
    bootstraps("client-files", |envoy| {
        let mut client = client(vec![httpbin(files())]);
        client.envoy = envoy;
        client.bootstrap().unwrap()
    });
}

#[test]
fn client_with_both_locks() {
    bootstraps("client-sds-hold", |envoy| {
        let mut upstream = httpbin(sds());
        upstream.hold = Hold::On;
        let mut other = Upstream::new(
            "billing",
            endpoint("billing.example:443"),
            ids(&["billing", "billing-canary"]),
            sds(),
        );
        other.hosts = vec!["billing.example".to_owned()];
        other.hold = Hold::On;
        other.version = HttpVersion::Http1;
        other.sni = Some("billing.example".to_owned());
        let mut client = client(vec![upstream, other]);
        client.envoy = envoy;
        client.filter = Some(outbound());
        client.agent_http = Some("/golden/agent.sock".into());
        client.bootstrap().unwrap()
    });
}

#[test]
fn client_with_the_hold_alone() {
    bootstraps("client-hold-alone", |envoy| {
        let mut upstream = httpbin(files());
        upstream.hold = Hold::On;
        upstream.san_matchers = SanMatchers::Off;
        let mut client = client(vec![upstream]);
        client.envoy = envoy;
        client.filter = Some(outbound());
        client.agent_http = Some("/golden/agent.sock".into());
        client.bootstrap().unwrap()
    });
}

#[test]
fn client_with_failover() {
    bootstraps("client-failover", |envoy| {
        let mut upstream = httpbin(files());
        upstream.endpoints.push(endpoint("127.0.0.1:15007"));
        upstream.request_timeout = Some(Duration::from_millis(1500));
        upstream.retry = Some(Retry {
            on: vec!["connect-failure".to_owned(), "refused-stream".to_owned()],
            attempts: 2,
            per_try_timeout: Some(Duration::from_millis(500)),
            hedge: envoy_config::sidecar::Hedge::OnPerTryTimeout,
        });
        upstream.outlier_detection = Some(OutlierDetection {
            consecutive_failures: 3,
            base_ejection: Duration::from_secs(5),
        });
        let mut client = client(vec![upstream]);
        client.envoy = envoy;
        client.bootstrap().unwrap()
    });
}

fn labels() -> BTreeMap<String, String> {
    BTreeMap::from([("app".to_owned(), "httpbin".to_owned())])
}

#[test]
fn istio_wasm_plugin() {
    let plugin = WasmPlugin {
        name: "countersign".to_owned(),
        namespace: "default".to_owned(),
        labels: labels(),
        url: "oci://registry.example/countersign/filter:0.1.0".to_owned(),
        sha256: Some("0123456789abcdef".repeat(4)),
        image_pull_policy: ImagePullPolicy::IfNotPresent,
        config: plugin("inbound"),
    };
    golden(
        "istio/wasm-plugin.yaml",
        &plugin.resource().unwrap().to_yaml().unwrap(),
    );
}

#[test]
fn istio_envoy_filter() {
    let filter = EnvoyFilter {
        name: "countersign".to_owned(),
        namespace: "default".to_owned(),
        labels: BTreeMap::from([("app".to_owned(), "sleep".to_owned())]),
        agent_http: Some("/var/run/countersign/agent.sock".into()),
        direct_remote_address: true,
        services: vec![Service {
            host: "httpbin.default.svc.cluster.local".to_owned(),
            port: 8000,
            version: HttpVersion::Http1,
            allowed: ids(&["httpbin"]),
        }],
        filter: Some((
            PathBuf::from("/var/run/countersign/countersign_filter.wasm"),
            plugin("outbound"),
        )),
        connection_age: ConnectionAge::default(),
    };
    golden(
        "istio/envoy-filter.yaml",
        &filter.resource().unwrap().to_yaml().unwrap(),
    );
}

#[test]
fn istio_envoy_filter_for_the_whole_mesh() {
    let filter = EnvoyFilter {
        name: "countersign-no-resumption".to_owned(),
        namespace: "istio-system".to_owned(),
        labels: BTreeMap::new(),
        agent_http: None,
        direct_remote_address: false,
        services: Vec::new(),
        filter: None,
        connection_age: ConnectionAge::default(),
    };
    golden(
        "istio/no-resumption.yaml",
        &filter.resource().unwrap().to_yaml().unwrap(),
    );
}
