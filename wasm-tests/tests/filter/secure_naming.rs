//! Secure naming: a request is held until the server has shown who it is.

use std::time::Duration;

use serde_json::json;
use wasm_tests::fixtures::ca::{Authority, LeafSpec};
use wasm_tests::fixtures::config::{ConfigSpec, UPSTREAM_CLUSTER};
use wasm_tests::fixtures::traffic::{request, upstream_not_ready, upstream_ready};
use wasm_tests::fixtures::{HTTPBIN, IMPOSTOR, NOW};
use wasm_tests::host::{Headers, Outcome, Plugin, StreamId};

use crate::support::{configured, last_decision};

fn plugin(authority: &Authority) -> Plugin {
    configured(&ConfigSpec::outbound(authority))
}

/// A held request.
fn held(plugin: &mut Plugin, method: &str, end_of_stream: bool) -> StreamId {
    let stream = plugin.open(upstream_not_ready()).expect("no trap");
    let headers = request(method, "/");
    let outcome = plugin
        .request_headers(stream, &headers, end_of_stream)
        .expect("no trap");
    assert_eq!(outcome, Outcome::Paused, "log: {:?}", plugin.log());
    stream
}

fn pass(plugin: &mut Plugin, milliseconds: u64) {
    plugin
        .run_for(Duration::from_millis(milliseconds))
        .expect("no trap");
}

#[track_caller]
fn assert_unavailable(outcome: &Outcome, reason: Option<&str>) {
    let Outcome::Replied(reply) = outcome else {
        panic!("expected 503, got {outcome:?}")
    };
    assert_eq!(reply.status, 503);
    let body = String::from_utf8_lossy(&reply.body);
    assert!(body.starts_with("secure naming: "), "{body}");
    if let Some(reason) = reason {
        assert_eq!(body, format!("secure naming: {reason}"));
    }
}

#[test]
fn lets_a_request_go_at_once_where_the_connection_already_shows_the_right_server() {
    let authority = Authority::new(NOW);
    let mut plugin = plugin(&authority);
    let stream = plugin
        .open(upstream_ready(&authority.svid(HTTPBIN)))
        .expect("no trap");
    let outcome = plugin
        .request_headers(stream, &request("GET", "/"), true)
        .expect("no trap");
    assert_eq!(outcome, Outcome::Continued, "log: {:?}", plugin.log());
    let decision = last_decision(&plugin);
    assert_eq!(
        (&decision["direction"], &decision["peer"]),
        (&json!("outbound"), &json!(HTTPBIN))
    );
}

#[test]
fn refuses_at_once_where_the_connection_shows_another_server() {
    let authority = Authority::new(NOW);
    let mut plugin = plugin(&authority);
    let stream = plugin
        .open(upstream_ready(&authority.svid(IMPOSTOR)))
        .expect("no trap");
    let outcome = plugin
        .request_headers(stream, &request("GET", "/"), true)
        .expect("no trap");
    assert_unavailable(&outcome, None);
    assert_eq!(last_decision(&plugin)["verdict"], "deny");
}

#[test]
fn holds_until_the_server_is_known_and_lets_go_within_two_milliseconds() {
    let authority = Authority::new(NOW);
    let mut plugin = plugin(&authority);
    let stream = held(&mut plugin, "GET", true);
    assert_eq!(plugin.outcome(stream).unwrap(), Outcome::Paused);
    plugin
        .set_properties(stream, upstream_ready(&authority.svid(HTTPBIN)))
        .unwrap();
    pass(&mut plugin, 2);
    assert_eq!(
        plugin.outcome(stream).unwrap(),
        Outcome::Continued,
        "log: {:?}",
        plugin.log()
    );
    assert_eq!(plugin.resumed(stream).unwrap(), 1, "exactly once");
    pass(&mut plugin, 6000);
    assert_eq!(plugin.outcome(stream).unwrap(), Outcome::Continued);
    assert_eq!(plugin.resumed(stream).unwrap(), 1);
}

#[test]
fn holds_and_refuses_an_impostor() {
    let authority = Authority::new(NOW);
    let mut plugin = plugin(&authority);
    let stream = held(&mut plugin, "GET", true);
    pass(&mut plugin, 30);
    plugin
        .set_properties(stream, upstream_ready(&authority.svid(IMPOSTOR)))
        .unwrap();
    pass(&mut plugin, 60);
    assert_unavailable(&plugin.outcome(stream).unwrap(), None);
    assert_eq!(plugin.resumed(stream).unwrap(), 0, "not one byte may leave");
}

