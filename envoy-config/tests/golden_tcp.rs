//! The YAML of the TCP specs, kept beside the others in `tests/golden` and loaded with them into real Envoys.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use envoy_config::address::Admin;
use envoy_config::age::ConnectionAge;
use envoy_config::sidecar::{
    InboundFilter, OutboundFilter, SpeaksFirst, TcpClient, TcpServer, TcpUpstream,
};
use envoy_config::tls::TlsSource;
use envoy_config::{Bootstrap, EnvoyVersion};
use identity::SpiffeId;
use policy::config::PluginConfig;
use serde_json::{Value, json};

/// The oldest release line on which the filter guards TCP.
const OLDEST_HELD: EnvoyVersion = EnvoyVersion::new(1, 37);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn bootstraps(case: &str, versions: &[EnvoyVersion], make: impl Fn(EnvoyVersion) -> Bootstrap) {
    for envoy in versions {
        let yaml = make(*envoy).to_yaml().unwrap();
        let path = folder().join(format!("{case}/envoy-{envoy}.yaml"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &yaml).unwrap();
        }
        let kept = fs::read_to_string(&path).unwrap_or_else(|error| {
            panic!("{}: {error}; UPDATE_GOLDEN=1 writes it", path.display())
        });
        assert!(
            kept == yaml,
            "{} differs, UPDATE_GOLDEN=1 rewrites it; now:\n{yaml}",
            path.display()
        );
    }
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

fn plugin(direction: &str, policies: Value) -> PluginConfig {
    let issuer = fs::read_to_string(folder().join("issuer.pem")).unwrap();
    let key = fs::read_to_string(folder().join("list-key.pem")).unwrap();
    let mut config = json!({
        "schemaVersion": 1,
        "direction": direction,
        "protocol": "tcp",
        "workload": {"namespace": "default", "labels": {"app": "mysql"}},
        "trustDomain": "cluster.local",
        "trust": {"cluster.local": {"issuers": [issuer]}},
        "denyList": {"cluster": "countersign_agent_http", "keys": [key]},
    });
    if direction == "outbound" {
        config["secureNaming"] = json!({"clusters": {}});
    } else {
        config["policies"] = policies;
    }
    serde_json::from_value(config).unwrap()
}

fn allow(source: &Value) -> Value {
    json!([{
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "shop-writes", "namespace": "default"},
        "spec": {"action": "ALLOW", "rules": [{"from": [{"source": source}]}]},
    }])
}

fn by_identity() -> Value {
    allow(&json!({"principals": ["cluster.local/ns/default/sa/shop"]}))
}

fn server(envoy: EnvoyVersion, tls: TlsSource) -> TcpServer {
    let mut server = TcpServer::new(
        "mysql",
        "127.0.0.1:15006".parse().unwrap(),
        "127.0.0.1:3306".parse().unwrap(),
        tls,
    );
    server.envoy = envoy;
    server.admin = Admin::Unix("/golden/admin.sock".into());
    server.access_log = Some("/golden/access.jsonl".into());
    server.connection_age = ConnectionAge::quarter_of_leaf_life(Duration::from_secs(3600));
    server
}

fn wasm(policies: Value) -> InboundFilter {
    InboundFilter::Wasm {
        module: MODULE.into(),
        config: Box::new(plugin("inbound", policies)),
    }
}

#[test]
fn server_that_speaks_first() {
    let versions = [OLDEST_HELD, EnvoyVersion::CURRENT];
    bootstraps("tcp-server-first", &versions, |envoy| {
        let mut server = server(envoy, sds());
        server.speaks_first = SpeaksFirst::Server;
        server.filter = wasm(by_identity());
        server.agent_http = Some("/golden/agent.sock".into());
        server.bootstrap().unwrap()
    });
}

#[test]
fn client_speaks_first_and_addresses_count() {
    let versions = [OLDEST_HELD, EnvoyVersion::CURRENT];
    bootstraps("tcp-client-first", &versions, |envoy| {
        let mut server = server(envoy, files());
        let source = json!({"ipBlocks": ["10.0.0.0/8"], "notRemoteIpBlocks": ["10.9.0.0/16"]});
        server.filter = wasm(allow(&source));
        server.agent_http = Some("/golden/agent.sock".into());
        server.bootstrap().unwrap()
    });
}

