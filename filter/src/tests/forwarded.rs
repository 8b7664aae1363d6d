use identity::deny_list::State;
use serde_json::json;

use super::world::{Authority, HTTPBIN, Leaf, NOW, REQUEST, SLEEP, World};
use crate::host::{HeaderMap, Status};

const GATEWAY: &str = "spiffe://cluster.local/ns/edge/sa/gateway";
const HEADER: &str = "x-forwarded-client-cert";

fn with_hop() -> World {
    let world = World::bare();
    let mut config = world.inbound_config();
    config["forwardedClientCert"] = json!({"hop": GATEWAY});
    assert!(world.configure(&config));
    world
}

fn encoded(leaf: &Leaf) -> String {
    leaf.pem
        .replace('\n', "%0A")
        .replace(' ', "%20")
        .replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D")
}

fn element(leaf: &Leaf) -> String {
    format!(
        "By={GATEWAY};Hash={};Cert=\"{}\"",
        leaf.sha256,
        encoded(leaf)
    )
}

/// A `GET /get` over the gateway's connection, with these values of the header.
fn ask(world: &World, connection: &Leaf, values: &[&str]) -> Result<(), String> {
    world.arrive(connection, "GET", "/get");
    let mut headers = vec![(":method", "GET"), (":path", "/get"), (":authority", "x")];
    headers.extend(values.iter().map(|value| (HEADER, *value)));
    world.host.set_headers(HeaderMap::Request, &headers);
    world.decide()
}

