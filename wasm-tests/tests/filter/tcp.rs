//! TCP connections through the built filter, held and let go as Envoy does it.

use std::time::Duration;

use serde_json::{Value, json};
use wasm_tests::fixtures::ca::{Authority, Leaf, LeafSpec};
use wasm_tests::fixtures::config::{ConfigSpec, UPSTREAM_CLUSTER, allow_principal};
use wasm_tests::fixtures::traffic::{mutual_tls, plaintext, upstream_not_ready, upstream_ready};
use wasm_tests::fixtures::{HTTPBIN, IMPOSTOR, NOW, SLEEP};
use wasm_tests::host::{Action, ConnectionId, Fault, Outcome, Plugin, Properties, Side, Status};

use crate::support::{configured, last_reason};

fn only_sleep(authority: &Authority) -> ConfigSpec {
    ConfigSpec::inbound(authority)
        .with("protocol", json!("tcp"))
        .policy(allow_principal(
            "only-sleep",
            "cluster.local/ns/default/sa/sleep",
        ))
}

/// What Envoy shows while the handshake goes on, of a listener that holds connections.
fn held() -> Properties {
    plaintext()
        .with("connection.tls_version", "TLSv1.2")
        .with_path(&["filter_state", "countersign.tcp_hold"], "yes")
}

/// The same when it has ended.
fn known(client: &Leaf) -> Properties {
    mutual_tls(client)
        .with_path(&["filter_state", "countersign.tcp_hold"], "yes")
        .with_path(&["filter_state", "countersign.tls_handshake"], "ended")
}

fn accept(plugin: &mut Plugin, properties: Properties) -> ConnectionId {
    let (connection, action) = plugin.connect(properties).expect("no trap");
    assert_eq!(action, Action::Pause, "it is held");
    connection
}

const SHORT: Duration = Duration::from_millis(600);

#[test]
fn a_held_connection_begins_when_its_peer_is_known_and_allowed() {
    let authority = Authority::new(NOW);
    let mut plugin = configured(&only_sleep(&authority));
    let connection = accept(&mut plugin, held());
    plugin.run_for(SHORT).expect("no trap");
    let state = plugin.connection(connection).expect("it is there");
    assert!(!state.begun && !state.closed, "{state:?}");
    let known = known(&authority.svid(SLEEP));
    plugin
        .set_connection_properties(connection, known)
        .expect("it is there");
    plugin.run_for(SHORT).expect("no trap");
    assert!(plugin.connection(connection).expect("it is there").begun);
    for (side, bytes) in [(Side::Upstream, b"220 hi"), (Side::Downstream, b"EHLO a")] {
        let action = plugin
            .data(connection, side, bytes, false)
            .expect("no trap");
        assert_eq!(action, Action::Continue);
    }
    let state = plugin.connection(connection).expect("it is there");
    assert_eq!(state.to_downstream, b"220 hi");
    assert_eq!(state.to_upstream, b"EHLO a");
    plugin.disconnect(connection).expect("no trap");
    // What was counted is told meanwhile.
    plugin.run_for(Duration::from_secs(5)).expect("no trap");
    assert_eq!(plugin.tick_period(), Duration::ZERO, "nothing is left");
}

#[test]
fn a_held_connection_is_closed_when_its_peer_is_known_and_denied() {
    let authority = Authority::new(NOW);
    let mut plugin = configured(&only_sleep(&authority));
    let connection = accept(&mut plugin, held());
    let known = known(&authority.svid(IMPOSTOR));
    plugin
        .set_connection_properties(connection, known)
        .expect("it is there");
    plugin.run_for(SHORT).expect("no trap");
    let state = plugin.connection(connection).expect("it is there");
    assert!(state.closed && !state.begun, "{state:?}");
    assert_eq!(last_reason(&plugin), "no_allow_matched");
    for side in [Side::Upstream, Side::Downstream] {
        let action = plugin
            .data(connection, side, b"late", false)
            .expect("no trap");
        assert_eq!(action, Action::Pause);
    }
}

/// Bytes held in front of a filter that waits, and those that follow, arrive in order.
#[test]
fn bytes_wait_with_the_connection_and_arrive_in_order() {
    let authority = Authority::new(NOW);
    let mut plugin = configured(&ConfigSpec::outbound(&authority).with("protocol", json!("tcp")));
    let (connection, action) = plugin.connect(upstream_not_ready()).expect("no trap");
    assert_eq!(action, Action::Continue);
    for piece in [b"one ", b"two "] {
        let action = plugin
            .data(connection, Side::Downstream, piece, false)
            .expect("no trap");
        assert_eq!(action, Action::Pause);
    }
    let ready = upstream_ready(&authority.svid(HTTPBIN));
    plugin
        .set_connection_properties(connection, ready)
        .expect("it is there");
    plugin.run_for(SHORT).expect("no trap");
    let action = plugin
        .data(connection, Side::Downstream, b"three", true)
        .expect("no trap");
    assert_eq!(action, Action::Continue);
    let state = plugin.connection(connection).expect("it is there");
    assert_eq!(state.to_upstream, b"one two three");
}

