//! What only policies look at that never change a verdict, and what becomes of it where it cannot be read.

use serde_json::{Value, json};

use super::world::{SLEEP, World};
use crate::host::Status;

const PAYLOAD: &str = "metadata.filter_metadata.envoy.filters.http.jwt_authn.payload";
const READ_HEADERS: &str = "proxy_get_header_map_pairs";

/// Rules, each with what it looks at.
pub(crate) fn on_connections() -> Vec<(Value, &'static str)> {
    let from = |field: &str| json!({"from": [{"source": {(field): ["10.0.0.0/8"]}}]});
    let when = |key: &str, value: &str| json!({"when": [{"key": key, "values": [value]}]});
    vec![
        (
            from("ipBlocks"),
            "filter_state.countersign.direct_remote_address",
        ),
        (
            from("remoteIpBlocks"),
            "filter_state.countersign.remote_address",
        ),
        (
            json!({"to": [{"operation": {"ports": ["80"]}}]}),
            "destination.address",
        ),
        (when("destination.ip", "10.0.0.1"), "destination.address"),
        (
            when("connection.sni", "a"),
            "connection.requested_server_name",
        ),
        (
            when("experimental.envoy.filters.a[k]", "v"),
            "metadata.filter_metadata.envoy.filters.a.k",
        ),
    ]
}

/// A policy of one rule under each action that never changes a verdict.
pub(crate) fn watching(rule: &Value) -> [Value; 3] {
    [("AUDIT", "false"), ("DENY", "true"), ("ALLOW", "true")].map(|(action, dry_run)| {
        json!({
            "apiVersion": "security.istio.io/v1",
            "kind": "AuthorizationPolicy",
            "metadata": {"name": "watch", "namespace": "default", "annotations": {"istio.io/dry-run": dry_run}},
            "spec": {"action": action, "rules": [rule]},
        })
    })
}

fn on_requests() -> Vec<(Value, &'static str)> {
    let mut all = on_connections();
    let audience = json!({"when": [{"key": "request.auth.audiences", "values": ["a"]}]});
    let path = json!({"to": [{"operation": {"paths": ["/a"]}}]});
    let header = json!({"when": [{"key": "request.headers[x]", "values": ["a"]}]});
    all.extend([
        (audience.clone(), "filter_state.countersign.jwt_payload"),
        (
            audience,
            "metadata.filter_metadata.envoy.filters.http.jwt_authn.payload.aud",
        ),
        (path, READ_HEADERS),
        (header, READ_HEADERS),
    ]);
    all
}

/// `sleep` may do all; no header is looked at. All decisions are logged.
fn config(world: &World) -> Value {
    let mut config = world.inbound_config();
    let rule = &mut config["policies"][0]["spec"]["rules"][0];
    *rule = json!({"from": rule["from"]});
    config["decisionLog"] = json!({"allowed": "all"});
    config
}

fn with(policy: Value) -> World {
    let world = World::bare();
    let mut config = config(&world);
    config["policies"].as_array_mut().unwrap().push(policy);
    assert!(world.configure(&config), "{:?}", world.host.take_log());
    world.arrive(&world.authority.leaf(SLEEP), "GET", "/get");
    for (name, value) in [
        ("filter_state.countersign.direct_remote_address", "1.1.1.1"),
        ("destination.address", "10.0.0.2:81"),
        ("source.address", "1.1.1.1:5"),
    ] {
        world.host.set_property(name, value.as_bytes());
    }
    world
}

fn fail(world: &World, name: &'static str, status: Status) {
    match name {
        READ_HEADERS => world.host.fail(name, status),
        name => world.host.fail_property(name, status),
    }
}

/// The shadow of the last decision in the log.
fn logged_shadow(world: &World) -> Value {
    let log = world.host.take_log();
    let lines = log.iter().rev();
    let mut lines = lines.filter_map(|(_, line)| line.strip_prefix("countersign-decision "));
    let line: Value = serde_json::from_str(lines.next().expect("a decision")).unwrap();
    line["shadow"].clone()
}

fn unreadable(world: &World) -> Option<u64> {
    world.host.metric("countersign_shadow_unreadable")
}

