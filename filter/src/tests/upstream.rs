use serde_json::json;

use super::world::{Authority, HTTPBIN, REQUEST, ROOT, SLEEP, World};
use crate::host::{Action, Status};

#[test]
fn a_reused_connection_is_decided_at_once() {
    let world = World::outbound();
    world.send_to(REQUEST, "httpbin");
    world.connect(&world.authority.leaf(HTTPBIN));
    assert_eq!(world.decide(), Ok(()));
    world.vm.on_delete(REQUEST);
    world.tick();
    assert_eq!(world.host.tick(), 0);
    assert_eq!(
        world
            .host
            .metric("countersign_decision_allow_server_verified"),
        Some(1)
    );
}

#[test]
fn denies_by_503_what_is_not_the_server_that_was_named() {
    let world = World::outbound();
    world.send_to(REQUEST, "httpbin");
    world.connect(&world.authority.leaf(SLEEP));
    assert_eq!(world.vm.on_request_headers(REQUEST), Action::Pause);
    let sent = world.host.take_sent();
    assert_eq!(
        (sent[0].status, sent[0].body.as_str()),
        (503, "secure naming: unexpected_identity")
    );
}

#[test]
fn denies_clusters_without_identities() {
    let world = World::outbound();
    world.send_to(REQUEST, "nobody");
    world.connect(&world.authority.leaf(HTTPBIN));
    assert_eq!(world.decide(), Err("identity_set_empty".to_owned()));
    world.send_to(REQUEST, "unheard-of");
    assert_eq!(world.decide(), Err("cluster_unknown".to_owned()));
    world.begin(REQUEST, "GET", "/");
    world.host.remove_property("xds.cluster_name");
    assert_eq!(world.decide(), Err("attribute_unreadable".to_owned()));
}

#[test]
fn denies_bad_certificates_of_servers() {
    let world = World::outbound();
    for (leaf, reason) in [
        (Authority::new().leaf(HTTPBIN), "unknown_issuer"),
        (world.authority.leaf_valid(HTTPBIN, -100, -1), "expired"),
        (
            world.authority.leaf("spiffe://other.org/x"),
            "unknown_trust_domain",
        ),
    ] {
        world.send_to(REQUEST, "httpbin");
        world.connect(&leaf);
        assert_eq!(world.decide(), Err(reason.to_owned()));
    }
}

#[test]
fn holds_until_the_server_is_known_and_lets_the_right_one_pass() {
    let world = World::outbound();
    world.send_to(REQUEST, "httpbin");
    assert_eq!(world.vm.on_request_headers(REQUEST), Action::Pause);
    assert_eq!(world.vm.on_request_rest(REQUEST), Action::Pause);
    assert_eq!(world.host.take_sent(), []);
    assert_eq!(world.host.tick(), 1);
    world.tick();
    assert_eq!(world.host.tick(), 2);
    assert!(world.host.take_resumed().is_empty());
    world.host.enter(REQUEST);
    world.connect(&world.authority.leaf(HTTPBIN));
    world.tick();
    assert_eq!(world.host.take_resumed(), [REQUEST]);
    assert_eq!(world.vm.on_request_rest(REQUEST), Action::Continue);
    assert_eq!(world.host.take_sent(), []);
    world.vm.on_delete(REQUEST);
    world.tick();
    assert_eq!(world.host.tick(), 0);
}

#[test]
fn holds_until_the_server_is_known_and_answers_for_the_wrong_one() {
    let world = World::outbound();
    world.send_to(REQUEST, "httpbin");
    assert_eq!(world.vm.on_request_headers(REQUEST), Action::Pause);
    world.connect(&world.authority.leaf(SLEEP));
    world.tick();
    let sent = world.host.take_sent();
    assert_eq!((sent[0].context, sent[0].status), (REQUEST, 503));
    assert!(world.host.take_resumed().is_empty());
    assert_eq!(world.vm.on_request_rest(REQUEST), Action::Pause);
    assert_eq!(world.host.tick(), 0);
}

#[test]
fn a_hold_ends_at_its_limit() {
    let world = World::outbound();
    world.send_to(REQUEST, "httpbin");
    assert_eq!(world.vm.on_request_headers(REQUEST), Action::Pause);
    let mut waited = 0;
    while world.host.tick() != 0 {
        waited += world.host.tick();
        world.tick();
    }
    assert_eq!(waited, 200);
    assert_eq!(
        world.host.take_sent()[0].details,
        "countersign_denied_hold_timeout"
    );
    assert!(world.host.take_resumed().is_empty());
}

#[test]
fn a_hold_ends_at_its_limit_without_a_clock() {
    let world = World::outbound();
    world.send_to(REQUEST, "httpbin");
    assert_eq!(world.vm.on_request_headers(REQUEST), Action::Pause);
    world.host.fail(
        "proxy_get_current_time_nanoseconds",
        Status::InternalFailure,
    );
    world.tick();
    assert_eq!(
        world.host.take_sent()[0].details,
        "countersign_denied_attribute_unreadable"
    );
    assert_eq!(world.host.tick(), 0);
}

#[test]
fn denies_beyond_the_most_held_requests() {
    let world = World::outbound();
    for context in 10..13 {
        world.send_to(context, "httpbin");
        assert_eq!(world.vm.on_request_headers(context), Action::Pause);
    }
    assert_eq!(world.host.take_sent(), []);
    world.send_to(13, "httpbin");
    assert_eq!(world.decide_context(13), Err("hold_limit".to_owned()));
    // A held request that goes away makes room.
    world.vm.on_done(11);
    world.vm.on_delete(11);
    world.host.delete(11);
    world.send_to(14, "httpbin");
    assert_eq!(world.vm.on_request_headers(14), Action::Pause);
    assert_eq!(world.host.take_sent(), []);
}

