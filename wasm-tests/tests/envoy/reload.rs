//! New configurations for a filter in service, by Envoy's extension discovery (ECDS), as Istio does.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use envoy_config::sidecar::{Hold, InboundFilter, SanMatchers, Upstream};
use lab::http::{Connection, Version};
use serde_json::{Value, json};
use wasm_tests::fixtures::config::{ConfigSpec, UPSTREAM_CLUSTER, allow_principal};
use wasm_tests::fixtures::{HTTPBIN, IMPOSTOR, SLEEP};

use crate::support::{World, eventually, ids};

/// The one Wasm filter of a bootstrap, moved to a file that Envoy watches.
pub(crate) struct Discovered {
    file: PathBuf,
    filter: std::cell::RefCell<Value>,
    version: std::cell::Cell<u32>,
}

const NAME: &str = "countersign";
/// The end of the type of a Wasm filter, for requests and for connections.
const WASM: &str = ".wasm.v3.Wasm";

impl Discovered {
    pub(crate) fn new(file: PathBuf) -> Self {
        Self {
            file,
            filter: Value::Null.into(),
            version: 0.into(),
        }
    }

    /// Takes the filter out of the bootstrap.
    pub(crate) fn take_from(&self, bootstrap: &mut Value) {
        let filter = find_wasm(bootstrap).expect("one Wasm filter");
        let type_url = filter["typed_config"]["@type"].clone();
        *self.filter.borrow_mut() = filter["typed_config"].take();
        let source =
            json!({"path_config_source": {"path": self.file}, "resource_api_version": "V3"});
        *filter = json!({
            "name": NAME,
            "config_discovery": {"config_source": source, "type_urls": [type_url]},
        });
        self.write();
    }

    /// Puts another plug-in configuration into the file.
    pub(crate) fn configure(&self, configuration: &str) {
        self.filter.borrow_mut()["config"]["configuration"]["value"] = configuration.into();
        self.write();
    }

    fn write(&self) {
        self.version.set(self.version.get() + 1);
        let resource = json!({
            "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
            "name": NAME,
            "typed_config": *self.filter.borrow(),
        });
        let response =
            json!({"version_info": self.version.get().to_string(), "resources": [resource]});
        // Envoy sees a file that is moved into place, never half of one.
        let half = self.file.with_extension("half");
        fs::write(&half, response.to_string()).expect("writable");
        fs::rename(&half, &self.file).expect("the same folder");
    }
}

fn find_wasm(value: &mut Value) -> Option<&mut Value> {
    let type_url = value["typed_config"]["@type"].as_str();
    if type_url.is_some_and(|url| url.ends_with(WASM)) {
        return Some(value);
    }
    match value {
        Value::Array(items) => items.iter_mut().find_map(find_wasm),
        Value::Object(fields) => fields.values_mut().find_map(find_wasm),
        _ => None,
    }
}

pub(crate) fn file(world: &World) -> PathBuf {
    let path = world.path("ecds.json");
    assert!(path.parent().is_some_and(Path::is_dir));
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_identity_set_decides_the_next_request_on_a_connection_that_is_open() {
    let world = World::new();
    let discovered = Discovered::new(file(&world));
    let leaf = world.authority.svid(HTTPBIN);
    let good = world
        .envoy_server("good", &leaf, InboundFilter::None, |_| {}, |_| {})
        .await;
    let source = world.files("sleep", &world.authority.svid(SLEEP));
    let mut upstream = Upstream::new(
        UPSTREAM_CLUSTER,
        good.address.into(),
        ids(&[HTTPBIN]),
        source,
    );
    upstream.hold = Hold::On;
    upstream.san_matchers = SanMatchers::Off;
    let allow =
        |identities: &[&str]| ConfigSpec::outbound(&world.authority).secure_naming(identities);
    let start = allow(&[]).with("secureNaming", json!({"clusters": {}}));
    let take = |bootstrap: &mut Value| discovered.take_from(bootstrap);
    let client = world.client(Some(&start), vec![upstream], take).await;

    for _ in 0..3 {
        assert_eq!(client.get("any").await.status, 200);
    }
    discovered.configure(&allow(&[IMPOSTOR]).json());
    let becomes = async |status| {
        let what = format!("status {status}");
        eventually(&what, Duration::from_secs(10), async || {
            client.get("any").await.status == status
        })
        .await;
    };
    becomes(503).await;
    let served = good.echo.requests();
    assert!(
        client
            .get("any")
            .await
            .text()
            .starts_with("secure naming: ")
    );
    discovered.configure("{}");
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(
        client.get("any").await.status,
        503,
        "a bad configuration changes nothing"
    );
    assert_eq!(
        good.echo.requests(),
        served,
        "nothing got through meanwhile"
    );
    discovered.configure(&allow(&[HTTPBIN]).json());
    becomes(200).await;
    let connections = good.stat("http.inbound.downstream_cx_total").await;
    assert_eq!(connections, 1, "it was one connection all the time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_takes_good_policies_and_keeps_the_last_good_ones() {
    let world = World::new();
    let discovered = Discovered::new(file(&world));
    let only = |name: &str| {
        let principal = format!("cluster.local/ns/default/sa/{name}");
        ConfigSpec::inbound(&world.authority).policy(allow_principal("only", &principal))
    };
    let take = |bootstrap: &mut Value| discovered.take_from(bootstrap);
    let server = world.server_with(&only("sleep"), |_| {}, take).await;
    let tls = world.tls("sleep", &world.authority.svid(SLEEP));
    let mut connection = server
        .connect(&tls, Version::Http1)
        .await
        .expect("a handshake");
    let status = async |connection: &mut Connection| {
        connection
            .get("/get")
            .await
            .expect("the connection stays open")
            .status
    };
    assert_eq!(status(&mut connection).await, 200);
    discovered.configure(&only("somebody-else").json());
    eventually("the new policy", Duration::from_secs(10), async || {
        status(&mut connection).await == 403
    })
    .await;
    let wide_but_bad = ConfigSpec::inbound(&world.authority).with("policiez", json!([]));
    discovered.configure(&wide_but_bad.json());
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(
            status(&mut connection).await,
            403,
            "a bad configuration changes nothing"
        );
    }
    let failed = server
        .stats_sum(r"extension_config_discovery.*(config_fail|update_rejected|config_conflict)")
        .await;
    assert!(failed > 0, "Envoy was told that the configuration is bad");
    discovered.configure(&only("sleep").json());
    eventually(
        "the first policy again",
        Duration::from_secs(10),
        async || status(&mut connection).await == 200,
    )
    .await;
}
