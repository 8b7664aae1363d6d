//! Secure naming: an impostor with a valid certificate never receives a byte of a request.

use std::time::{Duration, Instant};

use envoy_config::sidecar::{Hold, InboundFilter, Retry, SanMatchers, Server, Upstream};
use tokio::net::TcpListener;
use wasm_tests::fixtures::config::ConfigSpec;
use wasm_tests::fixtures::{HTTPBIN, IMPOSTOR, SLEEP};

use crate::bodies;
use crate::running::{ClientUnderTest, ServerUnderTest};
use crate::support::{World, ids, loopback};

/// The good server, the impostor, and a client that believes both to be httpbin.
struct Scene {
    world: World,
    good: ServerUnderTest,
    impostor: ServerUnderTest,
    client: ClientUnderTest,
}

const GOOD: &str = "good.example";
const BAD: &str = "bad.example";

async fn scene(hold: Hold, matchers: SanMatchers, change: impl Fn(&mut Upstream)) -> Scene {
    scene_in(World::new(), hold, matchers, change).await
}

async fn scene_in(
    world: World,
    hold: Hold,
    matchers: SanMatchers,
    change: impl Fn(&mut Upstream),
) -> Scene {
    let leaf = world.authority.svid(HTTPBIN);
    let good = world
        .envoy_server("good", &leaf, InboundFilter::None, |_| {}, |_| {})
        .await;
    let leaf = world.authority.svid(IMPOSTOR);
    let impostor = world
        .envoy_server("impostor", &leaf, InboundFilter::None, |_| {}, |_| {})
        .await;
    let source = world.files("sleep", &world.authority.svid(SLEEP));
    let upstream = |name: &str, host: &str, server: &ServerUnderTest| {
        let mut upstream =
            Upstream::new(name, server.address.into(), ids(&[HTTPBIN]), source.clone());
        upstream.hosts = vec![host.to_owned()];
        upstream.hold = hold;
        upstream.san_matchers = matchers;
        change(&mut upstream);
        upstream
    };
    let upstreams = vec![
        upstream("good", GOOD, &good),
        upstream("bad", BAD, &impostor),
    ];
    let config = outbound(&world);
    let config = (hold == Hold::On).then_some(&config);
    let client = world.client(config, upstreams, |_| {}).await;
    Scene {
        world,
        good,
        impostor,
        client,
    }
}

/// The clusters are written by `envoy-config`.
fn outbound(world: &World) -> ConfigSpec {
    ConfigSpec::outbound(&world.authority).with(
        "secureNaming",
        serde_json::json!({"clusters": {}, "hold": {"milliseconds": 1500}}),
    )
}

/// Connections came, and not one request over them.
async fn assert_untouched(impostor: ServerUnderTest, least_connections: u64) {
    let connections = impostor.stat("http.inbound.downstream_cx_total").await;
    assert!(
        connections >= least_connections,
        "only {connections} connections: nothing was tried"
    );
    assert_eq!(impostor.stat("http.inbound.downstream_rq_total").await, 0);
    assert_eq!(impostor.echo.requests(), 0);
    assert_eq!(
        impostor.stop().await,
        Vec::<serde_json::Value>::new(),
        "its access log is empty"
    );
}

