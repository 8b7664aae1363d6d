//! The truth table: when the application is connected to × who speaks first × who the client is.

use envoy_config::sidecar::{InboundFilter, SpeaksFirst, TCP_HOLD_KEY, TLS_HANDSHAKE_KEY};
use lab::tcp::{BANNER, TcpClient};
use serde_json::{Value, json};
use wasm_tests::fixtures::HTTPBIN;

use super::{
    SOON, Served, WHILE, assert_nothing_and_closed, clients, early_data_world, filters, guarded,
    inbound_world, only_sleep, serve, tcp_proxy,
};
use crate::support::World;

/// What tells the filter that it may hold a connection, and that a handshake has ended.
const MARKS: [&str; 2] = [TCP_HOLD_KEY, TLS_HANDSHAKE_KEY];

/// When the proxy connects to the application.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Connect {
    /// As `envoy-config` writes it: the filter holds the connection.
    Held,
    /// At once, as in Istio; the filter holds bytes.
    Immediate,
    /// With the client's first bytes; the filter holds bytes.
    OnData,
    /// After the handshake; the filter holds bytes.
    OnHandshake,
}

impl Connect {
    /// Takes away what `envoy-config` writes, so that Envoy alone decides when to connect.
    fn rewrite(self, bootstrap: &mut Value) {
        if self == Self::Held {
            return;
        }
        for filter in filters(bootstrap) {
            for event in ["on_new_connection", "on_downstream_tls_handshake"] {
                let values = filter["typed_config"].get_mut(event);
                if let Some(values) = values.and_then(Value::as_array_mut) {
                    values.retain(|value| !MARKS.iter().any(|mark| value["object_key"] == **mark));
                }
            }
        }
        tcp_proxy(bootstrap, |proxy| {
            let fields = proxy.as_object_mut().expect("fields");
            fields.remove("upstream_connect_mode");
            fields.remove("max_early_data_bytes");
            let mode = match self {
                Self::Held | Self::Immediate => return,
                Self::OnData => "ON_DOWNSTREAM_DATA",
                Self::OnHandshake => "ON_DOWNSTREAM_TLS_HANDSHAKE",
            };
            fields.insert("upstream_connect_mode".to_owned(), json!(mode));
            fields.insert("max_early_data_bytes".to_owned(), json!(16384));
        });
    }
}

/// One row: how often a denied client that is silent and one that speaks first make the proxy connect, and whether an
/// allowed client that is silent hears the server's greeting.
struct Row {
    connect: Connect,
    first: SpeaksFirst,
    accepts_for_denied: std::ops::RangeInclusive<u64>,
    greets_silent: Greets,
    closes_silent_denied: bool,
}

async fn check(row: &Row) {
    let Some(world) = inbound_world() else {
        return;
    };
    let world = &world;
    let served = guarded(
        world,
        row.first,
        &only_sleep(world),
        |_| {},
        |json| {
            row.connect.rewrite(json);
        },
    )
    .await;
    let greeting = super::greeting(row.first);
    let (allowed, denied) = clients(world);
    let what = format!("{:?} {:?}", row.connect, row.first);

    // A client that never begins a handshake.
    let mut nobody = TcpClient::open(served.address, None)
        .await
        .expect("connects");
    let heard = nobody.hear_out(WHILE).await;
    assert_eq!(heard.bytes, b"", "{what}: without a handshake");
    if row.connect != Connect::Immediate {
        assert_eq!(served.app.accepted(), 0, "{what}: without a handshake");
    }
    drop(nobody);
    let before = served.app.accepted();

    // THE assertion: not one byte of the server's banner reaches a denied client.
    let mut client = served.open(&denied).await;
    let heard = client
        .hear_out(if row.closes_silent_denied {
            SOON
        } else {
            WHILE
        })
        .await;
    assert_eq!(heard.bytes, b"", "{what}: denied and silent");
    assert_eq!(heard.ended, row.closes_silent_denied, "{what}");
    drop(client);
    let mut client = served.open(&denied).await;
    // The filter may have closed it before.
    client.send(b"let me in").await.unwrap_or_default();
    assert_nothing_and_closed(&client.hear_out(SOON).await);
    assert_eq!(
        served.app.received(),
        b"",
        "{what}: nothing of a denied client arrives"
    );
    let accepts = served.app.accepted() - before;
    assert!(
        row.accepts_for_denied.contains(&accepts),
        "{what}: {accepts} connects"
    );
    let recorded = served.decisions();
    let denials = recorded.iter().filter(|line| line["verdict"] == "deny");
    assert!(denials.clone().count() >= 1, "{what}: {recorded:?}");
    assert!(
        denials
            .clone()
            .all(|line| line["reason"] == "no_allow_matched"),
        "{recorded:?}"
    );

    let before = served.app.accepted();
    let mut client = served.open(&allowed).await;
    let limit = if row.greets_silent == Greets::Yes {
        SOON
    } else {
        WHILE
    };
    let heard = client.hear(greeting.len().max(1), limit).await;
    match row.greets_silent {
        Greets::Yes => assert_eq!(heard.bytes, greeting, "{what}: allowed and silent"),
        Greets::No => assert_eq!(heard.bytes, b"", "{what}: allowed and silent"),
        Greets::Race => assert!([greeting, b""].contains(&heard.bytes.as_slice()), "{what}"),
    }
    assert!(!heard.ended, "{what}");
    client.send(b"hello").await.expect("open");
    let rest = greeting.len() - heard.bytes.len() + 5;
    let heard = client.hear(rest, SOON).await;
    assert!(heard.bytes.ends_with(b"hello"), "{what}: {heard:?}");
    assert_eq!(heard.bytes.len(), rest, "{what}");
    assert_eq!(served.app.accepted() - before, 1, "{what}");
    assert_eq!(served.app.received(), b"hello");
}

