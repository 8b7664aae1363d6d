use serde_json::json;

use super::super::world::{SLEEP, World};
use super::{CONNECTION, Effect, Listener, OTHER};
use crate::connection::IDENTITY_LIMIT;
use crate::host::{Action, Side};

#[test]
fn a_held_connection_is_let_go_when_its_peer_is_known_and_allowed() {
    let world = World::tcp();
    assert_eq!(world.accept(CONNECTION, Listener::Holding), Action::Pause);
    assert_eq!(world.ticks(5), None, "the handshake goes on");
    world.finish(CONNECTION, &world.authority.leaf(SLEEP));
    assert_eq!(world.ticks(1), Some(Effect::LetGo(CONNECTION)));
    for side in [Side::Upstream, Side::Downstream] {
        assert_eq!(world.bytes(CONNECTION, side), Action::Continue);
    }
}

#[test]
fn a_held_connection_is_closed_when_its_peer_is_known_and_denied() {
    let world = World::tcp();
    assert_eq!(world.accept(CONNECTION, Listener::Holding), Action::Pause);
    world.finish(CONNECTION, &world.authority.leaf(OTHER));
    assert_eq!(world.ticks(1), Some(Effect::Closed(CONNECTION)));
    assert_eq!(world.recorded(), ("no_allow_matched".to_owned(), false));
    world.assert_shut(CONNECTION);
    assert_eq!(world.effect(), None, "it is closed once");
    let counted = "countersign_decision_deny_no_allow_matched";
    assert_eq!(world.host.metric(counted), Some(1));
}

/// A certificate can be sent by anybody; only the end of the handshake proves who has its key.
#[test]
fn a_certificate_in_the_middle_of_a_handshake_counts_for_nothing() {
    let world = World::tcp();
    assert_eq!(world.accept(CONNECTION, Listener::Holding), Action::Pause);
    world.present(CONNECTION, &world.authority.leaf(SLEEP));
    assert_eq!(world.ticks(8), None);
    assert_eq!(world.bytes(CONNECTION, Side::Upstream), Action::Pause);
}

/// The client's bytes come out of the handshake's keys, with or without a mark.
#[test]
fn bytes_of_the_client_decide_at_once() {
    for listener in [Listener::Holding, Listener::Free] {
        let world = World::tcp();
        let _first = world.accept(CONNECTION, listener);
        world.present(CONNECTION, &world.authority.leaf(SLEEP));
        assert_eq!(world.bytes(CONNECTION, Side::Downstream), Action::Continue);
        assert_eq!(world.bytes(CONNECTION, Side::Upstream), Action::Continue);

        let _first = world.accept(CONNECTION + 1, listener);
        world.present(CONNECTION + 1, &world.authority.leaf(OTHER));
        assert_eq!(world.bytes(CONNECTION + 1, Side::Downstream), Action::Pause);
        assert_eq!(world.effect(), Some(Effect::Closed(CONNECTION + 1)));
    }
}

#[test]
fn an_end_without_bytes_before_the_handshake_decides_nothing() {
    let world = World::bare();
    let mut config = world.tcp_config();
    config["policies"] = json!([]);
    assert!(world.configure(&config));
    assert_eq!(world.accept(CONNECTION, Listener::Free), Action::Continue);
    world.host.enter(CONNECTION);
    let end = world.vm.on_data(CONNECTION, Side::Downstream, 0);
    assert_eq!(end, Action::Pause);
    assert_eq!(world.bytes(CONNECTION, Side::Upstream), Action::Pause);
}