#[track_caller]
fn assert_refused_by_the_hold(answer: &lab::http::Answer) {
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(
        answer.text().starts_with("secure naming: "),
        "{}",
        answer.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_either_lock_the_impostor_is_served() {
    let scene = scene(Hold::Off, SanMatchers::Off, |_| {}).await;
    assert_eq!(
        scene.client.get(BAD).await.status,
        200,
        "the control: these tests can fail"
    );
    assert_eq!(scene.impostor.echo.requests(), 1);
    assert_eq!(scene.impostor.stop().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_matcher_alone_refuses_the_impostor() {
    let scene = scene(Hold::Off, SanMatchers::On, |_| {}).await;
    assert_eq!(scene.client.get(GOOD).await.status, 200);
    for body in [Vec::new(), vec![7; 3_000_000]] {
        let answer = scene.client.send(BAD, "POST", "/post", body).await;
        assert_eq!(answer.status, 503, "{}", answer.text());
    }
    assert_eq!(
        scene
            .impostor
            .stat("http.inbound.downstream_rq_total")
            .await,
        0
    );
    assert_eq!(scene.impostor.echo.requests(), 0);
    assert_eq!(scene.impostor.stop().await, Vec::<serde_json::Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hold_alone_lets_nothing_through() {
    hold_alone(World::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Envoy 1.36 in .tools/envoy"]
async fn so_it_is_in_the_oldest_supported_envoy() {
    hold_alone(World::oldest()).await;
}

async fn hold_alone(world: World) {
    let scene = scene_in(world, Hold::On, SanMatchers::Off, |_| {}).await;
    for size in [0, 10, 3_000_000] {
        let answer = scene
            .client
            .send(GOOD, "POST", "/post", vec![7; size])
            .await;
        assert_eq!(answer.status, 200, "{size}: {}", answer.text());
        assert_eq!(answer.json()["bytes"], size);
        let answer = scene.client.send(BAD, "POST", "/post", vec![7; size]).await;
        assert_refused_by_the_hold(&answer);
    }
    assert_eq!(scene.client.get(GOOD).await.status, 200);
    for _ in 0..3 {
        assert_refused_by_the_hold(&scene.client.get(BAD).await);
    }
    let connection = bodies::connect(scene.client.address).await;
    let (body, status) = bodies::post(&connection, GOOD);
    bodies::trickle(body, 40).await;
    assert_eq!(status.await.unwrap(), Some(200));
    let (body, status) = bodies::post(&connection, BAD);
    bodies::trickle(body, 40).await;
    assert_eq!(status.await.unwrap(), Some(503));

    let many: Vec<_> = (0..50).map(|_| bodies::get(&connection, BAD)).collect();
    for status in many {
        assert_eq!(status.await.unwrap(), Some(503));
    }
    let many: Vec<_> = (0..50).map(|_| bodies::get(&connection, GOOD)).collect();
    for status in many {
        assert_eq!(status.await.unwrap(), Some(200));
    }
    let denied = scene.client.decisions();
    let denied: Vec<_> = denied
        .iter()
        .filter(|record| record["verdict"] == "deny")
        .collect();
    assert!(denied.len() >= 54, "{}", denied.len());
    assert!(
        denied.iter().all(|record| record["peer"] == IMPOSTOR),
        "{:?}",
        denied.first()
    );
    assert_untouched(scene.impostor, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_do_not_get_past_the_hold() {
    let retry = |upstream: &mut Upstream| {
        upstream.retry = Some(Retry {
            on: vec![
                "5xx".to_owned(),
                "connect-failure".to_owned(),
                "reset".to_owned(),
            ],
            attempts: 3,
            per_try_timeout: Some(Duration::from_millis(500)),
            hedge: envoy_config::sidecar::Hedge::Never,
        });
    };
    let scene = scene(Hold::On, SanMatchers::Off, retry).await;
    assert_eq!(scene.client.get(GOOD).await.status, 200);
    for _ in 0..5 {
        assert_refused_by_the_hold(&scene.client.get(BAD).await);
        let answer = scene
            .client
            .send(BAD, "POST", "/post", vec![7; 10_000])
            .await;
        assert_refused_by_the_hold(&answer);
    }
    assert_untouched(scene.impostor, 1).await;
}

/// The good server fails each request, and the other address of the cluster is the impostor's.
async fn retry_at_the_impostor(world: World) {
    let leaf = world.authority.svid(HTTPBIN);
    let nobody = loopback(lab::ports::free().expect("a port"));
    let failing = |spec: &mut Server| spec.app = nobody.into();
    let good = world
        .envoy_server("good", &leaf, InboundFilter::None, failing, |_| {})
        .await;
    let leaf = world.authority.svid(IMPOSTOR);
    let impostor = world
        .envoy_server("impostor", &leaf, InboundFilter::None, |_| {}, |_| {})
        .await;
    let source = world.files("sleep", &world.authority.svid(SLEEP));
    let mut upstream = Upstream::new("both", good.address.into(), ids(&[HTTPBIN]), source);
    upstream.endpoints.push(impostor.address.into());
    upstream.hold = Hold::On;
    upstream.san_matchers = SanMatchers::Off;
    upstream.retry = Some(Retry {
        on: vec!["5xx".to_owned()],
        attempts: 3,
        per_try_timeout: Some(Duration::from_millis(500)),
        hedge: envoy_config::sidecar::Hedge::Never,
    });
    let client = world
        .client(Some(&outbound(&world)), vec![upstream], |_| {})
        .await;
    for size in [0, 100_000].repeat(5) {
        let answer = client.send(GOOD, "POST", "/post", vec![7; size]).await;
        assert_eq!(answer.status, 503, "{}", answer.text());
    }
    assert!(good.stat("http.inbound.downstream_rq_total").await > 0);
    assert_untouched(impostor, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_at_another_server_is_checked_anew() {
    retry_at_the_impostor(World::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Envoy 1.36 in .tools/envoy"]
async fn a_retry_is_checked_anew_in_the_oldest_supported_envoy() {
    retry_at_the_impostor(World::oldest()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_requests_leave_nothing_behind() {
    let scene = scene(Hold::On, SanMatchers::Off, |_| {}).await;
    for pause in [0, 1, 2, 5, 20] {
        let connection = bodies::connect(scene.client.address).await;
        let (body, status) = bodies::post(&connection, BAD);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        status.abort();
        drop((body, connection));
    }
    assert_eq!(scene.client.get(GOOD).await.status, 200);
    assert_refused_by_the_hold(&scene.client.get(BAD).await);
    assert_untouched(scene.impostor, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_finishes_its_handshake_is_given_up() {
    let world = World::new();
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = silent.local_addr().expect("bound");
    let source = world.files("sleep", &world.authority.svid(SLEEP));
    let mut upstream = Upstream::new("bad", address.into(), ids(&[HTTPBIN]), source);
    upstream.hold = Hold::On;
    upstream.san_matchers = SanMatchers::Off;
    // Envoy's own limit must not come first.
    upstream.connect_timeout = Duration::from_secs(30);
    let client = world
        .client(Some(&outbound(&world)), vec![upstream], |_| {})
        .await;
    let begun = Instant::now();
    let answer = client.get(BAD).await;
    let taken = begun.elapsed();
    assert_refused_by_the_hold(&answer);
    assert!((1400..10_000).contains(&taken.as_millis()), "{taken:?}");
    let record = client.decisions().pop().expect("a record");
    assert_eq!(
        (&record["verdict"], &record["reason"]),
        (&"deny".into(), &"hold_timeout".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn both_locks_together_serve_the_good_server_and_nobody_else() {
    let scene = scene(Hold::On, SanMatchers::On, |_| {}).await;
    for _ in 0..20 {
        assert_eq!(scene.client.get(GOOD).await.status, 200);
    }
    assert_eq!(scene.client.get(BAD).await.status, 503);
    assert_eq!(scene.good.echo.requests(), 20);
    assert_untouched(scene.impostor, 1).await;
    drop(scene.world);
}
