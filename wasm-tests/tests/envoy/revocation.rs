//! The deny list, polled over a Unix socket: effect on connections that are open.

use std::time::{Duration, Instant};

use lab::http::{Connection, Version};
use serde_json::json;
use wasm_tests::fixtures::SLEEP;
use wasm_tests::fixtures::ca::Leaf;
use wasm_tests::fixtures::config::ConfigSpec;

use crate::list_server::ListServer;
use crate::running::ServerUnderTest;
use crate::support::{World, assert_forbidden, eventually};

/// Length of an entry of a list.
const RECORD_BYTES: usize = 40;
/// From the list's publication to the first 403.
const BOUND: Duration = Duration::from_secs(2);

struct Scene {
    world: World,
    list: ListServer,
    server: ServerUnderTest,
    client: Leaf,
}

async fn scene(world: World) -> Scene {
    let list = ListServer::start(&world.path("agent.sock"));
    let config = ConfigSpec::inbound(&world.authority).with(
        "denyList",
        json!({"cluster": envoy_config::AGENT_HTTP_CLUSTER, "keys": [list.public_key_pem()]}),
    );
    let socket = list.socket().to_owned();
    let change = |spec: &mut envoy_config::sidecar::Server| spec.agent_http = Some(socket.clone());
    let server = world.server_with(&config, change, |_| {}).await;
    let client = world.authority.svid(SLEEP);
    Scene {
        world,
        list,
        server,
        client,
    }
}

