//! Held requests under faults: nothing is let go that should not be.

use std::collections::BTreeSet;

use wasm_tests::fixtures::ca::Authority;
use wasm_tests::fixtures::config::ConfigSpec;
use wasm_tests::fixtures::traffic::{request, upstream_not_ready, upstream_ready};
use wasm_tests::fixtures::{HTTPBIN, IMPOSTOR, NOW};
use wasm_tests::host::{Fault, Outcome, Plugin, Properties, Status};

use crate::fail_closed::effects;
use crate::support::configured;

#[test]
fn a_held_request_for_an_impostor_stays_back_under_every_fault() {
    let authority = Authority::new(NOW);
    let impostor = upstream_ready(&authority.svid(IMPOSTOR));
    let config = ConfigSpec::outbound(&authority);
    let mut probe = configured(&config);
    probe.take_recorded();
    hold_then_show(&mut probe, &impostor);
    let calls: BTreeSet<(&str, String)> = probe
        .take_recorded()
        .into_iter()
        .map(|call| (call.hostcall, call.about))
        .collect();
    let mut plugin = configured(&config);
    for (hostcall, about) in &calls {
        for effect in effects() {
            plugin.inject(Fault::every(hostcall, effect.clone()).about(about));
            let (outcome, resumed) = hold_then_show(&mut plugin, &impostor);
            plugin.clear_faults();
            let let_go = outcome == Outcome::Continued || resumed > 0;
            assert!(
                !let_go,
                "{hostcall} about {about:?} had {effect:?}: {outcome:?}"
            );
        }
    }
}

#[test]
fn a_held_request_is_refused_when_the_server_cannot_be_read() {
    let authority = Authority::new(NOW);
    let server = authority.svid(HTTPBIN);
    let with_certificate = upstream_ready(&server);
    let before_1_39 = with_certificate
        .clone()
        .without("upstream.peer_certificate");
    for (property, ready) in [
        ("upstream.peer_certificate", with_certificate),
        ("upstream.uri_san_peer_certificate", before_1_39),
    ] {
        let mut plugin = configured(&ConfigSpec::outbound(&authority));
        let (unharmed, _) = hold_then_show(&mut plugin, &ready);
        assert_eq!(
            unharmed,
            Outcome::Continued,
            "{property}; log: {:?}",
            plugin.log()
        );
        for status in Status::FAILURES {
            if status == Status::NotFound {
                continue;
            }
            let mut plugin = configured(&ConfigSpec::outbound(&authority));
            plugin.inject(Fault::status("proxy_get_property", status).about(property));
            let (outcome, resumed) = hold_then_show(&mut plugin, &ready);
            assert_ne!(outcome, Outcome::Continued, "{property} {status:?}");
            assert_eq!(resumed, 0, "{property} {status:?}");
        }
    }
}

/// Holds a request, lets the connection show this server, and waits past every limit.
fn hold_then_show(plugin: &mut Plugin, ready: &Properties) -> (Outcome, u32) {
    let stream = plugin.open(upstream_not_ready()).expect("no trap");
    plugin
        .request_headers(stream, &request("GET", "/"), true)
        .expect("no trap");
    plugin
        .run_for(std::time::Duration::from_millis(3))
        .expect("no trap");
    plugin.set_properties(stream, ready.clone()).expect("there");
    plugin
        .run_for(std::time::Duration::from_millis(5200))
        .expect("no trap");
    let answer = (
        plugin.outcome(stream).unwrap(),
        plugin.resumed(stream).unwrap(),
    );
    plugin.close(stream).expect("no trap");
    answer
}
