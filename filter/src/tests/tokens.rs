use serde_json::{Value, json};

use super::world::{SLEEP, World};
use crate::host::Status;

const STATE: &str = "filter_state.countersign.jwt_payload";
const PAYLOAD: &str = "metadata.filter_metadata.envoy.filters.http.jwt_authn.payload";

fn with_rule(action: &str, rule: Value) -> World {
    let world = World::bare();
    let mut config = world.inbound_config();
    config["policies"][0]["spec"] = json!({"action": action, "rules": [rule]});
    assert!(world.configure(&config), "{:?}", world.host.take_log());
    world.arrive(&world.authority.leaf(SLEEP), "GET", "/get");
    world
}

fn claim(key: &str, value: &str) -> Value {
    json!({"when": [{"key": key, "values": [value]}]})
}

#[test]
fn claims_come_from_filter_state() {
    let world = with_rule("ALLOW", claim("request.auth.claims[groups]", "admins"));
    let no = Err("no_allow_matched".to_owned());
    assert_eq!(world.decide(), no, "no token");
    world
        .host
        .set_property(STATE, br#"{"iss":"i","sub":"s","groups":["users"]}"#);
    assert_eq!(world.decide(), no);
    world.host.set_property(
        STATE,
        br#"{"iss":"i","sub":"s","groups":["users","admins"]}"#,
    );
    assert_eq!(world.decide(), Ok(()));
    world
        .host
        .set_property(STATE, br#"{"groups":{"admins":true}}"#);
    assert_eq!(world.decide(), no);
    world.host.set_property(STATE, b"-");
    assert_eq!(world.decide(), no, "Envoy's way to say that there is none");
    for broken in [&b"{"[..], b"[]", b"null"] {
        world.host.set_property(STATE, broken);
        assert_eq!(world.decide(), Err("attribute_unreadable".to_owned()));
    }
}

#[test]
fn claims_come_from_metadata_where_nobody_leaves_them_in_filter_state() {
    let world = with_rule(
        "ALLOW",
        json!({"from": [{"source": {"requestPrincipals": ["i/s"]}}]}),
    );
    assert_eq!(world.decide(), Err("no_allow_matched".to_owned()));
    world.host.set_property(&format!("{PAYLOAD}.iss"), b"i");
    assert_eq!(world.decide(), Err("no_allow_matched".to_owned()));
    world.host.set_property(&format!("{PAYLOAD}.sub"), b"s");
    assert_eq!(world.decide(), Ok(()));
}

/// A claim whose type cannot be told might be the one that the DENY rule names.
#[test]
fn what_may_or_may_not_be_text_is_denied() {
    let world = with_rule("DENY", claim("request.auth.claims[role]", "guest*"));
    assert_eq!(world.decide(), Ok(()));
    world
        .host
        .set_property(&format!("{PAYLOAD}.role"), b"guest\x01");
    assert_eq!(world.decide(), Err("attribute_unreadable".to_owned()));
}

#[test]
fn no_status_makes_a_token_disappear() {
    let world = with_rule("DENY", claim("request.auth.claims[role]", "guest"));
    for name in [
        STATE,
        &format!("{PAYLOAD}.role"),
        &format!("{PAYLOAD}.role.0"),
    ] {
        for status in (2..=13).filter_map(|raw| Status::from_raw(raw).err()) {
            let world = with_rule("DENY", claim("request.auth.claims[role]", "guest"));
            world.host.fail_property(name, status);
            let denied = Err("attribute_unreadable".to_owned());
            assert_eq!(world.decide(), denied, "{name} {status}");
        }
    }
    assert_eq!(world.decide(), Ok(()));
}

#[test]
fn metadata_of_other_filters_is_read_where_a_policy_names_it() {
    let key = "experimental.envoy.filters.network.mysql_proxy[db.table]";
    let world = with_rule(
        "ALLOW",
        json!({"when": [{"key": key, "values": ["[select]"]}]}),
    );
    let name = "metadata.filter_metadata.envoy.filters.network.mysql_proxy.db.table";
    assert_eq!(world.decide(), Err("no_allow_matched".to_owned()));
    world.host.set_property(&format!("{name}.0"), b"select");
    assert_eq!(world.decide(), Ok(()));
}

#[test]
fn the_client_behind_proxies_is_what_a_filter_left_or_what_envoy_takes_it_for() {
    let rule = json!({"from": [{"source": {"remoteIpBlocks": ["203.0.113.0/24"]}}]});
    let world = with_rule("ALLOW", rule);
    assert_eq!(world.decide(), Err("attribute_unreadable".to_owned()));
    world
        .host
        .set_property("source.address", b"203.0.113.9:1234");
    assert_eq!(world.decide(), Ok(()));
    world
        .host
        .set_property("filter_state.countersign.remote_address", b"192.0.2.1");
    assert_eq!(world.decide(), Err("no_allow_matched".to_owned()));
    world
        .host
        .set_property("filter_state.countersign.remote_address", b"-");
    assert_eq!(world.decide(), Err("attribute_unreadable".to_owned()));
}

#[test]
fn a_certificates_attributes_count_where_it_is_checked() {
    let rule = claim("source.certificate.keyType", "EC");
    let world = with_rule("ALLOW", rule);
    assert_eq!(world.decide(), Ok(()));
    let world = with_rule("ALLOW", claim("source.certificate.keyType", "RSA"));
    assert_eq!(world.decide(), Err("no_allow_matched".to_owned()));
    let world = with_rule("ALLOW", claim("source.certificate.ageLessThan", "10m"));
    assert_eq!(world.decide(), Ok(()));
    world.host.advance(600_000);
    assert_eq!(world.decide(), Err("no_allow_matched".to_owned()));
}

#[test]
fn mutual_tls_is_demanded_where_peer_authentication_says_so() {
    use super::world::REQUEST;
    let world = World::bare();
    let mut config = world.inbound_config();
    config["policies"] = json!([{
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": "default", "namespace": "default"},
        "spec": {"mtls": {"mode": "STRICT"}},
    }]);
    assert!(world.configure(&config), "{:?}", world.host.take_log());
    world.begin(REQUEST, "GET", "/get");
    world
        .host
        .set_property("destination.address", b"10.0.0.1:80");
    assert_eq!(world.decide(), Err("mtls_required".to_owned()));
    world.show(&world.authority.leaf(SLEEP));
    assert_eq!(world.decide(), Ok(()));
}