/// Asks until the answer has this status; how long that took. Any other but `before` fails.
async fn until(connection: &mut Connection, before: u16, after: u16) -> Duration {
    let begun = Instant::now();
    loop {
        let answer = connection
            .get("/get")
            .await
            .expect("the connection stays open");
        if answer.status == after {
            return begun.elapsed();
        }
        assert_eq!(answer.status, before);
        assert!(begun.elapsed() < Duration::from_secs(10), "still {before}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn suspend_and_resume(world: World) {
    let Scene {
        world,
        list,
        server,
        client,
    } = scene(world).await;
    let tls = world.tls("sleep", &client);
    let other = world.tls("other", &world.authority.svid(SLEEP));
    for version in [Version::Http1, Version::Http2] {
        let mut connection = server.connect(&tls, version).await.expect("a handshake");
        eventually("the first list", Duration::from_secs(5), async || {
            connection.get("/get").await.expect("an answer").status == 200
        })
        .await;
        list.publish(&[(client.sha256(), "suspended")]);
        let suspended = until(&mut connection, 200, 403).await;
        assert!(suspended <= BOUND, "{suspended:?}");
        assert_eq!(server.decisions().last().unwrap()["reason"], "suspended");
        let answer = server.get(&other, "/get").await.expect("an answer");
        assert_eq!(
            answer.status, 200,
            "another certificate of the same identity goes on"
        );
        list.publish(&[]);
        let resumed = until(&mut connection, 403, 200).await;
        assert!(resumed <= BOUND, "{resumed:?}");
        list.publish(&[(client.sha256(), "revoked")]);
        let revoked = until(&mut connection, 200, 403).await;
        assert!(revoked <= BOUND, "{revoked:?}");
        list.publish(&[]);
        until(&mut connection, 403, 200).await;
    }
    assert!(list.polls() > 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_certificate_is_refused_on_its_open_connection_within_two_seconds() {
    suspend_and_resume(World::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Envoy 1.36 in .tools/envoy"]
async fn so_it_is_in_the_oldest_supported_envoy() {
    suspend_and_resume(World::oldest()).await;
}

/// Envoy refuses a call at once where the cluster has no hosts, and may answer it besides: the SDK ends the
/// module on a reply to a call it does not know.
async fn refused_polls(world: World) {
    let list = ListServer::start(&world.path("agent.sock"));
    let config = ConfigSpec::inbound(&world.authority).with(
        "denyList",
        json!({
            "cluster": envoy_config::AGENT_HTTP_CLUSTER,
            "keys": [list.public_key_pem()],
            "stale": "allow",
        }),
    );
    let socket = list.socket().to_owned();
    let without_hosts = |bootstrap: &mut serde_json::Value| {
        for cluster in bootstrap["static_resources"]["clusters"]
            .as_array_mut()
            .expect("clusters")
        {
            if cluster["name"] == envoy_config::AGENT_HTTP_CLUSTER {
                cluster["load_assignment"]["endpoints"] = json!([]);
            }
        }
    };
    let change = |spec: &mut envoy_config::sidecar::Server| spec.agent_http = Some(socket.clone());
    let server = world.server_with(&config, change, without_hosts).await;
    let tls = world.tls("sleep", &world.authority.svid(SLEEP));
    eventually("refused polls", Duration::from_secs(10), async || {
        let answer = server.get(&tls, "/get").await.expect("an answer");
        assert_eq!(answer.status, 200);
        server
            .stat("wasmcustom.countersign_deny_list_poll_failed")
            .await
            > 3
    })
    .await;
    assert_eq!(list.polls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_that_envoy_refuses_at_once_do_no_harm() {
    refused_polls(World::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Envoy 1.36 in .tools/envoy"]
async fn refused_polls_do_no_harm_in_the_oldest_supported_envoy() {
    refused_polls(World::oldest()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_worker_refuses() {
    let Scene {
        world,
        list,
        server,
        client,
    } = scene(World::new()).await;
    let tls = world.tls("sleep", &client);
    let mut connections = Vec::new();
    for _ in 0..16 {
        connections.push(
            server
                .connect(&tls, Version::Http1)
                .await
                .expect("a handshake"),
        );
    }
    for connection in &mut connections {
        eventually("the first list", Duration::from_secs(5), async || {
            connection.get("/get").await.expect("an answer").status == 200
        })
        .await;
    }
    list.publish(&[(client.sha256(), "revoked")]);
    tokio::time::sleep(BOUND).await;
    for connection in &mut connections {
        assert_forbidden(&connection.get("/get").await.expect("an answer"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_worker_asks_for_all_and_is_told_what_changed() {
    let Scene {
        world,
        list,
        server,
        client,
    } = scene(World::new()).await;
    let many: Vec<_> = (0..99_999_u32)
        .map(|number| (format!("{number:064x}"), "revoked"))
        .collect();
    list.publish(&many);
    let mut connection = server
        .connect(&world.tls("sleep", &client), Version::Http1)
        .await
        .expect("a handshake");
    let all = many.len() * RECORD_BYTES;
    let limit = Duration::from_secs(20);
    eventually("all entries", limit, async || list.served() >= all).await;
    eventually("the first list", limit, async || {
        connection.get("/get").await.expect("an answer").status == 200
    })
    .await;
    // A second worker that asked for all would have done so by now.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let first = list.served();
    assert!(first < 2 * all, "{first} bytes, all entries are {all}");
    let (polls, served) = (list.polls(), list.served());
    tokio::time::sleep(Duration::from_secs(5)).await;
    let polled = list.polls() - polls;
    assert!(
        (5..=16).contains(&polled),
        "{polled} polls in 5 s by two workers"
    );
    let mut more = many.clone();
    more.push((client.sha256(), "revoked"));
    list.publish(&more);
    let revoked = until(&mut connection, 200, 403).await;
    assert!(revoked <= BOUND, "{revoked:?}");
    let told = list.served() - served;
    assert!(
        told < 20_000,
        "{told} bytes for one entry, after {served} for all"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_passes_before_the_first_list() {
    let Scene {
        world,
        list,
        server,
        client,
    } = scene(World::new()).await;
    let socket = list.socket().to_owned();
    drop(list);
    drop(server);
    std::fs::remove_file(&socket).expect("nobody serves there any more");
    let config = ConfigSpec::inbound(&world.authority).with(
        "denyList",
        json!({
            "cluster": envoy_config::AGENT_HTTP_CLUSTER,
            "keys": [wasm_tests::fixtures::deny_list::ListSigner::new().public_key_pem()],
        }),
    );
    let change = |spec: &mut envoy_config::sidecar::Server| spec.agent_http = Some(socket.clone());
    let server = world.server_with(&config, change, |_| {}).await;
    let answer = server
        .get(&world.tls("sleep", &client), "/get")
        .await
        .expect("an answer");
    assert_forbidden(&answer);
    assert_eq!(
        server.decisions().last().unwrap()["reason"],
        "deny_list_missing"
    );
}
