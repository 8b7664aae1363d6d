//! Requests that are open when a configuration changes: whatever a hostcall answers, a denied one passes nothing
//! more, and nothing traps.

use std::time::Duration;

use serde_json::json;
use wasm_tests::fixtures::NOW;
use wasm_tests::fixtures::SLEEP;
use wasm_tests::fixtures::ca::Authority;
use wasm_tests::fixtures::config::{ConfigSpec, allow_principal, authorization_policy};
use wasm_tests::fixtures::traffic::{mutual_tls, request};
use wasm_tests::host::{Effect, Fault, Headers, Outcome, Plugin, Properties, StreamId};

use crate::fail_closed::effects;
use crate::support::configured;

fn allowing(authority: &Authority) -> ConfigSpec {
    let rules = json!([{
        "from": [{"source": {"principals": ["cluster.local/ns/default/sa/sleep"]}}],
        "to": [{"operation": {"methods": ["POST"]}}],
    }]);
    ConfigSpec::inbound(authority).policy(authorization_policy("only", "ALLOW", rules))
}

fn denying(authority: &Authority) -> ConfigSpec {
    let policy = allow_principal("only", "cluster.local/ns/default/sa/nobody");
    ConfigSpec::inbound(authority).policy(policy)
}

/// An allowed `POST` whose body goes on; its headers are gone from the host, as they are from Envoy.
fn open(plugin: &mut Plugin, authority: &Authority) -> StreamId {
    let stream = open_over(plugin, mutual_tls(&authority.svid(SLEEP)));
    plugin
        .set_request_headers(stream, Headers::new::<&str, &str>(&[]))
        .expect("it is there");
    stream
}

fn open_over(plugin: &mut Plugin, connection: Properties) -> StreamId {
    let stream = plugin.open(connection).expect("no trap");
    let outcome = plugin.request_headers(stream, &request("POST", "/"), false);
    assert_eq!(outcome.expect("no trap"), Outcome::Continued);
    stream
}

/// A plug-in with a request that its configuration allows and that is open when another one comes.
fn opened_before(authority: &Authority, then: &ConfigSpec) -> (Plugin, StreamId) {
    let mut plugin = configured(&allowing(authority));
    let stream = open(&mut plugin, authority);
    assert!(plugin.configure(then.json()).expect("no trap"));
    (plugin, stream)
}

fn body(plugin: &mut Plugin, stream: StreamId) -> Outcome {
    plugin
        .request_body(stream, b"more", false)
        .expect("no trap")
}

#[test]
fn an_open_request_is_reset_by_a_configuration_that_denies_it_and_not_by_one_that_allows_it() {
    let authority = Authority::new(NOW);
    let mut plugin = configured(&allowing(&authority));
    let stream = open(&mut plugin, &authority);
    for (config, reset) in [(allowing(&authority), false), (denying(&authority), true)] {
        assert!(plugin.configure(config.json()).expect("no trap"));
        plugin.run_for(Duration::from_secs(2)).expect("no trap");
        let status = body(&mut plugin, stream).status();
        assert_eq!(status, reset.then_some(403));
    }
    plugin.close(stream).expect("no trap");
}

#[test]
fn no_fault_while_open_requests_are_decided_anew_lets_a_denied_one_go_on() {
    let authority = Authority::new(NOW);
    let calls = {
        let (mut plugin, _) = opened_before(&authority, &denying(&authority));
        plugin.take_recorded();
        plugin.run_for(Duration::from_secs(2)).expect("no trap");
        let mut calls: Vec<_> = plugin
            .take_recorded()
            .into_iter()
            .map(|call| (call.hostcall, call.about))
            .collect();
        calls.sort();
        calls.dedup();
        calls
    };
    assert!(
        calls
            .iter()
            .any(|(call, _)| *call == "proxy_send_local_response")
    );
    for (hostcall, about) in &calls {
        for effect in effects() {
            let (mut plugin, stream) = opened_before(&authority, &denying(&authority));
            plugin.inject(Fault::every(hostcall, effect.clone()).about(about));
            plugin.run_for(Duration::from_secs(2)).expect("no trap");
            plugin.clear_faults();
            assert_ne!(
                body(&mut plugin, stream),
                Outcome::Continued,
                "passed when {hostcall} about {about:?} had {effect:?}"
            );
        }
    }
}

#[test]
fn every_fault_in_what_an_allowed_open_request_rests_on_ends_it() {
    let authority = Authority::new(NOW);
    for about in ["connection.mtls", "connection.peer_certificate_valid"] {
        for effect in [Effect::Bytes(vec![7]), Effect::Bytes(vec![0, 0])] {
            let (mut plugin, stream) = opened_before(&authority, &allowing(&authority));
            plugin.inject(Fault::every("proxy_get_property", effect).about(about));
            plugin.run_for(Duration::from_secs(2)).expect("no trap");
            assert_eq!(body(&mut plugin, stream).status(), Some(403), "{about}");
        }
    }
}

#[test]
fn ten_thousand_open_requests_are_decided_on_within_a_second() {
    let authority = Authority::new(NOW);
    let mut plugin = configured(&allowing(&authority).with("decisionLog", json!({})));
    let streams: Vec<_> = (0..10_000)
        .map(|_| open_quickly(&mut plugin, &authority))
        .collect();
    let bytes = plugin.memory_bytes();
    assert!(bytes <= 16 << 20, "{bytes} bytes, the limit is 16 MB");
    assert!(
        plugin
            .configure(denying(&authority).json())
            .expect("no trap")
    );
    plugin.run_for(Duration::from_secs(1)).expect("no trap");
    for stream in streams {
        assert_eq!(
            plugin.outcome(stream).expect("it is there").status(),
            Some(403)
        );
    }
}

fn open_quickly(plugin: &mut Plugin, authority: &Authority) -> StreamId {
    use std::sync::OnceLock;
    static CONNECTION: OnceLock<Properties> = OnceLock::new();
    let connection = CONNECTION.get_or_init(|| mutual_tls(&authority.svid(SLEEP)));
    open_over(plugin, connection.clone())
}
