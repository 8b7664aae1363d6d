//! Whatever the proxy answers, nothing passes that was not allowed.

use super::super::shadow::{on_connections, watching};
use super::super::world::{SLEEP, World};
use super::{CONNECTION, Effect, Listener};
use crate::host::{Action, Side, Status};

const STATUSES: [Status; 13] = [
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
    Status::Unlisted(99),
];

const ATTRIBUTES: [&str; 5] = [
    "connection.tls_version",
    "connection.mtls",
    "connection.sha256_peer_certificate_digest",
    "connection.peer_certificate",
    "connection.peer_certificate_valid",
];

#[test]
fn an_attribute_that_cannot_be_read_closes() {
    for status in STATUSES {
        for name in ATTRIBUTES {
            let world = World::tcp();
            world.host.fail_property(name, status);
            let first = world.accept(CONNECTION, Listener::Free);
            world.present(CONNECTION, &world.authority.leaf(SLEEP));
            let _decided = world.bytes(CONNECTION, Side::Downstream);
            world.assert_shut(CONNECTION);
            assert_eq!(
                world.effect(),
                Some(Effect::Closed(CONNECTION)),
                "{name} {status}"
            );
            assert!(first == Action::Pause || name != "connection.tls_version");
        }
    }
}

#[test]
fn the_marks_of_a_held_connection_that_cannot_be_read_close_it() {
    for status in STATUSES {
        for name in ["tcp_hold", "tls_handshake"] {
            let world = World::tcp();
            let name = format!("filter_state.countersign.{name}");
            world.host.fail_property(&name, status);
            assert_eq!(world.accept(CONNECTION, Listener::Holding), Action::Pause);
            world.finish(CONNECTION, &world.authority.leaf(SLEEP));
            assert_eq!(
                world.effect().or_else(|| world.ticks(1)),
                Some(Effect::Closed(CONNECTION))
            );
            world.assert_shut(CONNECTION);
        }
    }
}

#[test]
fn garbage_in_an_attribute_closes() {
    for (name, value) in [
        ("connection.mtls", &b"yes"[..]),
        ("connection.mtls", &[2]),
        ("connection.sha256_peer_certificate_digest", b"00"),
        ("connection.sha256_peer_certificate_digest", &[0xff; 64]),
        (
            "connection.peer_certificate",
            b"-----BEGIN CERTIFICATE-----",
        ),
        ("connection.peer_certificate", &[0; 4096]),
        ("connection.peer_certificate_valid", &[0]),
        ("connection.peer_certificate_valid", b"no"),
    ] {
        let world = World::tcp();
        let _first = world.accept(CONNECTION, Listener::Holding);
        world.finish(CONNECTION, &world.authority.leaf(SLEEP));
        world.host.set_property(name, value);
        assert_eq!(world.ticks(1), Some(Effect::Closed(CONNECTION)), "{name}");
        world.assert_shut(CONNECTION);
    }
}

#[test]
fn a_connection_that_cannot_be_let_go_is_closed() {
    for status in STATUSES {
        let world = World::tcp();
        let _first = world.accept(CONNECTION, Listener::Holding);
        world.finish(CONNECTION, &world.authority.leaf(SLEEP));
        world.host.fail("proxy_continue_stream", status);
        assert_eq!(world.ticks(1), Some(Effect::Closed(CONNECTION)), "{status}");
        assert_eq!(world.host.metric("countersign_resume_failed"), Some(1));
        world.assert_shut(CONNECTION);
    }
}

#[test]
fn a_connection_that_cannot_be_closed_stays_shut_and_is_closed_later() {
    for status in STATUSES {
        let world = World::tcp();
        world.host.fail("proxy_close_stream", status);
        let _first = world.accept(CONNECTION, Listener::Holding);
        world.finish(CONNECTION, &world.authority.leaf(super::OTHER));
        assert_eq!(world.ticks(2), None, "{status}");
        world.assert_shut(CONNECTION);
        assert!(
            world
                .host
                .metric("countersign_close_failed")
                .is_some_and(|n| n > 1)
        );
        world.host.mend("proxy_close_stream");
        assert_eq!(world.ticks(1), Some(Effect::Closed(CONNECTION)));
        world.assert_shut(CONNECTION);
        assert_eq!(world.effect(), None);
    }
}