#[test]
fn what_cannot_be_read_for_them_alone_silences_them_and_denies_nothing() {
    for (rule, name) in on_requests() {
        for policy in watching(&rule) {
            let world = with(policy.clone());
            assert_eq!(world.decide(), Ok(()), "{policy}");
            assert_eq!(unreadable(&world), None, "{policy}");
            fail(&world, name, Status::InternalFailure);
            assert_eq!(world.decide(), Ok(()), "{policy}: {name}");
            assert_eq!(unreadable(&world), Some(1), "{policy}: {name}");
            let shadow = logged_shadow(&world);
            let attribute = shadow["unreadable"].as_str().unwrap();
            assert_eq!(shadow, json!({"unreadable": attribute}));
            assert!(
                name == READ_HEADERS || name.starts_with(attribute),
                "{name}: {attribute}"
            );

            // In force, the same policy is not asked either, and nobody is let in.
            let mut enforced = policy;
            enforced["metadata"]["annotations"] = json!({});
            if enforced["spec"]["action"] == "AUDIT" {
                continue;
            }
            let world = with(enforced);
            fail(&world, name, Status::InternalFailure);
            assert_eq!(
                world.decide(),
                Err("attribute_unreadable".to_owned()),
                "{name}"
            );
        }
    }
}

#[test]
fn what_is_garbled_or_missing_for_them_alone_denies_nothing_either() {
    for (name, value) in [
        ("destination.address", &b"garbage"[..]),
        ("destination.address", b""),
        ("filter_state.countersign.direct_remote_address", b""),
        ("filter_state.countersign.jwt_payload", b"{"),
        ("metadata.filter_metadata.envoy.filters.a.k", &[1]),
    ] {
        let rules = on_requests().into_iter();
        for (rule, _) in rules.filter(|(_, looked_at)| *looked_at == name) {
            for policy in watching(&rule) {
                let world = with(policy);
                world.host.set_property(name, value);
                assert_eq!(world.decide(), Ok(()), "{name}");
                assert_eq!(unreadable(&world), Some(1), "{name}");
            }
        }
    }
}

/// The decision looks at claims, too, but at others.
#[test]
fn a_claim_of_theirs_that_is_no_text_leaves_the_decision_the_claims_it_looks_at() {
    let audience = json!({"when": [{"key": "request.auth.audiences", "values": ["a"]}]});
    for policy in watching(&audience) {
        let world = World::bare();
        let mut config = config(&world);
        config["policies"][0]["spec"]["rules"][0] =
            json!({"when": [{"key": "request.auth.claims[iss]", "values": ["i"]}]});
        config["policies"].as_array_mut().unwrap().push(policy);
        assert!(world.configure(&config), "{:?}", world.host.take_log());
        world.arrive(&world.authority.leaf(SLEEP), "GET", "/get");
        world
            .host
            .set_property(&format!("{PAYLOAD}.aud"), &7_f64.to_le_bytes());
        let no = Err("no_allow_matched".to_owned());
        assert_eq!(world.decide(), no);
        world.host.set_property(&format!("{PAYLOAD}.iss"), b"i");
        assert_eq!(world.decide(), Ok(()));
        assert_eq!(unreadable(&world), Some(2));
        world.host.set_property(&format!("{PAYLOAD}.aud"), b"a");
        assert_eq!(world.decide(), Ok(()));
        assert_eq!(unreadable(&world), Some(2));
        assert_eq!(logged_shadow(&world)["unreadable"], Value::Null);
    }
}

/// What the decision looks at is still read for it, and denies.
#[test]
fn what_both_look_at_denies() {
    for (rule, name) in on_requests() {
        let [audit, ..] = watching(&rule);
        let world = with(audit.clone());
        let mut config = config(&world);
        let mut enforced = audit.clone();
        enforced["metadata"]["name"] = json!("enforced");
        enforced["spec"]["action"] = json!("DENY");
        let policies = config["policies"].as_array_mut().unwrap();
        policies.extend([audit, enforced]);
        assert!(world.configure(&config), "{:?}", world.host.take_log());
        assert_eq!(world.decide(), Ok(()), "{name}");
        fail(&world, name, Status::InternalFailure);
        assert_eq!(
            world.decide(),
            Err("attribute_unreadable".to_owned()),
            "{name}"
        );
        assert_eq!(unreadable(&world), None);
    }
}