/// Istio's listeners: bytes of the application may come before the handshake has ended.
#[test]
fn early_bytes_of_the_application_wait_and_their_peer_is_asked_for_again() {
    let world = World::tcp();
    assert_eq!(world.accept(CONNECTION, Listener::Free), Action::Continue);
    assert_eq!(world.bytes(CONNECTION, Side::Upstream), Action::Pause);
    assert_eq!(
        world.ticks(4),
        None,
        "no certificate is not the same as none"
    );
    world.present(CONNECTION, &world.authority.leaf(SLEEP));
    // Envoy has no way to let them go; the next ones take them along.
    assert_eq!(world.ticks(2), None);
    let waiting = "countersign_upstream_bytes_waiting";
    assert_eq!(world.host.metric(waiting), Some(1));
    assert_eq!(world.bytes(CONNECTION, Side::Upstream), Action::Continue);
    assert_eq!(world.bytes(CONNECTION, Side::Downstream), Action::Continue);
}

#[test]
fn early_bytes_of_the_application_never_reach_a_denied_peer() {
    let world = World::tcp();
    assert_eq!(world.accept(CONNECTION, Listener::Free), Action::Continue);
    assert_eq!(world.bytes(CONNECTION, Side::Upstream), Action::Pause);
    world.present(CONNECTION, &world.authority.leaf(OTHER));
    assert_eq!(world.ticks(2), Some(Effect::Closed(CONNECTION)));
    world.assert_shut(CONNECTION);
}

#[test]
fn a_peer_that_does_not_get_known_is_given_up() {
    for listener in [Listener::Holding, Listener::Free] {
        let world = World::tcp();
        let _first = world.accept(CONNECTION, listener);
        let _paused = world.bytes(CONNECTION, Side::Upstream);
        let limit = u32::try_from(IDENTITY_LIMIT).unwrap();
        let mut passed = 0;
        let effect = loop {
            passed += world.host.tick();
            if let Some(effect) = world.ticks(1) {
                break effect;
            }
            assert!(passed <= limit, "{passed} ms");
        };
        assert_eq!(effect, Effect::Closed(CONNECTION));
        assert!((limit..=limit + 250).contains(&passed), "{passed} ms");
        assert_eq!(world.recorded(), ("identity_timeout".to_owned(), false));
    }
}

#[test]
fn plaintext_is_decided_on_before_anything_is_connected() {
    let world = World::tcp();
    assert_eq!(world.accept(CONNECTION, Listener::Plaintext), Action::Pause);
    assert_eq!(world.effect(), Some(Effect::Closed(CONNECTION)));
    assert_eq!(world.recorded(), ("no_allow_matched".to_owned(), false));

    let mut config = world.tcp_config();
    config["policies"] = json!([]);
    assert!(world.configure(&config));
    assert_eq!(world.accept(8, Listener::Plaintext), Action::Continue);
    assert_eq!(world.bytes(8, Side::Upstream), Action::Continue);
    assert_eq!(world.bytes(8, Side::Downstream), Action::Continue);
}

/// Were the proxy to show nothing of TLS before its handshake, a peer must not get in as one without.
#[test]
fn what_was_taken_for_plaintext_and_shows_a_certificate_is_decided_on_anew() {
    for side in [Side::Downstream, Side::Upstream] {
        let world = World::bare();
        let mut config = world.tcp_config();
        config["policies"] = json!([{
            "apiVersion": "security.istio.io/v1",
            "kind": "AuthorizationPolicy",
            "metadata": {"name": "not-that-one", "namespace": "default"},
            "spec": {"action": "DENY", "rules": [{
                "from": [{"source": {"principals": ["cluster.local/ns/default/sa/sleep"]}}],
            }]},
        }]);
        assert!(world.configure(&config));
        assert_eq!(
            world.accept(CONNECTION, Listener::Plaintext),
            Action::Continue
        );
        assert_eq!(world.bytes(CONNECTION, Side::Upstream), Action::Continue);
        world
            .host
            .set_property("connection.tls_version", b"TLSv1.3");
        world.present(CONNECTION, &world.authority.leaf(SLEEP));
        assert_eq!(world.bytes(CONNECTION, side), Action::Pause, "{side:?}");
        assert_eq!(world.effect(), Some(Effect::Closed(CONNECTION)));
    }
}