#[test]
fn a_server_of_another_name_gets_and_gives_nothing() {
    let authority = Authority::new(NOW);
    let mut plugin = configured(&ConfigSpec::outbound(&authority).with("protocol", json!("tcp")));
    let impostor = upstream_ready(&authority.svid(IMPOSTOR));
    assert!(
        impostor.paths().contains(&"xds.cluster_name".to_owned()),
        "{UPSTREAM_CLUSTER}"
    );
    let outcome = plugin.connect_and_send(impostor).expect("no trap");
    assert_eq!(outcome, Outcome::Reset);
    assert_eq!(last_reason(&plugin), "unexpected_identity");
}

/// A new configuration closes what it denies; the root context the connection came under is gone.
#[test]
fn a_new_configuration_decides_about_connections_of_the_one_before() {
    let authority = Authority::new(NOW);
    let mut plugin = configured(&ConfigSpec::inbound(&authority).with("protocol", json!("tcp")));
    let open = |plugin: &mut Plugin, id: &str| {
        let (connection, _) = plugin.connect(known(&authority.svid(id))).expect("no trap");
        let action = plugin
            .data(connection, Side::Downstream, b"x", false)
            .expect("no trap");
        assert_eq!(action, Action::Continue, "{id}");
        connection
    };
    let kept = open(&mut plugin, SLEEP);
    let denied = open(&mut plugin, IMPOSTOR);
    assert!(
        plugin
            .replace_root(only_sleep(&authority).json())
            .expect("no trap")
    );
    plugin.run_for(SHORT).expect("no trap");
    assert!(plugin.connection(denied).expect("it is there").closed);
    assert!(!plugin.connection(kept).expect("it is there").closed);
    let action = plugin
        .data(kept, Side::Upstream, b"x", false)
        .expect("no trap");
    assert_eq!(action, Action::Continue);
}

/// Envoy sets the timer of the root context that a connection came under, whoever decides about it by now.
#[test]
fn each_of_many_configurations_decides_while_the_first_one_lives_on() {
    let authority = Authority::new(NOW);
    let everybody = ConfigSpec::inbound(&authority).with("protocol", json!("tcp"));
    let mut plugin = configured(&everybody);
    let (kept, _) = plugin
        .connect(known(&authority.svid(SLEEP)))
        .expect("no trap");
    let send =
        |plugin: &mut Plugin, connection| plugin.data(connection, Side::Downstream, b"x", false);
    assert_eq!(send(&mut plugin, kept).expect("no trap"), Action::Continue);
    for round in 0..4 {
        let (denied, _) = plugin
            .connect(known(&authority.svid(IMPOSTOR)))
            .expect("no trap");
        assert_eq!(
            send(&mut plugin, denied).expect("no trap"),
            Action::Continue
        );
        assert!(
            plugin
                .add_root(only_sleep(&authority).json())
                .expect("no trap")
        );
        plugin.run_for(SHORT).expect("no trap");
        assert!(plugin.connection(denied).expect("there").closed, "{round}");
        assert!(!plugin.connection(kept).expect("there").closed, "{round}");
        assert!(plugin.add_root(everybody.json()).expect("no trap"));
        plugin.run_for(SHORT).expect("no trap");
    }
    let nobody = everybody.policy(allow_principal("nobody", "cluster.local/ns/none/sa/none"));
    assert!(plugin.add_root(nobody.json()).expect("no trap"));
    plugin.run_for(SHORT).expect("no trap");
    assert!(plugin.connection(kept).expect("there").closed);
}

/// Envoy lets go of a configuration that no connection came under, and takes up the one before, without a word.
#[test]
fn a_configuration_taken_back_leaves_no_connection_behind() {
    let authority = Authority::new(NOW);
    let everybody = ConfigSpec::inbound(&authority).with("protocol", json!("tcp"));
    let mut plugin = configured(&only_sleep(&authority));
    let short = authority.issue(&LeafSpec::of(SLEEP).valid(-60, 5));
    let open = |plugin: &mut Plugin, leaf: &Leaf| {
        let (connection, _) = plugin.connect(known(leaf)).expect("no trap");
        let action = plugin.data(connection, Side::Downstream, b"x", false);
        assert_eq!(action.expect("no trap"), Action::Continue);
        connection
    };
    let ending = open(&mut plugin, &short);
    let kept = open(&mut plugin, &authority.svid(SLEEP));
    assert!(plugin.add_root(everybody.json()).expect("no trap"));
    plugin.run_for(SHORT).expect("no trap");
    plugin.drop_root().expect("no trap");
    plugin.run_for(Duration::from_secs(7)).expect("no trap");
    assert!(
        plugin.connection(ending).expect("there").closed,
        "its certificate has ended"
    );
    assert!(!plugin.connection(kept).expect("there").closed);
    let nobody = everybody.policy(allow_principal("nobody", "cluster.local/ns/none/sa/none"));
    assert!(plugin.add_root(nobody.json()).expect("no trap"));
    plugin.run_for(SHORT).expect("no trap");
    assert!(plugin.connection(kept).expect("there").closed);
}