/// Whether an allowed client that is silent hears the greeting.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Greets {
    Yes,
    No,
    /// If the server is slower than the handshake.
    Race,
}

const fn row(connect: Connect, first: SpeaksFirst) -> Row {
    Row {
        connect,
        first,
        accepts_for_denied: 0..=0,
        greets_silent: Greets::No,
        closes_silent_denied: false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_speaks_first_is_heard_by_the_allowed_alone_and_connected_for_nobody_else() {
    let row = Row {
        greets_silent: Greets::Yes,
        closes_silent_denied: true,
        ..row(Connect::Held, SpeaksFirst::Server)
    };
    check(&row).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_client_speaks_first_nobody_is_connected_for_a_denied_one() {
    let row = Row {
        closes_silent_denied: true,
        ..row(Connect::Held, SpeaksFirst::Client)
    };
    check(&row).await;
}

/// Istio's way. What the server said before the handshake ended stays where it is until it says more.
#[tokio::test(flavor = "multi_thread")]
async fn connected_at_once_nothing_leaks_and_the_first_words_wait_for_the_next() {
    for first in [SpeaksFirst::Server, SpeaksFirst::Client] {
        let row = Row {
            accepts_for_denied: 2..=2,
            greets_silent: if first == SpeaksFirst::Server {
                Greets::Race
            } else {
                Greets::No
            },
            closes_silent_denied: first == SpeaksFirst::Server,
            ..row(Connect::Immediate, first)
        };
        check(&row).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connected_on_data_nothing_leaks() {
    for first in [SpeaksFirst::Server, SpeaksFirst::Client] {
        check(&row(Connect::OnData, first)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connected_after_the_handshake_nothing_leaks() {
    let server = Row {
        accepts_for_denied: 1..=2,
        greets_silent: Greets::Yes,
        closes_silent_denied: true,
        ..row(Connect::OnHandshake, SpeaksFirst::Server)
    };
    check(&server).await;
    let client = Row {
        accepts_for_denied: 1..=2,
        ..row(Connect::OnHandshake, SpeaksFirst::Client)
    };
    check(&client).await;
}

/// Envoy's own filter, with rules that allow `sleep` alone.
async fn native(world: &World, connect: Connect) -> Served {
    let rules = json!({
        "action": "ALLOW",
        "policies": {"only-sleep": {
            "permissions": [{"any": true}],
            "principals": [{"authenticated": {"principal_name": {
                "exact": wasm_tests::fixtures::SLEEP,
            }}}],
        }},
    });
    let leaf = world.authority.svid(HTTPBIN);
    let filter = InboundFilter::NativeRbac { rules };
    // The spec refuses a server that speaks first behind it, so that is rewritten.
    let served = serve(
        world,
        &leaf,
        "native",
        SpeaksFirst::Client,
        filter.clone(),
        |_| {},
        |_| {},
    )
    .await;
    drop(served);
    let app = lab::tcp::TcpApp::start(BANNER).await.expect("a port");
    let port = app.address().port();
    let served = serve(
        world,
        &leaf,
        "native",
        SpeaksFirst::Client,
        filter,
        |_| {},
        |json| {
            connect.rewrite(json);
            let endpoints = &mut json["static_resources"]["clusters"][0]["load_assignment"];
            endpoints["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
                ["port_value"] = json!(port);
        },
    )
    .await;
    Served { app, ..served }
}

/// The contrast: these tests can fail, and Envoy's RBAC filter does.
#[tokio::test(flavor = "multi_thread")]
async fn natively_the_banner_leaks_to_a_denied_client_that_is_silent() {
    let Some(world) = early_data_world().await else {
        return;
    };
    let (_, denied) = clients(&world);
    for connect in [Connect::Immediate, Connect::OnHandshake] {
        let served = native(&world, connect).await;
        let mut client = served.open(&denied).await;
        let heard = client.hear(BANNER.len(), SOON).await;
        assert_eq!(heard.bytes, BANNER, "{connect:?}");
        client.send(b"x").await.expect("still open");
        assert!(client.hear_out(SOON).await.ended, "{connect:?}");
        assert_eq!(served.app.received(), b"", "{connect:?}");
    }
}
