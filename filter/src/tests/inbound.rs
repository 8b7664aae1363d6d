use serde_json::json;

use super::world::{Authority, HTTPBIN, NOW, REQUEST, ROOT, SLEEP, World};
use crate::host::{Action, HeaderMap, LogLevel, Status};

#[test]
fn allows_the_workload_that_the_policy_names() {
    let world = World::inbound();
    world.arrive(&world.authority.leaf(SLEEP), "GET", "/get?x=1");
    assert_eq!(world.decide(), Ok(()));
    let counted = || {
        world
            .host
            .metric("countersign_decision_allow_matched_allow")
    };
    assert_eq!(counted(), None, "the proxy is told once a second");
    assert_eq!(world.host.tick(), 1000);
    world.tick();
    assert_eq!(counted(), Some(1));
    assert_eq!(world.host.take_log(), []);
}

#[test]
fn denies_what_the_policy_does_not_name() {
    let world = World::inbound();
    let sleep = world.authority.leaf(SLEEP);
    world.arrive(&sleep, "POST", "/get");
    assert_eq!(world.decide(), Err("no_allow_matched".to_owned()));
    world.arrive(&sleep, "GET", "/admin");
    assert_eq!(world.decide(), Err("no_allow_matched".to_owned()));
    world.arrive(&world.authority.leaf(HTTPBIN), "GET", "/get");
    assert_eq!(world.decide(), Err("no_allow_matched".to_owned()));
    world.begin(REQUEST, "GET", "/get");
    assert_eq!(world.decide(), Err("no_allow_matched".to_owned()));
    world.arrive(&sleep, "GET", "/get/../admin");
    assert_eq!(world.decide(), Err("path_not_normalized".to_owned()));
}

#[test]
fn the_reply_says_no_more_than_rbac_unless_asked() {
    let world = World::bare();
    let mut config = world.inbound_config();
    assert!(world.configure(&config));
    world.begin(REQUEST, "GET", "/get");
    assert_eq!(world.vm.on_request_headers(REQUEST), Action::Pause);
    let sent = world.host.take_sent();
    assert_eq!(
        (sent[0].status, sent[0].body.as_str()),
        (403, "RBAC: access denied")
    );
    assert_eq!(sent[0].headers, []);
    config["decisionLog"] = json!({"responseHeader": true});
    assert!(world.configure(&config));
    world.begin(REQUEST, "GET", "/get");
    assert_eq!(world.vm.on_request_headers(REQUEST), Action::Pause);
    let shown = [(
        "x-countersign-decision".to_owned(),
        "deny:no_allow_matched".to_owned(),
    )];
    assert_eq!(world.host.take_sent()[0].headers, shown);
}

#[test]
fn the_log_line_has_every_field() {
    let world = World::bare();
    let mut config = world.inbound_config();
    config["decisionLog"] = json!({"allowed": "all"});
    assert!(world.configure(&config));
    let leaf = world.authority.leaf(SLEEP);
    world.arrive(&leaf, "GET", "/get?secret=1");
    world
        .host
        .set_property("connection.id", &42_u64.to_le_bytes());
    world
        .host
        .set_property("connection.uri_san_local_certificate", HTTPBIN.as_bytes());
    assert_eq!(world.decide(), Ok(()));
    let log = world.host.take_log();
    let [(LogLevel::Info, line)] = log.as_slice() else {
        panic!("one line, not {log:?}")
    };
    let line = line.strip_prefix("countersign-decision ").unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    let expected = json!({
        "time": 1_790_000_000.0,
        "direction": "inbound",
        "verdict": "allow",
        "reason": "matched_allow",
        "detail": "matched ALLOW rule ns[default]-policy[gets]-rule[0]",
        "policy": "ns[default]-policy[gets]-rule[0]",
        "peer": SLEEP,
        "peerSha256": leaf.sha256.to_string(),
        "local": HTTPBIN,
        "connection": 42,
        "requestId": null,
        "method": "GET",
        "path": "/get",
        "listSequence": null,
    });
    assert_eq!(line, expected);
}

#[test]
fn a_denial_is_logged_with_the_identity_it_is_about() {
    let world = World::inbound();
    world.arrive(&world.authority.leaf_valid(SLEEP, -100, -1), "GET", "/get");
    assert_eq!(world.decide(), Err("expired".to_owned()));
    let log = world.host.take_log();
    let [(LogLevel::Warn, line)] = log.as_slice() else {
        panic!("one line, not {log:?}")
    };
    assert!(line.contains(SLEEP), "{line}");
}

