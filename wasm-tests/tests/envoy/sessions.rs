//! Certificates that run out, and TLS sessions that are resumed.

use std::time::Duration;

use lab::http::{Resumption, Version};
use wasm_tests::fixtures::SLEEP;
use wasm_tests::fixtures::ca::LeafSpec;
use wasm_tests::fixtures::config::{ConfigSpec, allow_principal};

use crate::running::ServerUnderTest;
use crate::support::{World, assert_forbidden};

/// Statistic of the resumed handshakes of the one listener.
const RESUMED: &str = r"^listener\..*ssl\.session_reused$";

fn only_sleep(world: &World) -> ConfigSpec {
    ConfigSpec::inbound(&world.authority).policy(allow_principal(
        "only-sleep",
        "cluster.local/ns/default/sa/sleep",
    ))
}

/// A server that resumes sessions, as no bootstrap of ours does.
async fn resuming_server(world: &World) -> ServerUnderTest {
    let rewrite = |bootstrap: &mut serde_json::Value| {
        let filter_chain = &mut bootstrap["static_resources"]["listeners"][0]["filter_chains"][0];
        let tls = &mut filter_chain["transport_socket"]["typed_config"];
        for setting in [
            "disable_stateless_session_resumption",
            "disable_stateful_session_resumption",
        ] {
            assert_eq!(tls[setting], true, "what our bootstraps say");
            tls[setting] = false.into();
        }
    };
    world.server_with(&only_sleep(world), |_| {}, rewrite).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_cannot_connect() {
    let world = World::new();
    let server = world.server(&only_sleep(&world)).await;
    let expired = world.authority.issue(&LeafSpec::of(SLEEP).valid(-600, -5));
    let answer = server.get(&world.tls("expired", &expired), "/get").await;
    assert!(answer.is_err(), "{answer:?}");
    assert_eq!(server.echo.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_expires_is_refused_on_its_open_connection() {
    let world = World::new();
    let server = world.server(&only_sleep(&world)).await;
    let short = world.short_lived(SLEEP, 8);
    let tls = world.tls("short", &short);
    let mut connection = server
        .connect(&tls, Version::Http1)
        .await
        .expect("a handshake");
    assert_eq!(connection.get("/get").await.expect("an answer").status, 200);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_forbidden(&connection.get("/get").await.expect("an answer"));
    assert_eq!(server.decisions().last().unwrap()["reason"], "expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn our_bootstrap_resumes_no_session() {
    let world = World::new();
    let server = world.server(&only_sleep(&world)).await;
    let sleep = world.authority.svid(SLEEP);
    let tls = world.tls_with("sleep", &sleep, Resumption::WhenOffered);
    for _ in 0..4 {
        assert_eq!(
            server.get(&tls, "/get").await.expect("an answer").status,
            200
        );
    }
    assert_eq!(server.stats_sum(RESUMED).await, 0);
}

async fn refuses_resumed_sessions(world: World) {
    let server = resuming_server(&world).await;
    let short = world.short_lived(SLEEP, 8);
    let tls = world.tls_with("short", &short, Resumption::WhenOffered);
    assert_eq!(
        server.get(&tls, "/get").await.expect("an answer").status,
        200
    );
    tokio::time::sleep(Duration::from_secs(10)).await;
    let resumed = server
        .get(&tls, "/get")
        .await
        .expect("Envoy resumes without looking");
    assert_forbidden(&resumed);
    assert_eq!(
        server.stats_sum(RESUMED).await,
        1,
        "the session was not resumed, nothing was shown"
    );
    assert_eq!(server.echo.requests(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_on_a_resumed_session_is_refused_even_where_envoy_resumes() {
    refuses_resumed_sessions(World::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Envoy 1.36 in .tools/envoy"]
async fn so_it_is_in_the_oldest_supported_envoy() {
    refuses_resumed_sessions(World::oldest()).await;
}
