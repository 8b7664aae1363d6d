//! Writing and comparing golden files, and what the specs have in common.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use envoy_config::address::Endpoint;
use envoy_config::tls::TlsSource;
use envoy_config::{Bootstrap, EnvoyVersion};
use identity::SpiffeId;
use policy::config::PluginConfig;

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

pub(crate) fn golden(file: &str, text: &str) {
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
pub(crate) fn bootstraps(case: &str, make: impl Fn(EnvoyVersion) -> Bootstrap) {
    for envoy in [EnvoyVersion::OLDEST, EnvoyVersion::CURRENT] {
        let yaml = make(envoy).to_yaml().unwrap();
        assert_eq!(yaml, make(envoy).to_yaml().unwrap());
        golden(&format!("{case}/envoy-{envoy}.yaml"), &yaml);
    }
}

pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(crate) fn endpoint(text: &str) -> Endpoint {
    text.parse().unwrap()
}

pub(crate) fn ids(names: &[&str]) -> BTreeSet<SpiffeId> {
    let id = |name: &&str| {
        format!("spiffe://cluster.local/ns/default/sa/{name}")
            .parse()
            .unwrap()
    };
    names.iter().map(id).collect()
}

pub(crate) fn files() -> TlsSource {
    TlsSource::Files {
        certificate: "/golden/leaf.pem".into(),
        key: "/golden/leaf.key".into(),
        root: "/golden/root.pem".into(),
    }
}

pub(crate) fn sds() -> TlsSource {
    TlsSource::Sds {
        socket_path: "/golden/agent.sock".into(),
        certificate: "default".to_owned(),
        validation: "ROOTCA".to_owned(),
    }
}

pub(crate) const MODULE: &str = "/golden/countersign_filter.wasm";

pub(crate) fn plugin(direction: &str) -> PluginConfig {
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

pub(crate) fn resource(kind: &str, spec: serde_json::Value) -> serde_json::Value {
    serde_json::json!({
        "apiVersion": "security.istio.io/v1",
        "kind": kind,
        "metadata": {"name": kind.to_lowercase(), "namespace": "default"},
        "spec": spec,
    })
}
