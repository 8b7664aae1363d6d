//! Istio resources.

use envoy_config::age::ConnectionAge;
use envoy_config::istio::{EnvoyFilter, ImagePullPolicy, Service, WasmPlugin};
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
    let filter_spec = |change: &dyn Fn(&mut EnvoyFilter)| {
        let mut spec = EnvoyFilter {
            name: "countersign".to_owned(),
            namespace: "default".to_owned(),
            labels: Default::default(),
            agent_http: None,
            direct_remote_address: false,
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