#[test]
fn keeps_body_and_trailers_back_while_the_headers_are_held() {
    let authority = Authority::new(NOW);
    let mut plugin = plugin(&authority);
    let stream = held(&mut plugin, "POST", false);
    for _ in 0..8 {
        plugin
            .request_body(stream, &[0_u8; 65_536], false)
            .expect("no trap");
        assert_eq!(plugin.outcome(stream).unwrap(), Outcome::Paused);
        pass(&mut plugin, 1);
    }
    let trailers = Headers::new(&[("checksum", "1")]);
    plugin.request_trailers(stream, &trailers).expect("no trap");
    assert_eq!(plugin.outcome(stream).unwrap(), Outcome::Paused);
    assert_eq!(plugin.resumed(stream).unwrap(), 0);
    plugin
        .set_properties(stream, upstream_ready(&authority.svid(HTTPBIN)))
        .unwrap();
    pass(&mut plugin, 60);
    assert_eq!(plugin.outcome(stream).unwrap(), Outcome::Continued);
}

#[test]
fn refuses_after_the_limit_where_the_server_never_shows_who_it_is() {
    let authority = Authority::new(NOW);
    let mut plugin = plugin(&authority);
    let stream = held(&mut plugin, "GET", true);
    pass(&mut plugin, 4900);
    assert_eq!(plugin.outcome(stream).unwrap(), Outcome::Paused);
    pass(&mut plugin, 200);
    assert_unavailable(&plugin.outcome(stream).unwrap(), None);
    assert_eq!(plugin.resumed(stream).unwrap(), 0);
}

#[test]
fn refuses_a_plaintext_upstream() {
    let authority = Authority::new(NOW);
    let mut plugin = plugin(&authority);
    let stream = held(&mut plugin, "GET", true);
    let ready = upstream_not_ready()
        .with("upstream.address", "127.0.0.1:15006")
        .with("upstream.local_address", "127.0.0.1:50123");
    plugin.set_properties(stream, ready).unwrap();
    pass(&mut plugin, 5200);
    assert_unavailable(&plugin.outcome(stream).unwrap(), None);
    assert_eq!(plugin.resumed(stream).unwrap(), 0);
}

#[test]
fn refuses_beyond_the_most_requests_it_may_hold_and_holds_again_when_some_are_gone() {
    let authority = Authority::new(NOW);
    let config = ConfigSpec::outbound(&authority).with(
        "secureNaming",
        json!({
            "clusters": {UPSTREAM_CLUSTER: [HTTPBIN]},
            "hold": {"milliseconds": 5000, "maxHeld": 3},
        }),
    );
    let mut plugin = configured(&config);
    let held_ones: Vec<StreamId> = (0..3).map(|_| held(&mut plugin, "GET", true)).collect();
    let fourth = plugin.open(upstream_not_ready()).expect("no trap");
    let outcome = plugin
        .request_headers(fourth, &request("GET", "/"), true)
        .expect("no trap");
    assert_unavailable(&outcome, None);
    plugin.close(held_ones[0]).expect("a cancelled request");
    held(&mut plugin, "GET", true);
}

#[test]
fn forgets_a_cancelled_request() {
    let authority = Authority::new(NOW);
    let mut plugin = plugin(&authority);
    let stream = held(&mut plugin, "GET", true);
    plugin.close(stream).expect("no trap");
    pass(&mut plugin, 6000);
    let survivor = held(&mut plugin, "GET", true);
    plugin
        .set_properties(survivor, upstream_ready(&authority.svid(HTTPBIN)))
        .unwrap();
    pass(&mut plugin, 60);
    assert_eq!(plugin.outcome(survivor).unwrap(), Outcome::Continued);
}

#[test]
fn decides_fifty_held_requests_each_by_its_own_connection() {
    let authority = Authority::new(NOW);
    let mut plugin = plugin(&authority);
    let (good, bad) = (authority.svid(HTTPBIN), authority.svid(IMPOSTOR));
    let streams: Vec<StreamId> = (0..50).map(|_| held(&mut plugin, "GET", true)).collect();
    for (at, stream) in streams.iter().enumerate() {
        let server = if at % 2 == 0 { &good } else { &bad };
        plugin
            .set_properties(*stream, upstream_ready(server))
            .unwrap();
    }
    pass(&mut plugin, 60);
    for (at, stream) in streams.iter().enumerate() {
        let outcome = plugin.outcome(*stream).unwrap();
        if at % 2 == 0 {
            assert_eq!(outcome, Outcome::Continued, "request {at}");
        } else {
            assert_unavailable(&outcome, None);
        }
    }
}