#[test]
fn strict_mutual_tls_refuses_plaintext() {
    let world = World::bare();
    let mut config = world.tcp_config();
    config["policies"] = json!([{
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": "default", "namespace": "default"},
        "spec": {"mtls": {"mode": "STRICT"}},
    }]);
    assert!(world.configure(&config));
    world.host.enter(CONNECTION);
    let _first = world.accept(CONNECTION, Listener::Plaintext);
    let _closed = world.effect();
    // Whether the mode depends on the port or not, plaintext does not pass.
    let (reason, _) = world.recorded();
    assert!(
        ["mtls_required", "attribute_unreadable"].contains(&reason.as_str()),
        "{reason}"
    );
    world.assert_shut(CONNECTION);
}

#[test]
fn the_certificate_is_looked_at_as_for_requests() {
    let world = World::tcp();
    for (leaf, reason) in [
        (world.authority.leaf_valid(SLEEP, -100, -1), "expired"),
        (world.authority.leaf_valid(SLEEP, 5, 100), "not_yet_valid"),
        (
            super::super::world::Authority::new().leaf(SLEEP),
            "unknown_issuer",
        ),
    ] {
        let _first = world.accept(CONNECTION, Listener::Holding);
        world.finish(CONNECTION, &leaf);
        assert_eq!(world.ticks(1), Some(Effect::Closed(CONNECTION)), "{reason}");
        assert_eq!(world.recorded().0, reason);
    }
}

/// Envoy below 1.37 shows a network filter no certificate.
#[test]
fn a_certificate_that_is_not_shown_is_a_denial() {
    let world = World::tcp();
    let _first = world.accept(CONNECTION, Listener::Free);
    world.present(CONNECTION, &world.authority.leaf(SLEEP));
    world.host.remove_property("connection.peer_certificate");
    world
        .host
        .remove_property("connection.peer_certificate_valid");
    assert_eq!(world.bytes(CONNECTION, Side::Downstream), Action::Pause);
    assert_eq!(world.effect(), Some(Effect::Closed(CONNECTION)));
    assert_eq!(world.recorded().0, "certificate_missing");
}

#[test]
fn the_certificate_may_come_by_filter_state() {
    let world = World::tcp();
    let leaf = world.authority.leaf(SLEEP);
    let _first = world.accept(CONNECTION, Listener::Holding);
    world.finish(CONNECTION, &leaf);
    world.host.remove_property("connection.peer_certificate");
    world
        .host
        .remove_property("connection.peer_certificate_valid");
    world.host.set_property(
        "filter_state.countersign.peer_certificate",
        leaf.pem.as_bytes(),
    );
    assert_eq!(world.ticks(1), Some(Effect::LetGo(CONNECTION)));
}

/// A connection that is gone before it is decided leaves nothing behind.
#[test]
fn a_connection_that_ends_is_forgotten() {
    let world = World::tcp();
    let _first = world.accept(CONNECTION, Listener::Holding);
    assert_ne!(world.host.tick(), 0);
    world.vm.on_done(CONNECTION);
    world.vm.on_delete(CONNECTION);
    world.host.delete(CONNECTION);
    world.tick();
    assert_eq!(world.host.tick(), 0, "nothing is due any more");
    assert_eq!(world.effect(), None);
    let _closed = world.bytes(CONNECTION, Side::Downstream);
    world.assert_shut(CONNECTION);
}

#[test]
fn a_connection_of_no_root_or_without_configuration_is_closed() {
    let world = World::bare();
    world.host.enter(CONNECTION);
    world.vm.on_context_create(CONNECTION, 77);
    assert_eq!(world.vm.on_new_connection(CONNECTION), Action::Pause);
    assert_eq!(world.effect(), Some(Effect::Closed(CONNECTION)));
    world.assert_shut(CONNECTION);
}
