//! Istio resources.

use envoy_config::age::ConnectionAge;
use envoy_config::istio::{EnvoyFilter, ImagePullPolicy, Phase, Service, WasmPlugin};
use envoy_config::sidecar::HttpVersion;

use crate::support::{only, plugin, upstream};

#[test]
fn istio_resources_are_checked() {
    let plugin_spec = |change: &dyn Fn(&mut WasmPlugin)| {
        let mut spec = WasmPlugin {
            name: "countersign".to_owned(),
            namespace: "default".to_owned(),
            labels: Default::default(),
            url: "oci://registry.example/filter:1".to_owned(),
            sha256: None,
            image_pull_policy: ImagePullPolicy::default(),
            phase: Phase::default(),
            ports: Default::default(),
            config: plugin("inbound"),
        };
        assert!(spec.resource().is_ok());
        change(&mut spec);
        spec.resource()
    };
    only(plugin_spec(&|spec| spec.name = "Upper".to_owned()), "name");
    only(
        plugin_spec(&|spec| spec.url = "http://plain.example/f.wasm".to_owned()),
        "url",
    );
    only(
        plugin_spec(&|spec| spec.sha256 = Some("ff".to_owned())),
        "sha256",
    );
    only(
        plugin_spec(&|spec| spec.config = plugin("outbound")),
        "config.direction",
    );
    only(plugin_spec(&|spec| spec.ports = [0, 80].into()), "ports");
    only(
        plugin_spec(&|spec| {
            spec.phase = Phase::Authn;
            spec.config.policies.push(serde_json::json!({
                "apiVersion": "security.istio.io/v1",
                "kind": "AuthorizationPolicy",
                "metadata": {"name": "tokens", "namespace": "default"},
                "spec": {"rules": [{"from": [{"source": {"requestPrincipals": ["*"]}}]}]},
            }));
        }),
        "phase",
    );
    let filter_spec = |change: &dyn Fn(&mut EnvoyFilter)| {
        let mut spec = EnvoyFilter {
            name: "countersign".to_owned(),
            namespace: "default".to_owned(),
            labels: Default::default(),
            agent_http: None,
            filter_state: Default::default(),
            services: vec![Service {
                host: "httpbin.default.svc.cluster.local".to_owned(),
                port: 8000,
                version: HttpVersion::Http1,
                allowed: upstream().allowed,
            }],
            filter: Some(("/f.wasm".into(), plugin("outbound"))),
            connection_age: ConnectionAge::default(),
        };
        assert!(spec.resource().is_ok());
        change(&mut spec);
        spec.resource()
    };
    only(
        filter_spec(&|spec| spec.services[0].allowed.clear()),
        "services[0].allowed",
    );
    only(filter_spec(&|spec| spec.services.clear()), "services");
    only(filter_spec(&|spec| spec.filter = None), "filter");
}