#[test]
fn the_forwarded_certificate_stands_for_the_sender() {
    let world = with_hop();
    let gateway = world.authority.leaf(GATEWAY);
    let (sleep, httpbin) = (world.authority.leaf(SLEEP), world.authority.leaf(HTTPBIN));
    assert_eq!(ask(&world, &gateway, &[&element(&sleep)]), Ok(()));
    let denied = ask(&world, &gateway, &[&element(&httpbin)]);
    assert_eq!(denied, Err("no_allow_matched".to_owned()));
    let log = world.host.take_log();
    assert!(
        log[0].1.contains(&format!(r#""peer":"{HTTPBIN}""#)),
        "{log:?}"
    );
    assert!(
        log[0].1.contains(&format!(r#""via":"{GATEWAY}""#)),
        "{log:?}"
    );
    let several = format!(
        "By=spiffe://x/y;Cert=\"{}\",{}",
        encoded(&httpbin),
        element(&sleep)
    );
    assert_eq!(ask(&world, &gateway, &[&several]), Ok(()));
    let json = json!([{"by": GATEWAY, "hash": sleep.sha256.to_string(), "cert": sleep.pem}]);
    assert_eq!(ask(&world, &gateway, &[&json.to_string()]), Ok(()));
}

#[test]
fn from_anyone_else_the_header_is_never_looked_at() {
    let world = with_hop();
    let sleep = world.authority.leaf(SLEEP);
    let (httpbin, other) = (
        world.authority.leaf(HTTPBIN),
        world.authority.leaf(&format!("{GATEWAY}2")),
    );
    for peer in [&httpbin, &other] {
        let asked = ask(&world, peer, &[&element(&sleep)]);
        assert_eq!(asked, Err("no_allow_matched".to_owned()));
    }
    assert_eq!(
        ask(&world, &sleep, &[&element(&httpbin), "\"garbage"]),
        Ok(())
    );
    // Without the setting the gateway is a workload like any other.
    let world = World::inbound();
    let gateway = world.authority.leaf(GATEWAY);
    let asked = ask(&world, &gateway, &[&element(&world.authority.leaf(SLEEP))]);
    assert_eq!(asked, Err("no_allow_matched".to_owned()));
}

#[test]
fn plaintext_forwards_nothing() {
    let world = with_hop();
    world.begin(REQUEST, "GET", "/get");
    let sleep = element(&world.authority.leaf(SLEEP));
    let headers = [(":method", "GET"), (":path", "/get"), (HEADER, &sleep)];
    world.host.set_headers(HeaderMap::Request, &headers);
    assert_eq!(world.decide(), Err("no_allow_matched".to_owned()));
}

#[test]
fn without_a_certificate_to_check_the_request_is_denied() {
    let world = with_hop();
    let gateway = world.authority.leaf(GATEWAY);
    let sleep = world.authority.leaf(SLEEP);
    let uri = format!("By={GATEWAY};Hash={};URI={SLEEP}", sleep.sha256);
    for (values, reason) in [
        (&[][..], "forwarded_certificate_missing"),
        (&[uri.as_str()], "forwarded_certificate_missing"),
        (
            &[&format!("By={GATEWAY};Cert=\"\"")],
            "forwarded_certificate_missing",
        ),
        (&[""], "forwarded_certificate_malformed"),
        (
            &[&element(&sleep), &element(&sleep)],
            "forwarded_certificate_malformed",
        ),
        (
            &[&format!("{};", element(&sleep))],
            "forwarded_certificate_malformed",
        ),
        (
            &[&format!(
                "By={GATEWAY};Hash={};Cert=\"{}\"",
                gateway.sha256,
                encoded(&sleep)
            )],
            "forwarded_certificate_malformed",
        ),
    ] {
        assert_eq!(
            ask(&world, &gateway, values),
            Err(reason.to_owned()),
            "{values:?}"
        );
    }
    let garbage = format!("By={GATEWAY};Cert=\"garbage\"");
    assert!(ask(&world, &gateway, &[&garbage]).is_err());
}

#[test]
fn the_forwarded_certificate_goes_through_every_check() {
    let world = with_hop();
    let gateway = world.authority.leaf(GATEWAY);
    for (leaf, reason) in [
        (Authority::new().leaf(SLEEP), "unknown_issuer"),
        (world.authority.leaf_valid(SLEEP, -100, -1), "expired"),
        (world.authority.leaf_valid(SLEEP, 1, 100), "not_yet_valid"),
        (
            world
                .authority
                .leaf("spiffe://other.org/ns/default/sa/sleep"),
            "unknown_trust_domain",
        ),
    ] {
        for _ in 0..2 {
            let asked = ask(&world, &gateway, &[&element(&leaf)]);
            assert_eq!(asked, Err(reason.to_owned()));
        }
    }
    // The proxy's own certificate, too.
    let old = world.authority.leaf_valid(GATEWAY, -100, -1);
    let asked = ask(&world, &old, &[&element(&world.authority.leaf(SLEEP))]);
    assert_eq!(asked, Err("expired".to_owned()));
}

#[test]
fn both_certificates_are_looked_up_on_the_deny_list() {
    let world = World::bare();
    let mut config = world.with_deny_list(world.inbound_config());
    config["forwardedClientCert"] = json!({"hop": GATEWAY});
    assert!(world.configure(&config));
    let (gateway, sleep) = (world.authority.leaf(GATEWAY), world.authority.leaf(SLEEP));
    world.deliver(world.signer.list(1, 1, NOW, &[]));
    assert_eq!(ask(&world, &gateway, &[&element(&sleep)]), Ok(()));
    for (sequence, revoked) in [(2, &sleep), (3, &gateway)] {
        let list = [(revoked.sha256, State::Revoked)];
        world.deliver(world.signer.list(1, sequence, NOW, &list));
        let asked = ask(&world, &gateway, &[&element(&sleep)]);
        assert_eq!(asked, Err("revoked".to_owned()));
    }
}

#[test]
fn a_forwarded_certificate_is_verified_once() {
    let world = with_hop();
    let (gateway, sleep) = (world.authority.leaf(GATEWAY), world.authority.leaf(SLEEP));
    for _ in 0..4 {
        assert_eq!(ask(&world, &gateway, &[&element(&sleep)]), Ok(()));
    }
    assert_eq!(world.host.foreign_calls(), 2);
    let failing = world.authority.leaf(SLEEP);
    world
        .host
        .fail("proxy_call_foreign_function", Status::InternalFailure);
    let asked = ask(&world, &gateway, &[&element(&failing)]);
    assert_eq!(asked, Err("peer_attribute_unreadable".to_owned()));
    world.host.mend("proxy_call_foreign_function");
    assert_eq!(ask(&world, &gateway, &[&element(&failing)]), Ok(()));
}
