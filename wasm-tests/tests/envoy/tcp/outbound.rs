//! Secure naming on TCP: an impostor with a valid certificate neither receives a byte nor has one delivered.

use std::net::SocketAddr;
use std::time::Instant;

use envoy_config::address::Admin;
use envoy_config::sidecar::{
    Hold, InboundFilter, OutboundFilter, SanMatchers, SpeaksFirst, TcpClient as Spec, TcpUpstream,
};
use lab::tcp::{BANNER, TcpClient};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use wasm_tests::fixtures::config::ConfigSpec;
use wasm_tests::fixtures::{HTTPBIN, IMPOSTOR, SLEEP};

use super::{SOON, Served, WHILE, assert_nothing_and_closed, early_data_world, serve, tcp_proxy};
use crate::running::{Failed, Running, decisions};
use crate::support::{World, ids, loopback, plugin_config};

/// The good server, the impostor, and a client's Envoy that believes both to be httpbin.
struct Scene {
    good: Served,
    impostor: Served,
    client: Running,
    to_good: SocketAddr,
    to_impostor: SocketAddr,
}

async fn scene(
    world: &World,
    first: SpeaksFirst,
    hold: Hold,
    matchers: SanMatchers,
    rewrite: impl Fn(&mut Value),
) -> Scene {
    let leaf = world.authority.svid(HTTPBIN);
    let none = InboundFilter::None;
    let good = serve(world, &leaf, "good", first, none.clone(), |_| {}, |_| {}).await;
    let leaf = world.authority.svid(IMPOSTOR);
    let impostor = serve(world, &leaf, "impostor", first, none, |_| {}, |_| {}).await;
    let source = world.files("sleep", &world.authority.svid(SLEEP));
    let started = lab::ports::retry(3, Failed::is_lost_race, async || {
        let port = || loopback(lab::ports::free().expect("a port"));
        let (to_good, to_impostor) = (port(), port());
        let upstream = |name: &str, listen, server: &Served| {
            let allowed = ids(&[HTTPBIN]);
            let server = server.address.into();
            let mut upstream = TcpUpstream::new(name, listen, server, allowed, source.clone());
            upstream.hold = hold;
            upstream.san_matchers = matchers;
            upstream
        };
        let upstreams = vec![
            upstream("good", to_good, &good),
            upstream("bad", to_impostor, &impostor),
        ];
        let mut spec = Spec::new("sleep", upstreams);
        spec.envoy = world.binary.version();
        spec.admin = Admin::Unix(world.path("client.admin"));
        spec.filter = (hold == Hold::On).then(|| OutboundFilter {
            module: world.module.clone(),
            config: plugin_config(&outbound(world)),
        });
        let bootstrap = spec.bootstrap().unwrap_or_else(|error| panic!("{error}"));
        let client = world.launch("client", &bootstrap, &rewrite).await?;
        Ok((client, to_good, to_impostor))
    });
    let (client, to_good, to_impostor) = started
        .await
        .unwrap_or_else(|error: Failed| panic!("{}", error.0));
    Scene {
        good,
        impostor,
        client,
        to_good,
        to_impostor,
    }
}

/// The clusters are written by `envoy-config`.
fn outbound(world: &World) -> ConfigSpec {
    ConfigSpec::outbound(&world.authority)
        .with("protocol", json!("tcp"))
        .with(
            "secureNaming",
            json!({"clusters": {}, "hold": {"milliseconds": 1500}}),
        )
}

async fn to(address: SocketAddr) -> TcpClient {
    TcpClient::open(address, None).await.expect("connects")
}

async fn assert_served(scene: &Scene, first: SpeaksFirst) {
    let greeting = super::greeting(first);
    let mut client = to(scene.to_good).await;
    assert_eq!(client.hear(greeting.len(), SOON).await.bytes, greeting);
    client.send(b"hello").await.expect("open");
    assert_eq!(client.hear(5, SOON).await.bytes, b"hello");
}

