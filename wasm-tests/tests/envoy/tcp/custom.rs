//! CUSTOM on TCP: the filter decides, then Envoy asks a provider, and the application hears of nobody who was not
//! let in by both.

use std::net::SocketAddr;
use std::time::Duration;

use envoy_config::sidecar::{SpeaksFirst, TcpServer};
use serde_json::{Value, json};
use wasm_tests::fixtures::config::{ConfigSpec, authorization_policy};
use wasm_tests::fixtures::{HTTPBIN, SLEEP};

use super::{
    SOON, Served, WHILE, assert_nothing_and_closed, clients, filters, guarded, inbound,
    inbound_world,
};
use crate::authorizer::Authorizer;
use crate::custom::over_tls::{PROVIDER, others};
use crate::support::{World, ids};
use crate::tls_front::{Arrival, TlsFront};

/// Whom the policies allow and the provider refuses.
const REFUSED: &str = "spiffe://cluster.local/ns/default/sa/refused";
/// Whom they allow, and about whom the provider has an error to tell.
const BROKEN: &str = "spiffe://cluster.local/ns/default/sa/broken";

/// A provider that takes its time: less than the limit for its answer, and than tests wait for bytes.
const SLOW: Duration = Duration::from_secs(3);

/// Everybody is asked about; `sleep`, `refused` and `broken` are allowed.
fn policies(world: &World) -> ConfigSpec {
    let mut ask = authorization_policy("ask", "CUSTOM", json!([{}]));
    ask["spec"]["provider"] = json!({"name": "opa"});
    let names =
        ["sleep", "refused", "broken"].map(|name| format!("cluster.local/ns/default/sa/{name}"));
    let allowed = json!([{"from": [{"source": {"principals": names}}]}]);
    inbound(world)
        .policy(ask)
        .policy(authorization_policy("allowed", "ALLOW", allowed))
}

/// How the provider at this address is written.
fn written(provider: SocketAddr) -> Value {
    json!({"name": "opa", "envoyExtAuthzGrpc": {
        "service": provider.ip(), "port": provider.port(), "timeout": "5s",
    }})
}