#[test]
fn a_held_request_whose_context_is_gone_is_forgotten() {
    let world = World::outbound();
    world.send_to(REQUEST, "httpbin");
    assert_eq!(world.vm.on_request_headers(REQUEST), Action::Pause);
    world.host.delete(REQUEST);
    while world.host.tick() != 0 {
        world.tick();
    }
    assert_eq!(world.host.take_sent(), []);
    assert!(world.host.take_resumed().is_empty());
}

#[test]
fn never_looks_at_a_request_from_another_context() {
    let world = World::outbound();
    world.send_to(REQUEST, "httpbin");
    assert_eq!(world.vm.on_request_headers(REQUEST), Action::Pause);
    // The root context has the attributes of a good server; they are not this request's.
    world.host.enter(ROOT);
    world.connect(&world.authority.leaf(HTTPBIN));
    world
        .host
        .fail("proxy_set_effective_context", Status::InternalFailure);
    while world.host.tick() != 0 {
        world.tick();
    }
    assert!(world.host.take_resumed().is_empty());
    assert_eq!(world.vm.on_request_rest(REQUEST), Action::Pause);
}

#[test]
fn a_request_that_cannot_be_resumed_stays_paused() {
    let world = World::outbound();
    world.send_to(REQUEST, "httpbin");
    assert_eq!(world.vm.on_request_headers(REQUEST), Action::Pause);
    world.connect(&world.authority.leaf(HTTPBIN));
    world
        .host
        .fail("proxy_continue_stream", Status::InternalFailure);
    world.tick();
    assert_eq!(world.vm.on_request_rest(REQUEST), Action::Pause);
    assert_eq!(world.host.metric("countersign_resume_failed"), Some(1));
}

#[test]
fn a_server_without_tls_is_named_as_such() {
    let world = World::outbound();
    world.send_to(REQUEST, "httpbin");
    assert_eq!(world.vm.on_request_headers(REQUEST), Action::Pause);
    world
        .host
        .set_property("upstream.local_address", b"127.0.0.1:1");
    world.tick();
    assert_eq!(
        world.host.take_sent()[0].details,
        "countersign_denied_upstream_plaintext"
    );
}

#[test]
fn older_envoys_show_name_and_digest_only() {
    let world = World::outbound();
    let leaf = world.authority.leaf(HTTPBIN);
    for (uri, decided) in [
        (HTTPBIN, Ok(())),
        (SLEEP, Err("unexpected_identity".to_owned())),
        ("http://x", Err("bad_spiffe_id".to_owned())),
        ("", Err("certificate_missing".to_owned())),
    ] {
        world.send_to(REQUEST, "httpbin");
        world.connect(&leaf);
        world.host.remove_property("upstream.peer_certificate");
        world
            .host
            .set_property("upstream.uri_san_peer_certificate", uri.as_bytes());
        assert_eq!(world.decide(), decided, "{uri}");
    }
}

#[test]
fn every_attribute_that_cannot_be_read_is_a_denial() {
    for name in [
        "xds.cluster_name",
        "upstream.sha256_peer_certificate_digest",
        "upstream.peer_certificate",
    ] {
        let world = World::outbound();
        world.send_to(REQUEST, "httpbin");
        world.connect(&world.authority.leaf(HTTPBIN));
        world.host.fail_property(name, Status::InternalFailure);
        assert_eq!(
            world.decide(),
            Err("attribute_unreadable".to_owned()),
            "{name}"
        );
    }
    for name in ["upstream.local_address", "upstream.tls_version"] {
        let world = World::outbound();
        world.send_to(REQUEST, "httpbin");
        world.host.fail_property(name, Status::InternalFailure);
        assert_eq!(
            world.decide(),
            Err("attribute_unreadable".to_owned()),
            "{name}"
        );
    }
}

#[test]
fn a_tick_that_cannot_be_set_does_not_let_a_request_pass() {
    let world = World::outbound();
    world.host.fail(
        "proxy_set_tick_period_milliseconds",
        Status::InternalFailure,
    );
    world.send_to(REQUEST, "httpbin");
    assert_eq!(world.vm.on_request_headers(REQUEST), Action::Pause);
    assert_eq!(world.host.metric("countersign_tick_failed"), Some(1));
    // The next request tries again.
    world.host.mend("proxy_set_tick_period_milliseconds");
    world.send_to(8, "httpbin");
    assert_eq!(world.vm.on_request_headers(8), Action::Pause);
    assert_eq!(world.host.tick(), 1);
}

#[test]
fn what_a_held_request_finds_out_under_its_configuration_does_not_count_in_the_next() {
    let world = World::outbound();
    let leaf = world.authority.leaf(HTTPBIN);
    world.send_to(REQUEST, "httpbin");
    assert_eq!(world.vm.on_request_headers(REQUEST), Action::Pause);
    let mut config = world.outbound_config();
    config["trust"]["cluster.local"]["issuers"] = json!([Authority::new().pem]);
    assert!(world.configure(&config));
    world.host.enter(REQUEST);
    world.connect(&leaf);
    world.tick();
    assert_eq!(world.host.take_resumed(), [REQUEST]);

    world.send_to(8, "httpbin");
    world.connect(&leaf);
    assert_eq!(world.decide_context(8), Err("unknown_issuer".to_owned()));
}