const STATUSES: [Status; 12] = [
    Status::NotFound,
    Status::BadArgument,
    Status::SerializationFailure,
    Status::ParseFailure,
    Status::BadExpression,
    Status::InvalidMemoryAccess,
    Status::Empty,
    Status::CasMismatch,
    Status::ResultMismatch,
    Status::InternalFailure,
    Status::BrokenConnection,
    Status::Unimplemented,
];

const HOSTCALLS: [&str; 9] = [
    "proxy_get_property",
    "proxy_get_current_time_nanoseconds",
    "proxy_set_tick_period_milliseconds",
    "proxy_set_effective_context",
    "proxy_continue_stream",
    "proxy_close_stream",
    "proxy_call_foreign_function",
    "proxy_log",
    "proxy_define_metric",
];

/// Whatever a hostcall answers: no trap, and not one byte of or for a denied peer passes.
#[test]
fn no_status_of_any_hostcall_lets_a_denied_peer_through() {
    let authority = Authority::new(NOW);
    for hostcall in HOSTCALLS {
        for status in STATUSES {
            let mut plugin = configured(&only_sleep(&authority));
            plugin.inject(Fault::status(hostcall, status));
            for early in [true, false] {
                let (connection, _) = plugin.connect(held()).expect("no trap");
                if early {
                    plugin
                        .data(connection, Side::Upstream, b"220 hi", false)
                        .expect("no trap");
                }
                let known = known(&authority.svid(IMPOSTOR));
                plugin
                    .set_connection_properties(connection, known)
                    .expect("it is there");
                plugin.run_for(SHORT).expect("no trap");
                for side in [Side::Downstream, Side::Upstream] {
                    plugin
                        .data(connection, side, b"bytes", false)
                        .expect("no trap");
                }
                plugin.run_for(SHORT).expect("no trap");
                let state = plugin.connection(connection).expect("it is there");
                let passed = (state.to_downstream.len(), state.to_upstream.len());
                assert_eq!(passed, (0, 0), "{hostcall} {status:?}");
                plugin.disconnect(connection).expect("no trap");
            }
            assert!(!plugin.is_dead(), "{hostcall} {status:?}");
        }
    }
}

/// The same for an allowed one: what the decision rests on cannot be read, so nothing passes either.
#[test]
fn without_what_a_decision_rests_on_nobody_passes() {
    let authority = Authority::new(NOW);
    for (hostcall, about) in [
        ("proxy_get_property", Some("connection.mtls")),
        (
            "proxy_get_property",
            Some("connection.sha256_peer_certificate_digest"),
        ),
        ("proxy_get_property", Some("connection.peer_certificate")),
        (
            "proxy_get_property",
            Some("connection.peer_certificate_valid"),
        ),
        ("proxy_get_current_time_nanoseconds", None),
        ("proxy_call_foreign_function", None),
    ] {
        for status in STATUSES {
            // "There is none" is an answer of Envoys that lack the attribute.
            if status == Status::NotFound && about == Some("connection.peer_certificate_valid") {
                continue;
            }
            let mut plugin = configured(&only_sleep(&authority));
            let fault = Fault::status(hostcall, status);
            plugin.inject(match about {
                Some(about) => fault.about(about),
                None => fault,
            });
            let properties = known(&authority.svid(SLEEP));
            let outcome = plugin.connect_and_send(properties).expect("no trap");
            assert_eq!(outcome, Outcome::Reset, "{hostcall} {about:?} {status:?}");
            assert!(plugin.clear_faults().iter().any(|fault| fault.hits() > 0));
        }
    }
}

#[test]
fn the_record_says_that_it_was_a_connection() {
    let authority = Authority::new(NOW);
    let mut plugin = configured(&only_sleep(&authority));
    let sleep = authority.svid(SLEEP);
    let outcome = plugin.connect_and_send(known(&sleep)).expect("no trap");
    assert_eq!(outcome, Outcome::Continued);
    let record: Value = plugin.decisions().next().expect("a record");
    assert_eq!(record["peer"], SLEEP);
    assert_eq!(record["peerSha256"], sleep.sha256());
    assert_eq!(record["policy"], "ns[default]-policy[only-sleep]-rule[0]");
    assert_eq!(
        (&record["method"], &record["path"]),
        (&json!(""), &json!(""))
    );
}