/// Without its context nothing can be read or closed, so nothing passes.
#[test]
fn a_context_that_cannot_be_entered_is_shut() {
    for status in STATUSES {
        let world = World::tcp();
        let _first = world.accept(CONNECTION, Listener::Holding);
        world.finish(CONNECTION, &world.authority.leaf(SLEEP));
        world.host.fail("proxy_set_effective_context", status);
        assert_eq!(world.ticks(2), None, "{status}");
        world.assert_shut(CONNECTION);
        assert_eq!(
            world.effect(),
            Some(Effect::Closed(CONNECTION)),
            "at the next bytes"
        );
    }
}

#[test]
fn an_open_connection_that_cannot_be_looked_at_again_is_shut() {
    for call in [
        "proxy_set_effective_context",
        "proxy_get_property",
        "proxy_get_current_time_nanoseconds",
    ] {
        for status in STATUSES {
            let world = World::tcp();
            world.open_with(CONNECTION, &world.authority.leaf_valid(SLEEP, -10, 1));
            world.host.fail(call, status);
            // Its certificate ends meanwhile.
            world.host.advance(5000);
            let _maybe_closed = world.ticks(1);
            world.assert_shut(CONNECTION);
        }
    }
}

#[test]
fn what_only_policies_look_at_that_change_no_verdict_closes_nothing() {
    for (rule, name) in on_connections() {
        for policy in watching(&rule) {
            let world = World::bare();
            let mut config = world.tcp_config();
            config["policies"]
                .as_array_mut()
                .unwrap()
                .push(policy.clone());
            assert!(world.configure(&config), "{:?}", world.host.take_log());
            world.host.fail_property(name, Status::InternalFailure);
            world.opened(CONNECTION);
            assert_eq!(
                world.host.metric("countersign_shadow_unreadable"),
                Some(1),
                "{name}"
            );
            if policy["spec"]["action"] == "AUDIT" {
                continue;
            }
            let policies = config["policies"].as_array_mut().unwrap();
            policies[1]["metadata"]["annotations"] = serde_json::json!({});
            let world = World::bare();
            assert!(world.configure(&config), "{:?}", world.host.take_log());
            world.host.fail_property(name, Status::InternalFailure);
            let _first = world.accept(CONNECTION, Listener::Free);
            world.present(CONNECTION, &world.authority.leaf(SLEEP));
            world.assert_shut(CONNECTION);
            assert_eq!(world.effect(), Some(Effect::Closed(CONNECTION)), "{name}");
        }
    }
}

#[test]
fn without_a_clock_nothing_is_allowed() {
    for status in STATUSES {
        let world = World::tcp();
        world
            .host
            .fail("proxy_get_current_time_nanoseconds", status);
        let _first = world.accept(CONNECTION, Listener::Free);
        world.present(CONNECTION, &world.authority.leaf(SLEEP));
        world.assert_shut(CONNECTION);
        assert_eq!(world.effect(), Some(Effect::Closed(CONNECTION)));
    }
}

#[test]
fn a_timer_that_cannot_be_set_opens_nothing() {
    for status in STATUSES {
        let world = World::tcp();
        world
            .host
            .fail("proxy_set_tick_period_milliseconds", status);
        assert_eq!(world.accept(CONNECTION, Listener::Holding), Action::Pause);
        assert_eq!(world.bytes(CONNECTION, Side::Upstream), Action::Pause);
        // The client's bytes still decide.
        world.present(CONNECTION, &world.authority.leaf(SLEEP));
        assert_eq!(world.bytes(CONNECTION, Side::Downstream), Action::Continue);
    }
}

#[test]
fn a_log_and_metrics_that_fail_change_nothing() {
    let world = World::tcp();
    for call in [
        "proxy_log",
        "proxy_define_metric",
        "proxy_increment_metric",
        "proxy_record_metric",
    ] {
        world.host.fail(call, Status::InternalFailure);
    }
    let _first = world.accept(CONNECTION, Listener::Holding);
    world.finish(CONNECTION, &world.authority.leaf(super::OTHER));
    assert_eq!(world.ticks(1), Some(Effect::Closed(CONNECTION)));
    world.opened(8);
}