async fn asking(world: &World, provider: SocketAddr, rewrite: impl Fn(&mut Value)) -> Served {
    let providers = json!([written(provider)]);
    let set = |spec: &mut TcpServer| {
        spec.mesh.extension_providers =
            serde_json::from_value(providers.clone()).expect("providers");
    };
    guarded(world, SpeaksFirst::Client, &policies(world), set, rewrite).await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_is_allowed_and_consented_to_reaches_the_application() {
    let Some(world) = inbound_world() else {
        return;
    };
    let provider = Authorizer::grpc().await;
    let served = asking(&world, provider.address, |_| {}).await;
    let (sleep, impostor) = clients(&world);
    let refused = world.tls("refused", &world.authority.svid(REFUSED));
    let broken = world.tls("broken", &world.authority.svid(BROKEN));

    let mut client = served.open(&sleep).await;
    client.send(b"hello").await.expect("open");
    assert_eq!(client.hear(5, SOON).await.bytes, b"hello");
    client.send(b"again").await.expect("open");
    assert_eq!(client.hear(5, SOON).await.bytes, b"again");
    assert_eq!(provider.asked(), [SLEEP], "once a connection");

    for (tls, asked) in [(&refused, REFUSED), (&broken, BROKEN)] {
        let mut client = served.open(tls).await;
        client.send(b"hello").await.expect("open");
        assert_nothing_and_closed(&client.hear_out(SOON).await);
        assert_eq!(provider.asked(), [asked]);
    }

    let mut client = served.open(&impostor).await;
    client.send(b"hello").await.ok();
    assert_nothing_and_closed(&client.hear_out(SOON).await);
    assert_eq!(provider.asked(), Vec::<String>::new(), "denied before");
    assert_eq!(served.app.accepted(), 1, "only who got through");
    assert_eq!(served.app.received(), b"helloagain");

    provider.stop().await;
    let mut client = served.open(&sleep).await;
    client.send(b"hello").await.expect("open");
    assert_nothing_and_closed(&client.hear_out(SOON).await);
    assert_eq!(served.app.accepted(), 1, "a provider that is away denies");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_wait_for_the_answer() {
    let Some(world) = inbound_world() else {
        return;
    };
    let provider = Authorizer::slow_grpc(SLOW).await;
    let served = asking(&world, provider.address, |_| {}).await;
    let (sleep, _) = clients(&world);
    let mut client = served.open(&sleep).await;
    client.send(b"hello").await.expect("open");
    assert_eq!(client.hear(1, WHILE).await.bytes, b"");
    assert_eq!((served.app.accepted(), provider.asked().len()), (0, 1));
    assert_eq!(client.hear(5, SOON).await.bytes, b"hello");

    // Why the provider is not asked in front of the filter, as `doctor` warns: the filter, letting go of what it
    // holds, lets go of what waits for the answer, too.
    let in_front = |bootstrap: &mut Value| {
        // The mark, our filter, what picks, what asks, the proxy.
        filters(bootstrap)[1..4].rotate_left(1);
    };
    let served = asking(&world, provider.address, in_front).await;
    let mut client = served.open(&sleep).await;
    client.send(b"hello").await.expect("open");
    let heard = client.hear(5, SLOW / 2).await;
    assert_eq!(heard.bytes, b"hello", "before the provider has answered");
}

/// One that does not answer in time: the connection is closed, unless the provider is said to be `failOpen`; then DENY
/// and ALLOW hold all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_too_slow_closes_the_connection() {
    let Some(world) = inbound_world() else {
        return;
    };
    let provider = Authorizer::slow_grpc(2 * SLOW).await;
    for fail_open in [false, true] {
        let mut opa = written(provider.address);
        opa["envoyExtAuthzGrpc"]["timeout"] = json!("400ms");
        opa["envoyExtAuthzGrpc"]["failOpen"] = json!(fail_open);
        let set = |spec: &mut TcpServer| {
            spec.mesh.extension_providers =
                serde_json::from_value(json!([opa])).expect("a provider");
        };
        let first = SpeaksFirst::Client;
        let served = guarded(&world, first, &policies(&world), set, |_| {}).await;
        let (sleep, impostor) = clients(&world);
        let mut client = served.open(&sleep).await;
        client.send(b"hello").await.expect("open");
        let heard = client.hear(5, 2 * SLOW - WHILE).await;
        let expected = if fail_open { "hello" } else { "" };
        let accepted = u64::from(fail_open);
        assert_eq!(heard.bytes, expected.as_bytes());
        assert_eq!(heard.ended, !fail_open);
        assert_eq!(provider.asked(), [SLEEP]);

        let mut client = served.open(&impostor).await;
        client.send(b"hello").await.ok();
        assert_nothing_and_closed(&client.hear_out(SOON).await);
        assert_eq!(served.app.accepted(), accepted, "failOpen: {fail_open}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_who_it_says_it_is() {
    let Some(world) = inbound_world() else {
        return;
    };
    let provider = Authorizer::grpc().await;
    let roots = world.authority.root_pem.clone();
    let good = world.authority.svid(PROVIDER);
    let front = TlsFront::start(provider.address, &good, Some(&roots)).await;
    let set = |spec: &mut TcpServer| {
        let opa = json!([written(front.address)]);
        spec.mesh.extension_providers = serde_json::from_value(opa).expect("a provider");
        spec.mesh.provider_identities = [("opa".to_owned(), ids(&[PROVIDER]))].into();
    };
    let first = SpeaksFirst::Client;
    let served = guarded(&world, first, &policies(&world), set, |_| {}).await;
    let (sleep, _) = clients(&world);
    for (_, leaf) in others(&world) {
        front.show(&leaf, Some(&roots));
        let mut client = served.open(&sleep).await;
        client.send(b"hello").await.expect("open");
        assert_nothing_and_closed(&client.hear_out(SOON).await);
    }
    assert_eq!(front.arrivals(), []);
    assert_eq!((provider.asked().len(), served.app.accepted()), (0, 0));

    front.show(&good, Some(&roots));
    let mut client = served.open(&sleep).await;
    client.send(b"hello").await.expect("open");
    assert_eq!(client.hear(5, SOON).await.bytes, b"hello");
    assert_eq!(provider.asked(), [SLEEP]);
    let client = Some(HTTPBIN.to_owned());
    let arrival = Arrival {
        server_name: None,
        client,
    };
    assert_eq!(front.arrivals(), [arrival]);
}
