//! Two listeners of one Envoy in front of one workload, each with a configuration of its own.

use std::time::Duration;

use envoy_config::sidecar::{InboundFilter, Server};
use lab::http::{Body, Connection, Version};
use serde_json::{Value, json};
use wasm_tests::fixtures::config::{ConfigSpec, allow_principal, authorization_policy};
use wasm_tests::fixtures::{HTTPBIN, SLEEP};

use crate::support::{World, loopback, plugin_config};

const PIECES: u32 = 15;
const PAUSE: Duration = Duration::from_millis(100);

/// The plug-in's name in a listener.
fn name(listener: &mut Value) -> &mut Value {
    let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
    let filters = manager["http_filters"].as_array_mut().expect("filters");
    let ours = filters
        .iter_mut()
        .find(|filter| filter["name"] == "envoy.filters.http.wasm")
        .expect("our filter");
    &mut ours["typed_config"]["config"]["name"]
}

/// Status of a request that is open on the listener for `sleep` while the one for nobody gets a request.
async fn open_beside_another(same_name: bool) -> u16 {
    let world = World::new();
    let open = ConfigSpec::inbound(&world.authority).policy(allow_principal(
        "sleep",
        "cluster.local/ns/default/sa/sleep",
    ));
    let shut = ConfigSpec::inbound(&world.authority).policy(authorization_policy(
        "nobody",
        "DENY",
        json!([{}]),
    ));
    let other = loopback(lab::ports::free().expect("a port"));
    let files = world.files("other", &world.authority.svid(HTTPBIN));
    let mut spec = Server::new("other", other, loopback(1).into(), files);
    spec.envoy = world.binary.version();
    spec.filter = InboundFilter::Wasm {
        module: world.module.clone(),
        config: Box::new(plugin_config(&shut)),
    };
    let spec = spec.bootstrap().unwrap_or_else(|error| panic!("{error}"));
    let spec = serde_json::to_value(spec).expect("JSON");
    let add = |bootstrap: &mut Value| {
        let listeners = bootstrap["static_resources"]["listeners"].as_array_mut();
        let listeners = listeners.expect("listeners");
        let mut added = spec["static_resources"]["listeners"][0].clone();
        added["name"] = "other".into();
        if same_name {
            *name(&mut added) = name(&mut listeners[0]).clone();
        } else {
            assert_ne!(name(&mut added), name(&mut listeners[0]));
        }
        listeners.push(added);
    };
    let server = world.server_with(&open, |_| {}, add).await;
    let sleep = world.tls("sleep", &world.authority.svid(SLEEP));
    let mut connection = server.connect(&sleep, Version::Http1).await.expect("TLS");
    let body = Body::trickle((0..PIECES).map(|_| "piece"), PAUSE, None);
    let request = connection.request("POST", "/post").body(body);
    let request = request.expect("a request");
    let opened = tokio::spawn(async move { connection.send(request).await });
    tokio::time::sleep(PAUSE * 3).await;
    let target = other.into();
    let opening = Connection::open(&target, Some(&sleep), Version::Http1);
    let mut beside = opening.await.expect("TLS");
    assert_eq!(beside.get("/get").await.expect("an answer").status, 403);
    let answer = opened.await.expect("no panic");
    answer.map_or(0, |answer| answer.status)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_listeners_requests_are_decided_by_its_own_configuration() {
    assert_eq!(open_beside_another(false).await, 200);
    // What the names are for, and what `doctor` warns of.
    assert_eq!(open_beside_another(true).await, 403);
}
