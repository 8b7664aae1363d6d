//! What a request costs in calls across the module's boundary. Each takes about as long as a small policy.

use std::time::Duration;

use serde_json::json;
use wasm_tests::fixtures::ca::Authority;
use wasm_tests::fixtures::config::{ConfigSpec, allow_principal, authorization_policy};
use wasm_tests::fixtures::traffic::mutual_tls;
use wasm_tests::fixtures::{IMPOSTOR, NOW, SLEEP};
use wasm_tests::host::{Outcome, Plugin};

use crate::support::{configured, get};

/// One policy of one principal, one method and one path, as most are; allowed requests are not logged.
fn common(authority: &Authority) -> ConfigSpec {
    let rules = json!([{
        "from": [{"source": {"principals": ["cluster.local/ns/default/sa/sleep"]}}],
        "to": [{"operation": {"methods": ["GET"], "paths": ["/get"]}}],
    }]);
    ConfigSpec::inbound(authority)
        .policy(authorization_policy("one", "ALLOW", rules))
        .with("decisionLog", json!({}))
}

/// The calls of the n-th request of a client over one connection, after others that warmed up.
fn calls(plugin: &mut Plugin, authority: &Authority, path: &str) -> Vec<(&'static str, String)> {
    let connection = mutual_tls(&authority.svid(SLEEP));
    for _ in 0..65 {
        assert_eq!(get(plugin, connection.clone(), path), Outcome::Continued);
    }
    plugin.take_recorded();
    assert_eq!(get(plugin, connection, path), Outcome::Continued);
    let recorded = plugin.take_recorded().into_iter();
    recorded.map(|call| (call.hostcall, call.about)).collect()
}

#[test]
fn a_common_allowed_request_takes_three_calls() {
    let authority = Authority::new(NOW);
    let mut plugin = configured(&common(&authority));
    let wanted = [
        ("proxy_get_current_time_nanoseconds", String::new()),
        ("proxy_get_property", "connection_id".to_owned()),
        ("proxy_get_header_map_pairs", "0".to_owned()),
    ];
    assert_eq!(calls(&mut plugin, &authority, "/get"), wanted);
}

#[test]
fn where_policies_look_at_identity_alone_headers_are_not_read() {
    let authority = Authority::new(NOW);
    let policy = allow_principal("one", "cluster.local/ns/default/sa/sleep");
    let config = ConfigSpec::inbound(&authority)
        .policy(policy)
        .with("decisionLog", json!({}));
    let mut plugin = configured(&config);
    let made = calls(&mut plugin, &authority, "/get");
    assert_eq!(made.len(), 2, "{made:?}");
}

#[test]
fn what_policies_look_at_of_a_connection_is_read_once() {
    let authority = Authority::new(NOW);
    let rules = json!([{
        "from": [{"source": {"ipBlocks": ["10.0.0.0/8"]}}],
        "to": [{"operation": {"ports": ["8080"]}}],
        "when": [{"key": "connection.sni", "values": ["httpbin.default"]}],
    }]);
    let config = ConfigSpec::inbound(&authority)
        .policy(authorization_policy("one", "ALLOW", rules))
        .with("decisionLog", json!({}));
    let mut plugin = configured(&config);
    let made = calls(&mut plugin, &authority, "/get");
    assert_eq!(made.len(), 2, "{made:?}");
}

#[test]
fn another_connection_is_another_one() {
    let authority = Authority::new(NOW);
    let mut plugin = configured(&common(&authority));
    calls(&mut plugin, &authority, "/get");
    let impostor = mutual_tls(&authority.svid(IMPOSTOR));
    assert_eq!(get(&mut plugin, impostor, "/get").status(), Some(403));
}

/// A connection's number is all that tells it from others. Where the proxy does not give one, nothing is kept.
#[test]
fn without_a_number_nothing_is_taken_over_from_another_connection() {
    use wasm_tests::host::{Fault, Status};
    let authority = Authority::new(NOW);
    let mut plugin = configured(&common(&authority));
    let (sleep, impostor) = (authority.svid(SLEEP), authority.svid(IMPOSTOR));
    for status in Status::FAILURES {
        for name in ["connection_id", "connection.id"] {
            plugin.inject(Fault::status("proxy_get_property", status).about(name));
        }
        let allowed = get(&mut plugin, mutual_tls(&sleep), "/get");
        assert_eq!(allowed, Outcome::Continued, "{status:?}");
        let denied = get(&mut plugin, mutual_tls(&impostor), "/get");
        assert_eq!(denied.status(), Some(403), "{status:?}");
        plugin.clear_faults();
    }
}

#[test]
fn what_is_known_of_a_connection_does_not_outlive_dates_and_deny_list() {
    let authority = Authority::new(NOW);
    let mut plugin = configured(&common(&authority));
    let connection = mutual_tls(&authority.svid(SLEEP));
    assert_eq!(
        get(&mut plugin, connection.clone(), "/get"),
        Outcome::Continued
    );
    plugin.world().clock.advance(Duration::from_secs(7200));
    assert_eq!(get(&mut plugin, connection, "/get").status(), Some(403));
}

/// The proxy is told of allowed requests in the timer, not with each of them.
#[test]
fn allowed_requests_are_counted_once_a_second() {
    let authority = Authority::new(NOW);
    let mut plugin = configured(&common(&authority));
    calls(&mut plugin, &authority, "/get");
    let counted = |plugin: &Plugin| {
        let name = "countersign_decision_allow_matched_allow";
        plugin.world().metrics().value(name)
    };
    assert_eq!(counted(&plugin), None);
    plugin.run_for(Duration::from_secs(1)).expect("no trap");
    assert_eq!(counted(&plugin), Some(66));
    plugin.take_recorded();
    plugin.run_for(Duration::from_secs(5)).expect("no trap");
    let idle = plugin.take_recorded();
    assert!(idle.len() <= 8, "nothing to do and no timer: {idle:?}");
}