#[test]
fn server_that_takes_plaintext_too() {
    bootstraps("tcp-permissive", &[EnvoyVersion::CURRENT], |envoy| {
        let mut policies = by_identity();
        policies.as_array_mut().unwrap().push(json!({
            "apiVersion": "security.istio.io/v1",
            "kind": "PeerAuthentication",
            "metadata": {"name": "default", "namespace": "default"},
            "spec": {"mtls": {"mode": "PERMISSIVE"}},
        }));
        let mut server = server(envoy, files());
        server.speaks_first = SpeaksFirst::Server;
        server.filter = wasm(policies);
        server.agent_http = Some("/golden/agent.sock".into());
        server.bootstrap().unwrap()
    });
}

#[test]
fn server_that_asks_a_provider() {
    let versions = [OLDEST_HELD, EnvoyVersion::CURRENT];
    bootstraps("tcp-custom", &versions, |envoy| {
        let mut policies = by_identity();
        policies.as_array_mut().unwrap().push(json!({
            "apiVersion": "security.istio.io/v1",
            "kind": "AuthorizationPolicy",
            "metadata": {"name": "ask", "namespace": "default"},
            "spec": {
                "action": "CUSTOM",
                "provider": {"name": "opa"},
                "rules": [{"to": [{"operation": {"ports": ["15006"]}}]}],
            },
        }));
        let mut server = server(envoy, files());
        server.filter = wasm(policies);
        server.agent_http = Some("/golden/agent.sock".into());
        server.mesh.extension_providers = serde_json::from_value(json!([{
            "name": "opa",
            "envoyExtAuthzGrpc": {"service": "127.0.0.1", "port": 9191, "timeout": "0.5s"},
        }]))
        .unwrap();
        server.bootstrap().unwrap()
    });
}

#[test]
fn server_without_our_filter() {
    let versions = [EnvoyVersion::OLDEST, OLDEST_HELD, EnvoyVersion::CURRENT];
    let rules = json!({
        "action": "ALLOW",
        "policies": {"shop-writes": {
            "permissions": [{"any": true}],
            "principals": [{"authenticated": {"principal_name": {
                "exact": "spiffe://cluster.local/ns/default/sa/shop",
            }}}],
        }},
    });
    bootstraps("tcp-native-rbac", &versions, |envoy| {
        let mut server = server(envoy, files());
        server.filter = InboundFilter::NativeRbac {
            rules: rules.clone(),
        };
        server.bootstrap().unwrap()
    });
    bootstraps("tcp-mtls-alone", &versions, |envoy| {
        let mut server = server(envoy, files());
        server.speaks_first = SpeaksFirst::Server;
        server.bootstrap().unwrap()
    });
}

#[test]
fn client_with_both_locks() {
    let versions = [EnvoyVersion::OLDEST, EnvoyVersion::CURRENT];
    bootstraps("tcp-client", &versions, |envoy| {
        let ids = |name: &str| -> BTreeSet<SpiffeId> {
            [format!("spiffe://cluster.local/ns/default/sa/{name}")
                .parse()
                .unwrap()]
            .into()
        };
        let mysql = TcpUpstream::new(
            "mysql",
            "127.0.0.1:3306".parse().unwrap(),
            "127.0.0.1:15006".parse().unwrap(),
            ids("mysql"),
            files(),
        );
        let mut redis = TcpUpstream::new(
            "redis",
            "127.0.0.1:6379".parse().unwrap(),
            "redis.example:6379".parse().unwrap(),
            ids("redis"),
            files(),
        );
        redis.sni = Some("redis.example".to_owned());
        let mut client = TcpClient::new("shop", vec![mysql, redis]);
        client.envoy = envoy;
        client.filter = Some(OutboundFilter {
            module: MODULE.into(),
            config: plugin("outbound", Value::Null),
        });
        client.agent_http = Some("/golden/agent.sock".into());
        client.admin = Admin::Unix("/golden/admin.sock".into());
        client.access_log = Some("/golden/access.jsonl".into());
        client.bootstrap().unwrap()
    });
}
