//! A world that changes: open connections are closed when their peer would be denied by now.

use std::time::{Duration, Instant};

use envoy_config::sidecar::{SpeaksFirst, TcpServer};
use lab::tcp::{BANNER, TcpClient};
use serde_json::json;
use wasm_tests::fixtures::config::{ConfigSpec, allow_principal};
use wasm_tests::fixtures::{IMPOSTOR, SLEEP};

use super::{SOON, Served, clients, guarded, inbound, inbound_world, only_sleep};
use crate::list_server::ListServer;
use crate::reload::Discovered;
use crate::support::eventually;

/// From the change to the end of the connection.
const BOUND: Duration = Duration::from_secs(2);

async fn assert_open(client: &mut TcpClient) {
    client.send(b"still here").await.expect("open");
    assert_eq!(client.hear(10, SOON).await.bytes, b"still here");
}

async fn assert_ends_in_time(client: &mut TcpClient, since: Instant) {
    let heard = client.hear_out(SOON).await;
    let taken = since.elapsed();
    assert_eq!((heard.bytes.len(), heard.ended), (0, true), "{heard:?}");
    assert!(taken <= BOUND, "{taken:?}");
}

/// Opens a connection that gets through, which it does once there is a deny list.
async fn opened(served: &Served, tls: &lab::http::Tls) -> TcpClient {
    let mut found = None;
    eventually("a connection", Duration::from_secs(10), async || {
        let mut client = served.open(tls).await;
        let heard = client.hear(BANNER.len(), Duration::from_secs(2)).await;
        let good = heard.bytes == BANNER;
        found = good.then_some(client);
        good
    })
    .await;
    found.expect("there is one")
}

fn with_list(config: ConfigSpec, list: &ListServer) -> ConfigSpec {
    config.with(
        "denyList",
        json!({"cluster": envoy_config::AGENT_HTTP_CLUSTER, "keys": [list.public_key_pem()]}),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificates_open_connections_end_within_two_seconds() {
    let Some(world) = inbound_world() else {
        return;
    };
    let list = ListServer::start(&world.path("agent.sock"));
    let config = with_list(inbound(&world), &list);
    let socket = list.socket().to_owned();
    let agent = |spec: &mut TcpServer| spec.agent_http = Some(socket.clone());
    let served = guarded(&world, SpeaksFirst::Server, &config, agent, |_| {}).await;
    let leaf = world.authority.svid(SLEEP);
    let (revoked, other) = (
        world.tls("one", &leaf),
        world.tls("two", &world.authority.svid(SLEEP)),
    );
    let mut silent = opened(&served, &revoked).await;
    let mut busy = opened(&served, &revoked).await;
    let mut kept = opened(&served, &other).await;
    for client in [&mut busy, &mut kept] {
        assert_open(client).await;
    }
    list.publish(&[(leaf.sha256(), "revoked")]);
    let since = Instant::now();
    assert_ends_in_time(&mut silent, since).await;
    assert_ends_in_time(&mut busy, since).await;
    assert_open(&mut kept).await;
    let records = served.decisions();
    let ended: Vec<_> = records
        .iter()
        .filter(|line| line["reason"] == "revoked")
        .collect();
    assert_eq!(ended.len(), 2, "{records:?}");
    assert!(ended.iter().all(|line| line["open"] == true), "{ended:?}");
    assert_eq!(
        served
            .stat("wasmcustom.countersign_connections_closed")
            .await,
        2
    );
    let mut again = served.open(&revoked).await;
    assert!(again.hear_out(SOON).await.ended);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_ends_with_its_certificate() {
    let Some(world) = inbound_world() else {
        return;
    };
    let served = guarded(
        &world,
        SpeaksFirst::Server,
        &only_sleep(&world),
        |_| {},
        |_| {},
    )
    .await;
    let issued = Instant::now();
    let short = world.short_lived(SLEEP, 12);
    let mut client = opened(&served, &world.tls("short", &short)).await;
    let (long, _) = clients(&world);
    let mut kept = opened(&served, &long).await;
    assert_open(&mut client).await;
    let heard = client.hear_out(Duration::from_secs(15)).await;
    let taken = issued.elapsed();
    assert!(heard.ended, "{heard:?}");
    assert!((11..=14).contains(&taken.as_secs()), "{taken:?}");
    assert_eq!(
        served.decisions().last().expect("a record")["reason"],
        "expired"
    );
    assert_open(&mut kept).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_policy_closes_the_open_connections_that_it_denies_and_no_others() {
    let Some(world) = inbound_world() else {
        return;
    };
    let (sleep, other) = clients(&world);
    let discovered = Discovered::new(world.path("ecds.json"));
    let everybody = inbound(&world);
    let served = guarded(
        &world,
        SpeaksFirst::Server,
        &everybody,
        |_| {},
        |json| {
            discovered.take_from(json);
        },
    )
    .await;
    let mut kept = opened(&served, &sleep).await;
    let mut denied = opened(&served, &other).await;
    assert_open(&mut kept).await;
    assert_open(&mut denied).await;

    discovered.configure(&only_sleep(&world).json());
    let since = Instant::now();
    assert_ends_in_time(&mut denied, since).await;
    assert_open(&mut kept).await;
    assert!(served.open(&other).await.hear_out(SOON).await.ended);

    // And back: Envoy takes up the configuration it still has.
    discovered.configure(&everybody.json());
    let mut denied = opened(&served, &other).await;
    assert_open(&mut kept).await;
    let only_other = inbound(&world).policy(allow_principal(
        "only-other",
        IMPOSTOR.strip_prefix("spiffe://").expect("an ID"),
    ));
    discovered.configure(&only_other.json());
    let since = Instant::now();
    assert_ends_in_time(&mut kept, since).await;
    assert_open(&mut denied).await;
}