#[test]
fn denies_certificates_outside_their_dates_on_every_request() {
    let world = World::inbound();
    let leaf = world.authority.leaf_valid(SLEEP, 0, 10);
    world.arrive(&leaf, "GET", "/get");
    assert_eq!(world.decide(), Ok(()));
    world.host.set_now(u64::try_from(NOW + 11).unwrap());
    assert_eq!(world.decide(), Err("expired".to_owned()));
    world.host.set_now(u64::try_from(NOW - 1).unwrap());
    assert_eq!(world.decide(), Err("not_yet_valid".to_owned()));
}

#[test]
fn denies_a_certificate_of_another_issuer() {
    let world = World::inbound();
    world.arrive(&Authority::new().leaf(SLEEP), "GET", "/get");
    assert_eq!(world.decide(), Err("unknown_issuer".to_owned()));
}

#[test]
fn denies_another_trust_domain_even_by_a_known_issuer() {
    let world = World::inbound();
    world.arrive(
        &world
            .authority
            .leaf("spiffe://other.org/ns/default/sa/sleep"),
        "GET",
        "/get",
    );
    assert_eq!(world.decide(), Err("unknown_trust_domain".to_owned()));
}

#[test]
fn denies_what_the_handshake_did_not_validate() {
    let world = World::inbound();
    let leaf = world.authority.leaf(SLEEP);
    world.arrive(&leaf, "GET", "/get");
    world
        .host
        .set_property("connection.peer_certificate_valid", &[0]);
    assert_eq!(world.decide(), Err("certificate_not_validated".to_owned()));
    // A resumed session: a certificate that was not presented.
    world.arrive(&leaf, "GET", "/get");
    world.host.set_property("connection.mtls", &[0]);
    assert_eq!(world.decide(), Err("certificate_not_validated".to_owned()));
}

#[test]
fn denies_where_the_certificate_cannot_be_seen() {
    let world = World::inbound();
    let leaf = world.authority.leaf(SLEEP);
    world.arrive(&leaf, "GET", "/get");
    world.host.remove_property("connection.peer_certificate");
    assert_eq!(world.decide(), Err("certificate_missing".to_owned()));
    world.arrive(&leaf, "GET", "/get");
    world
        .host
        .remove_property("connection.sha256_peer_certificate_digest");
    assert_eq!(world.decide(), Err("certificate_missing".to_owned()));
}

#[test]
fn takes_the_certificate_from_filter_state_where_there_is_no_attribute() {
    let world = World::inbound();
    let leaf = world.authority.leaf(SLEEP);
    world.arrive(&leaf, "GET", "/get");
    world.host.remove_property("connection.peer_certificate");
    world
        .host
        .remove_property("connection.peer_certificate_valid");
    let encoded = leaf.pem.replace('\n', "%0A").replace(' ', "%20");
    world.host.set_property(
        "filter_state.countersign.peer_certificate",
        encoded.as_bytes(),
    );
    assert_eq!(world.decide(), Ok(()));
}

#[test]
fn denies_a_certificate_that_is_not_the_one_of_the_digest() {
    let world = World::inbound();
    world.arrive(&world.authority.leaf(HTTPBIN), "GET", "/get");
    let other = world.authority.leaf(SLEEP);
    world
        .host
        .set_property("connection.peer_certificate", other.pem.as_bytes());
    assert_eq!(world.decide(), Err("digest_mismatch".to_owned()));
}

#[test]
fn every_attribute_that_cannot_be_read_or_is_malformed_is_a_denial() {
    for name in [
        "connection.mtls",
        "connection.sha256_peer_certificate_digest",
        "connection.peer_certificate_valid",
        "connection.peer_certificate",
    ] {
        let world = World::inbound();
        let leaf = world.authority.leaf(SLEEP);
        for status in all_failures() {
            world.arrive(&leaf, "GET", "/get");
            world.host.fail_property(name, status);
            assert_eq!(
                world.decide(),
                Err("peer_attribute_unreadable".to_owned()),
                "{name} {status}"
            );
        }
    }
    for (name, value) in [
        ("connection.mtls", &b"yes"[..]),
        ("connection.sha256_peer_certificate_digest", b"abc"),
        ("connection.peer_certificate_valid", &[2]),
    ] {
        let world = World::inbound();
        world.arrive(&world.authority.leaf(SLEEP), "GET", "/get");
        world.host.set_property(name, value);
        assert_eq!(
            world.decide(),
            Err("peer_attribute_unreadable".to_owned()),
            "{name}"
        );
    }
    let world = World::inbound();
    world.arrive(&world.authority.leaf(SLEEP), "GET", "/get");
    world.host.remove_property("connection.mtls");
    assert_eq!(world.decide(), Err("peer_attribute_unreadable".to_owned()));
}