/// Silent or not, the client hears nothing and the impostor's application gets nothing.
async fn assert_kept_apart(scene: &Scene) {
    let mut talking = to(scene.to_impostor).await;
    talking.send(b"the password is").await.unwrap_or_default();
    assert_nothing_and_closed(&talking.hear_out(SOON).await);
    let mut silent = to(scene.to_impostor).await;
    assert_eq!(silent.hear_out(WHILE).await.bytes, b"");
    assert_eq!(scene.impostor.app.received(), b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_either_lock_the_impostor_is_served() {
    let world = World::new();
    let first = SpeaksFirst::Server;
    let scene = scene(&world, first, Hold::Off, SanMatchers::Off, |_| {}).await;
    let mut client = to(scene.to_impostor).await;
    assert_eq!(
        client.hear(BANNER.len(), SOON).await.bytes,
        BANNER,
        "the control"
    );
    client.send(b"hello").await.expect("open");
    assert_eq!(client.hear(5, SOON).await.bytes, b"hello");
    assert_eq!(scene.impostor.app.received(), b"hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_matcher_alone_refuses_the_impostor() {
    let world = World::new();
    // An older proxy of the impostor connects to its application before the handshake that then fails.
    let waits = world.binary.version().has_upstream_connect_mode();
    for first in [SpeaksFirst::Server, SpeaksFirst::Client] {
        let scene = scene(&world, first, Hold::Off, SanMatchers::On, |_| {}).await;
        assert_served(&scene, first).await;
        assert_kept_apart(&scene).await;
        let accepted = scene.impostor.app.accepted();
        assert_eq!(accepted, if waits { 0 } else { 2 });
    }
}

async fn hold_alone(world: World) {
    for first in [SpeaksFirst::Server, SpeaksFirst::Client] {
        let scene = scene(&world, first, Hold::On, SanMatchers::Off, |_| {}).await;
        assert_served(&scene, first).await;
        assert_kept_apart(&scene).await;
        let records = decisions(&scene.client.log());
        let denied: Vec<_> = records
            .iter()
            .filter(|line| line["verdict"] == "deny")
            .collect();
        assert!(!denied.is_empty(), "{records:?}");
        let by_name = |line: &&&Value| line["reason"] == "unexpected_identity";
        assert_eq!(
            denied.iter().filter(by_name).count(),
            denied.len(),
            "{denied:?}"
        );
        assert!(
            denied.iter().all(|line| line["peer"] == IMPOSTOR),
            "{denied:?}"
        );
        assert_eq!(scene.good.app.received(), b"hello");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_filter_alone_lets_nothing_through_in_either_direction() {
    hold_alone(World::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Envoy 1.36 in .tools/envoy"]
async fn so_it_is_in_the_oldest_supported_envoy() {
    hold_alone(World::oldest()).await;
}

/// A proxy that reads the client before it is connected: bytes wait until the server is known.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_come_before_the_server_is_known_wait_for_it() {
    let Some(world) = early_data_world().await else {
        return;
    };
    let early = |json: &mut Value| {
        for index in 0..2 {
            let listeners = &mut json["static_resources"]["listeners"];
            let chain = &mut listeners[index]["filter_chains"][0]["filters"];
            let proxy = chain.as_array_mut().expect("filters").last_mut();
            proxy.expect("the TCP proxy")["typed_config"]["max_early_data_bytes"] = json!(1024);
        }
    };
    let first = SpeaksFirst::Client;
    let scene = scene(&world, first, Hold::On, SanMatchers::Off, early).await;
    for _ in 0..5 {
        assert_served(&scene, first).await;
    }
    assert_kept_apart(&scene).await;
}

/// A proxy that connects with the first bytes it gets: to which cluster cannot be told before.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_for_nobody_are_refused() {
    let Some(world) = early_data_world().await else {
        return;
    };
    let on_data = |json: &mut Value| {
        tcp_proxy(json, |proxy| {
            proxy["upstream_connect_mode"] = json!("ON_DOWNSTREAM_DATA");
            proxy["max_early_data_bytes"] = json!(1024);
        });
    };
    let first = SpeaksFirst::Client;
    let scene = scene(&world, first, Hold::On, SanMatchers::On, on_data).await;
    let mut client = to(scene.to_good).await;
    client.send(b"hello").await.expect("open");
    assert_nothing_and_closed(&client.hear_out(SOON).await);
    assert_eq!(scene.good.app.received(), b"");
}

/// A server that never finishes its handshake, and a proxy that reads the client meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_gets_known_is_given_up() {
    let Some(world) = early_data_world().await else {
        return;
    };
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = silent.local_addr().expect("bound").port();
    let to_silent = |json: &mut Value| {
        tcp_proxy(json, |proxy| proxy["max_early_data_bytes"] = json!(1024));
        let cluster = &mut json["static_resources"]["clusters"][0];
        // Envoy's own limit must not come first.
        cluster["connect_timeout"] = json!("30s");
        let endpoint = &mut cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0];
        endpoint["endpoint"]["address"]["socket_address"]["port_value"] = json!(port);
    };
    let first = SpeaksFirst::Client;
    let scene = scene(&world, first, Hold::On, SanMatchers::On, to_silent).await;
    let mut client = to(scene.to_good).await;
    let begun = Instant::now();
    client.send(b"hello").await.expect("open");
    assert_nothing_and_closed(&client.hear_out(SOON).await);
    let taken = begun.elapsed();
    assert!((1400..4000).contains(&taken.as_millis()), "{taken:?}");
    let record = decisions(&scene.client.log()).pop().expect("a record");
    assert_eq!(record["reason"], "hold_timeout");
}