#[test]
fn an_empty_set_and_an_unlisted_cluster_deny() {
    let authority = Authority::new(NOW);
    let server = authority.svid(HTTPBIN);
    let empty = ConfigSpec::outbound(&authority).secure_naming(&[]);
    let other = ConfigSpec::outbound(&authority)
        .with("secureNaming", json!({"clusters": {"another": [HTTPBIN]}}));
    for config in [empty, other] {
        let mut plugin = configured(&config);
        let stream = plugin.open(upstream_ready(&server)).expect("no trap");
        let outcome = plugin
            .request_headers(stream, &request("GET", "/"), true)
            .expect("no trap");
        assert_unavailable(&outcome, None);
    }
}

#[test]
fn a_changed_set_decides_the_next_request_on_the_same_connection() {
    let authority = Authority::new(NOW);
    let server = authority.svid(HTTPBIN);
    let mut plugin = plugin(&authority);
    let first = plugin.open(upstream_ready(&server)).expect("no trap");
    let outcome = plugin
        .request_headers(first, &request("GET", "/"), true)
        .expect("no trap");
    assert_eq!(outcome, Outcome::Continued);
    let changed = ConfigSpec::outbound(&authority).secure_naming(&[IMPOSTOR]);
    assert!(plugin.configure(changed.json()).expect("no trap"));
    let second = plugin.open(upstream_ready(&server)).expect("no trap");
    let outcome = plugin
        .request_headers(second, &request("GET", "/"), true)
        .expect("no trap");
    assert_unavailable(&outcome, None);
}

#[test]
fn refuses_servers_whose_certificate_is_no_good() {
    let authority = Authority::new(NOW);
    for (what, server) in [
        (
            "expired",
            authority.issue(&LeafSpec::of(HTTPBIN).valid(-600, -1)),
        ),
        (
            "two names",
            authority.issue(&LeafSpec::of(HTTPBIN).and_uri(IMPOSTOR)),
        ),
        ("another authority", Authority::new(NOW).svid(HTTPBIN)),
    ] {
        let mut plugin = plugin(&authority);
        let stream = plugin.open(upstream_ready(&server)).expect("no trap");
        let outcome = plugin
            .request_headers(stream, &request("GET", "/"), true)
            .expect("no trap");
        assert_eq!(outcome.status(), Some(503), "{what}: {outcome:?}");
    }
}

#[test]
fn the_timer_rests_once_nothing_is_held() {
    let authority = Authority::new(NOW);
    let mut plugin = plugin(&authority);
    let stream = held(&mut plugin, "GET", true);
    assert!(
        plugin.tick_period() <= Duration::from_millis(2),
        "{:?}",
        plugin.tick_period()
    );
    plugin
        .set_properties(stream, upstream_ready(&authority.svid(HTTPBIN)))
        .unwrap();
    pass(&mut plugin, 60);
    pass(&mut plugin, 60);
    assert!(
        plugin.tick_period().is_zero() || plugin.tick_period() >= Duration::from_millis(50),
        "{:?} with nothing held",
        plugin.tick_period()
    );
}

#[test]
fn refuses_a_server_whose_certificate_is_revoked() {
    use wasm_tests::fixtures::deny_list::{ListSigner, ListSpec};
    let authority = Authority::new(NOW);
    let (server, other) = (authority.svid(HTTPBIN), authority.svid(HTTPBIN));
    let signer = ListSigner::new();
    let mut plugin = configured(&ConfigSpec::outbound(&authority).deny_list(&signer));
    pass(&mut plugin, 20);
    let call = plugin
        .pending_calls()
        .first()
        .cloned()
        .expect("it asks at once");
    let list = signer.sign(&ListSpec::sequence(1).revoking(&server.sha256()));
    plugin.answer_call(&call, 200, &list).expect("no trap");
    let mut ask = |server| {
        let stream = plugin.open(upstream_ready(server)).expect("no trap");
        plugin
            .request_headers(stream, &request("GET", "/"), true)
            .expect("no trap")
    };
    assert_unavailable(&ask(&server), Some("revoked"));
    assert_eq!(ask(&other), Outcome::Continued);
}