#[test]
fn every_call_that_a_decision_rests_on_denies_when_it_fails() {
    for (call, reason) in [
        ("proxy_get_property", "peer_attribute_unreadable"),
        ("proxy_get_header_map_pairs", "attribute_unreadable"),
        (
            "proxy_get_current_time_nanoseconds",
            "peer_attribute_unreadable",
        ),
        ("proxy_call_foreign_function", "peer_attribute_unreadable"),
    ] {
        for status in all_failures().chain([Status::NotFound]) {
            if (call, status) == ("proxy_get_property", Status::NotFound) {
                continue;
            }
            let world = World::inbound();
            world.arrive(&world.authority.leaf(SLEEP), "GET", "/get");
            world.host.fail(call, status);
            assert_eq!(world.decide(), Err(reason.to_owned()), "{call} {status}");
        }
    }
}

#[test]
fn calls_that_only_tell_do_not_decide() {
    for call in ["proxy_log", "proxy_define_metric", "proxy_increment_metric"] {
        let world = World::inbound();
        world.host.fail(call, Status::InternalFailure);
        world.arrive(&world.authority.leaf(SLEEP), "GET", "/get");
        assert_eq!(world.decide(), Ok(()), "{call}");
        world.arrive(&world.authority.leaf(SLEEP), "GET", "/admin");
        assert_eq!(world.decide(), Err("no_allow_matched".to_owned()), "{call}");
    }
}

#[test]
fn a_reply_that_cannot_be_sent_leaves_the_request_paused() {
    let world = World::inbound();
    world
        .host
        .fail("proxy_send_local_response", Status::InternalFailure);
    world.begin(REQUEST, "GET", "/get");
    assert_eq!(world.vm.on_request_headers(REQUEST), Action::Pause);
    assert_eq!(world.vm.on_request_rest(REQUEST), Action::Pause);
    assert_eq!(world.host.metric("countersign_reply_failed"), Some(1));
}

#[test]
fn a_proxy_that_could_not_verify_is_asked_again() {
    let world = World::inbound();
    world.arrive(&world.authority.leaf(SLEEP), "GET", "/get");
    world
        .host
        .fail("proxy_call_foreign_function", Status::InternalFailure);
    assert_eq!(world.decide(), Err("peer_attribute_unreadable".to_owned()));
    world.host.mend("proxy_call_foreign_function");
    assert_eq!(world.decide(), Ok(()));
}

#[test]
fn verifies_each_certificate_once() {
    let world = World::inbound();
    let leaf = world.authority.leaf(SLEEP);
    for _ in 0..5 {
        world.arrive(&leaf, "GET", "/get");
        assert_eq!(world.decide(), Ok(()));
    }
    assert_eq!(world.host.foreign_calls(), 1);
    // A new configuration may have other issuers.
    assert!(world.configure(&world.inbound_config()));
    world.arrive(&leaf, "GET", "/get");
    assert_eq!(world.decide(), Ok(()));
    assert_eq!(world.host.foreign_calls(), 2);
}

#[test]
fn each_of_several_header_values_counts() {
    let world = World::bare();
    let mut config = world.inbound_config();
    config["policies"] = json!([{
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "no-admin", "namespace": "default"},
        "spec": {"action": "DENY", "rules": [
            {"when": [{"key": "request.headers[x-role]", "values": ["admin"]}]},
        ]},
    }]);
    assert!(world.configure(&config));
    world.arrive(&world.authority.leaf(SLEEP), "GET", "/get");
    let headers = [
        (":method", "GET"),
        (":path", "/get"),
        ("x-role", "user"),
        ("x-role", "admin"),
    ];
    world.host.set_headers(HeaderMap::Request, &headers);
    assert_eq!(world.decide(), Err("matched_deny".to_owned()));
}

#[test]
fn without_a_configuration_everything_is_denied() {
    let world = World::bare();
    world.arrive(&world.authority.leaf(SLEEP), "GET", "/get");
    assert_eq!(world.decide(), Err("no_configuration".to_owned()));
}

#[test]
fn a_request_of_no_known_context_is_denied() {
    let world = World::inbound();
    world.host.enter(99);
    world.vm.on_context_create(99, 55);
    assert_eq!(world.decide_context(99), Err("no_context".to_owned()));
    world.vm.on_delete(99);
    world.vm.on_tick(55);
    world.vm.on_delete(ROOT);
    world.begin(REQUEST, "GET", "/get");
    assert_eq!(world.decide(), Err("no_context".to_owned()));
}

fn all_failures() -> impl Iterator<Item = Status> {
    (2..=13).filter_map(|raw| Status::from_raw(raw).err())
}
