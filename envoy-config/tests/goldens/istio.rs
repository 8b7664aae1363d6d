//! Istio resources.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use envoy_config::EnvoyVersion;
use envoy_config::age::ConnectionAge;
use envoy_config::istio::{EnvoyFilter, FilterState, ImagePullPolicy, Phase, Service, WasmPlugin};
use envoy_config::sidecar::HttpVersion;
use policy::Protocol;

use crate::support::{golden, ids, plugin, resource};

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
        phase: Phase::Authz,
        ports: BTreeSet::new(),
        config: plugin("inbound"),
    };
    golden(
        "istio/wasm-plugin.yaml",
        &plugin.resource().unwrap().to_yaml().unwrap(),
    );
}

#[test]
fn istio_wasm_plugin_for_tcp() {
    let mut config = plugin("inbound");
    config.protocol = Protocol::Tcp;
    config.deny_list = None;
    config.policies[0]["spec"]["rules"][0]["to"] =
        serde_json::json!([{"operation": {"ports": ["5432"]}}]);
    // The proxy's business, not the filter's.
    config.policies.push(resource(
        "RequestAuthentication",
        serde_json::json!({"jwtRules": [{"issuer": "i", "jwksUri": "https://i.example/keys"}]}),
    ));
    let plugin = WasmPlugin {
        name: "countersign-tcp".to_owned(),
        namespace: "default".to_owned(),
        labels: labels(),
        url: "oci://registry.example/countersign/filter:0.1.0".to_owned(),
        sha256: None,
        image_pull_policy: ImagePullPolicy::Always,
        phase: Phase::Authz,
        ports: [5432].into(),
        config,
    };
    golden(
        "istio/wasm-plugin-tcp.yaml",
        &plugin.resource().unwrap().to_yaml().unwrap(),
    );
}

#[test]
fn istio_envoy_filter_with_all_filter_state() {
    let mut config = plugin("inbound");
    config.policies[0]["spec"]["rules"][0]["from"][0]["source"] = serde_json::json!({
        "requestPrincipals": ["*"], "ipBlocks": ["10.0.0.0/8"], "remoteIpBlocks": ["10.0.0.0/8"],
    });
    let filter = EnvoyFilter {
        name: "countersign-filter-state".to_owned(),
        namespace: "default".to_owned(),
        labels: labels(),
        agent_http: None,
        filter_state: FilterState::needed(&config, EnvoyVersion::OLDEST),
        services: Vec::new(),
        filter: None,
        connection_age: ConnectionAge::default(),
    };
    golden(
        "istio/filter-state.yaml",
        &filter.resource().unwrap().to_yaml().unwrap(),
    );
}

#[test]
fn istio_envoy_filter() {
    let filter = EnvoyFilter {
        name: "countersign".to_owned(),
        namespace: "default".to_owned(),
        labels: BTreeMap::from([("app".to_owned(), "sleep".to_owned())]),
        agent_http: Some("/var/run/countersign/agent.sock".into()),
        filter_state: [FilterState::DirectRemoteAddress].into(),
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
        filter_state: BTreeSet::new(),
        services: Vec::new(),
        filter: None,
        connection_age: ConnectionAge::default(),
    };
    golden(
        "istio/no-resumption.yaml",
        &filter.resource().unwrap().to_yaml().unwrap(),
    );
}
