//! Policies, certificates, mutual TLS modes and old Envoys.

use std::time::Duration;

use envoy_config::EnvoyVersion;
use envoy_config::sidecar::{FilterStateRoute, InboundFilter, SpeaksFirst};
use lab::tcp::{BANNER, TcpClient};
use serde_json::{Value, json};
use wasm_tests::fixtures::ca::{Authority, LeafSpec};
use wasm_tests::fixtures::config::{ConfigSpec, authorization_policy};
use wasm_tests::fixtures::{HTTPBIN, IMPOSTOR, SLEEP};

use super::{
    SOON, Served, WHILE, assert_nothing_and_closed, clients, filters, guarded, inbound,
    inbound_world, only_sleep, serve,
};
use crate::support::{World, now};

/// The reason of the last denial.
#[track_caller]
fn last_reason(served: &Served) -> Value {
    let records = served.decisions();
    let last = records.last().expect("a record");
    assert_eq!(last["verdict"], "deny", "{last}");
    last["reason"].clone()
}

async fn assert_greeted(client: &mut TcpClient) {
    assert_eq!(client.hear(BANNER.len(), SOON).await.bytes, BANNER);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_is_counted_and_recorded_with_peer_and_policy() {
    let Some(world) = inbound_world() else {
        return;
    };
    let (allowed, denied) = clients(&world);
    let served = guarded(
        &world,
        SpeaksFirst::Server,
        &only_sleep(&world),
        |_| {},
        |_| {},
    )
    .await;
    assert_greeted(&mut served.open(&allowed).await).await;
    assert_nothing_and_closed(&served.open(&denied).await.hear_out(SOON).await);
    let records = served.decisions();
    assert_eq!(records.len(), 2, "{records:?}");
    assert_eq!(records[0]["peer"], SLEEP);
    assert_eq!(
        records[0]["policy"],
        "ns[default]-policy[only-sleep]-rule[0]"
    );
    assert_eq!(records[0]["local"], HTTPBIN);
    assert_eq!(records[1]["peer"], IMPOSTOR);
    assert_eq!(records[1]["reason"], "no_allow_matched");
    let counted = "wasmcustom.countersign_decision_deny_no_allow_matched";
    assert_eq!(served.stat(counted).await, 1);
}

/// A large transfer in both directions, in pieces, past a filter that decides once.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_allowed_arrives_whole() {
    let Some(world) = inbound_world() else {
        return;
    };
    let (allowed, _) = clients(&world);
    for first in [SpeaksFirst::Server, SpeaksFirst::Client] {
        let served = guarded(&world, first, &only_sleep(&world), |_| {}, |_| {}).await;
        let mut client = served.open(&allowed).await;
        let greeting = super::greeting(first).len();
        assert_eq!(client.hear(greeting, SOON).await.bytes.len(), greeting);
        let mut sent = Vec::new();
        for round in 0_u8..40 {
            let piece: Vec<u8> = (0..25_000_u32)
                .map(|n| round.wrapping_add(n.to_le_bytes()[0]))
                .collect();
            client.send(&piece).await.expect("open");
            let heard = client.hear(piece.len(), SOON).await;
            assert_eq!(heard.bytes, piece, "round {round}");
            sent.extend_from_slice(&piece);
        }
        assert_eq!(served.app.received(), sent);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_is_looked_at_as_on_requests() {
    let Some(world) = inbound_world() else {
        return;
    };
    let other = Authority::named(now(), "another");
    let pool = format!("{}{}", world.authority.root_pem, other.root_pem);
    std::fs::write(world.root(), pool).expect("writable");
    let served = guarded(
        &world,
        SpeaksFirst::Server,
        &inbound(&world),
        |_| {},
        |_| {},
    )
    .await;
    let two = LeafSpec::of(SLEEP).and_uri(IMPOSTOR);
    for (name, leaf, reason) in [
        ("two", world.authority.issue(&two), "two_uri_sans"),
        ("foreign", other.svid(SLEEP), "unknown_issuer"),
    ] {
        let mut client = served.open(&world.tls(name, &leaf)).await;
        assert_nothing_and_closed(&client.hear_out(SOON).await);
        assert_eq!(last_reason(&served), reason);
    }
    assert_eq!(served.app.accepted(), 0);
    let (good, _) = clients(&world);
    assert_greeted(&mut served.open(&good).await).await;
}

/// The way of Envoy 1.37 and 1.38, which have no attribute for the certificate.
#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_may_come_by_filter_state() {
    let Some(world) = inbound_world() else {
        return;
    };
    let (allowed, denied) = clients(&world);
    let by_state = |spec: &mut envoy_config::sidecar::TcpServer| {
        spec.envoy = EnvoyVersion::new(1, 37);
        spec.filter_state_route = FilterStateRoute::Always;
    };
    let config = only_sleep(&world);
    let served = guarded(&world, SpeaksFirst::Server, &config, by_state, |_| {}).await;
    assert_greeted(&mut served.open(&allowed).await).await;
    assert_nothing_and_closed(&served.open(&denied).await.hear_out(SOON).await);
}

/// In an ALLOW rule a field of HTTP lets nobody in, in a DENY rule it keeps nobody out of reach.
#[tokio::test(flavor = "multi_thread")]
async fn fields_of_http_never_open_a_connection() {
    let Some(world) = inbound_world() else {
        return;
    };
    let (allowed, _) = clients(&world);
    let get = json!({"operation": {"methods": ["GET"]}});
    let sleep = json!({"source": {"principals": ["cluster.local/ns/default/sa/sleep"]}});
    for (action, rules, reason) in [
        (
            "ALLOW",
            json!([{"from": [sleep], "to": [get]}]),
            "no_allow_matched",
        ),
        ("DENY", json!([{"to": [get]}]), "matched_deny"),
        (
            "DENY",
            json!([{"from": [sleep], "to": [get]}]),
            "matched_deny",
        ),
    ] {
        let config = inbound(&world).policy(authorization_policy("http", action, rules));
        let served = guarded(&world, SpeaksFirst::Server, &config, |_| {}, |_| {}).await;
        let mut client = served.open(&allowed).await;
        assert_nothing_and_closed(&client.hear_out(SOON).await);
        assert_eq!(last_reason(&served), reason, "{action}");
        assert_eq!(served.app.accepted(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_ports_and_server_names_are_the_connections() {
    let Some(world) = inbound_world() else {
        return;
    };
    let (allowed, _) = clients(&world);
    for (rules, passes) in [
        (
            json!([{"from": [{"source": {"ipBlocks": ["127.0.0.0/8"]}}]}]),
            true,
        ),
        (
            json!([{"from": [{"source": {"remoteIpBlocks": ["127.0.0.1"]}}]}]),
            true,
        ),
        (
            json!([{"from": [{"source": {"ipBlocks": ["10.0.0.0/8"]}}]}]),
            false,
        ),
        (json!([{"to": [{"operation": {"ports": ["1"]}}]}]), false),
        (
            json!([{"when": [{"key": "destination.ip", "values": ["127.0.0.1"]}]}]),
            true,
        ),
        (
            json!([{"when": [{"key": "connection.sni", "values": ["other"]}]}]),
            false,
        ),
    ] {
        let config = inbound(&world).policy(authorization_policy("a", "ALLOW", rules.clone()));
        let served = guarded(&world, SpeaksFirst::Server, &config, |_| {}, |_| {}).await;
        let mut client = served.open(&allowed).await;
        if passes {
            assert_greeted(&mut client).await;
        } else {
            assert_nothing_and_closed(&client.hear_out(SOON).await);
            assert_eq!(served.app.accepted(), 0, "{rules}");
        }
    }
}

fn peer_authentication(mode: &str) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": "default", "namespace": "default"},
        "spec": {"mtls": {"mode": mode}},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn permissive_takes_plaintext_where_policies_do() {
    let Some(world) = inbound_world() else {
        return;
    };
    let (allowed, denied) = clients(&world);
    let config = inbound(&world).policy(peer_authentication("PERMISSIVE"));
    let served = guarded(&world, SpeaksFirst::Client, &config, |_| {}, |_| {}).await;
    for tls in [None, Some(&denied)] {
        let mut client = TcpClient::open(served.address, tls)
            .await
            .expect("connects");
        client.send(b"hello").await.expect("open");
        assert_eq!(client.hear(5, SOON).await.bytes, b"hello");
    }
    let config = only_sleep(&world).policy(peer_authentication("PERMISSIVE"));
    let served = guarded(&world, SpeaksFirst::Client, &config, |_| {}, |_| {}).await;
    let mut client = TcpClient::open(served.address, None)
        .await
        .expect("connects");
    client.send(b"hello").await.unwrap_or_default();
    assert_nothing_and_closed(&client.hear_out(SOON).await);
    let mut client = served.open(&allowed).await;
    client.send(b"hello").await.expect("open");
    assert_eq!(client.hear(5, SOON).await.bytes, b"hello");
    assert_eq!(served.app.accepted(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_refuses_plaintext_in_the_handshake_and_in_the_filter() {
    let Some(world) = inbound_world() else {
        return;
    };
    let (allowed, _) = clients(&world);
    let config = inbound(&world).policy(peer_authentication("STRICT"));
    let served = guarded(&world, SpeaksFirst::Server, &config, |_| {}, |_| {}).await;
    let mut client = TcpClient::open(served.address, None)
        .await
        .expect("connects");
    client
        .send(b"hello, this is no handshake")
        .await
        .expect("open");
    // A TLS alert is all that comes.
    let heard = client.hear_out(SOON).await;
    assert!(heard.ended && heard.bytes.len() < 10, "{heard:?}");
    assert_greeted(&mut served.open(&allowed).await).await;
    assert_eq!(served.app.accepted(), 1);

    // A listener that takes plaintext all the same.
    let without_tls = |json: &mut Value| {
        let chain = &mut json["static_resources"]["listeners"][0]["filter_chains"][0];
        let chain = chain.as_object_mut().expect("a chain");
        chain.remove("transport_socket");
        chain.remove("transport_socket_connect_timeout");
    };
    let served = guarded(&world, SpeaksFirst::Server, &config, |_| {}, without_tls).await;
    let mut client = TcpClient::open(served.address, None)
        .await
        .expect("connects");
    assert_nothing_and_closed(&client.hear_out(SOON).await);
    assert_eq!(last_reason(&served), "mtls_required");
    assert_eq!(served.app.accepted(), 0);
}

/// A configuration for requests ends the module at the first connection, and that closes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_of_the_other_kind_lets_nothing_through() {
    let Some(world) = inbound_world() else {
        return;
    };
    let (allowed, _) = clients(&world);
    let to_http = |json: &mut Value| {
        let found = filters(json)
            .iter_mut()
            .find_map(|filter| filter.pointer_mut("/typed_config/config/configuration/value"));
        let value = found.expect("our filter");
        let text = value.as_str().expect("JSON in a text");
        let mut config: Value = serde_json::from_str(text).expect("JSON");
        config["protocol"] = json!("http");
        *value = json!(config.to_string());
    };
    let config = inbound(&world);
    let served = guarded(&world, SpeaksFirst::Server, &config, |_| {}, to_http).await;
    let heard = match TcpClient::open(served.address, Some(&allowed)).await {
        Ok(mut client) => client.hear_out(SOON).await.bytes,
        Err(_) => Vec::new(),
    };
    assert_eq!(heard, b"");
}

/// Envoy 1.36 shows a network filter no certificate, so whoever has one is denied; a banner leaks to nobody.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Envoy 1.36 in .tools/envoy"]
async fn the_oldest_supported_envoy_denies_tcp_whatever_the_policy() {
    let world = World::oldest();
    let (allowed, denied) = clients(&world);
    let config = only_sleep(&world).json();
    let module = world.module.clone();
    let with_filter = |json: &mut Value| {
        let wasm = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.wasm.v3.Wasm",
            "config": {
                "name": "countersign", "root_id": "countersign",
                "vm_config": {
                    "vm_id": "t", "runtime": "envoy.wasm.runtime.v8",
                    "code": {"local": {"filename": module}},
                },
                "configuration": {
                    "@type": "type.googleapis.com/google.protobuf.StringValue",
                    "value": config,
                },
                "failure_policy": "FAIL_CLOSED",
            },
        });
        filters(json).insert(0, json!({"name": "wasm", "typed_config": wasm}));
    };
    let leaf = world.authority.svid(HTTPBIN);
    for first in [SpeaksFirst::Server, SpeaksFirst::Client] {
        let none = InboundFilter::None;
        let served = serve(&world, &leaf, "server", first, none, |_| {}, with_filter).await;
        for tls in [&allowed, &denied] {
            let mut client = served.open(tls).await;
            assert_eq!(client.hear_out(WHILE).await.bytes, b"");
            client.send(b"hello").await.unwrap_or_default();
            assert_nothing_and_closed(&client.hear_out(SOON).await);
        }
        assert_eq!(served.app.received(), b"");
        assert_eq!(last_reason(&served), "certificate_missing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_ends_its_handshake_is_given_up() {
    let Some(world) = inbound_world() else {
        return;
    };
    let config: ConfigSpec = only_sleep(&world);
    let served = guarded(
        &world,
        SpeaksFirst::Server,
        &config,
        |_| {},
        |json| {
            let chain = &mut json["static_resources"]["listeners"][0]["filter_chains"][0];
            chain["transport_socket_connect_timeout"] = json!("1s");
        },
    )
    .await;
    let mut client = TcpClient::open(served.address, None)
        .await
        .expect("connects");
    // The first bytes of a ClientHello, and no more.
    client
        .send(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01])
        .await
        .expect("open");
    let begun = std::time::Instant::now();
    assert_nothing_and_closed(&client.hear_out(SOON).await);
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(served.app.accepted(), 0);
    assert_eq!(served.decisions(), Vec::<Value>::new());
}
