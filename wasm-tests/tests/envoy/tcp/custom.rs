//! CUSTOM on TCP: the filter decides, then Envoy asks a provider, and the application hears of nobody who was not
//! let in by both.

use std::net::SocketAddr;
use std::time::Duration;

use envoy_config::sidecar::{SpeaksFirst, TcpServer};
use serde_json::{Value, json};
use wasm_tests::fixtures::SLEEP;
use wasm_tests::fixtures::config::{ConfigSpec, authorization_policy};

use super::{
    SOON, Served, WHILE, assert_nothing_and_closed, clients, filters, guarded, inbound,
    inbound_world,
};
use crate::authorizer::Authorizer;
use crate::support::World;

/// Whom the policies allow and the provider refuses.
const REFUSED: &str = "spiffe://cluster.local/ns/default/sa/refused";

/// A provider that takes its time: less than the limit for its answer, and than tests wait for bytes.
const SLOW: Duration = Duration::from_secs(3);

/// Everybody is asked about; `sleep` and `refused` are allowed.
fn policies(world: &World) -> ConfigSpec {
    let mut ask = authorization_policy("ask", "CUSTOM", json!([{}]));
    ask["spec"]["provider"] = json!({"name": "opa"});
    let names = ["sleep", "refused"].map(|name| format!("cluster.local/ns/default/sa/{name}"));
    let allowed = json!([{"from": [{"source": {"principals": names}}]}]);
    inbound(world)
        .policy(ask)
        .policy(authorization_policy("allowed", "ALLOW", allowed))
}

async fn asking(world: &World, provider: SocketAddr, rewrite: impl Fn(&mut Value)) -> Served {
    let providers = json!([{"name": "opa", "envoyExtAuthzGrpc": {
        "service": provider.ip(), "port": provider.port(), "timeout": "5s",
    }}]);
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

    let mut client = served.open(&sleep).await;
    client.send(b"hello").await.expect("open");
    assert_eq!(client.hear(5, SOON).await.bytes, b"hello");
    client.send(b"again").await.expect("open");
    assert_eq!(client.hear(5, SOON).await.bytes, b"again");
    assert_eq!(provider.asked(), [SLEEP], "once a connection");

    let mut client = served.open(&refused).await;
    client.send(b"hello").await.expect("open");
    assert_nothing_and_closed(&client.hear_out(SOON).await);
    assert_eq!(provider.asked(), [REFUSED]);

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
