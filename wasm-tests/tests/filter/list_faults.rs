//! Fetching the deny list under faults: nobody who is on it passes.

use std::time::Duration;

use wasm_tests::fixtures::deny_list::ListSpec;
use wasm_tests::fixtures::traffic::mutual_tls;
use wasm_tests::host::{Fault, Outcome, Status};

use crate::fail_closed::{Inbound, effects, one_get};

#[test]
fn no_fault_while_a_deny_list_is_fetched_makes_a_revoked_certificate_pass() {
    let inbound = Inbound::new();
    let revoked = mutual_tls(&inbound.revoked);
    let list = ListSpec::sequence(2).revoking(&inbound.revoked.sha256());
    let update = inbound.signer.sign(&list);
    for hostcall in [
        "proxy_get_buffer_bytes",
        "proxy_get_header_map_pairs",
        "proxy_get_header_map_value",
        "proxy_call_foreign_function",
        "proxy_get_shared_data",
        "proxy_set_shared_data",
        "proxy_get_current_time_nanoseconds",
        "proxy_set_tick_period_milliseconds",
        "proxy_record_metric",
    ] {
        for effect in effects() {
            let mut plugin = inbound.plugin();
            plugin.run_for(Duration::from_secs(1)).expect("no trap");
            let call = plugin
                .pending_calls()
                .first()
                .cloned()
                .expect("the next poll");
            plugin.inject(Fault::every(hostcall, effect.clone()));
            plugin.answer_call(&call, 200, &update).expect("no trap");
            plugin.run_for(Duration::from_millis(100)).expect("no trap");
            plugin.clear_faults();
            let outcome = one_get(&mut plugin, &revoked);
            assert_ne!(
                outcome,
                Outcome::Continued,
                "after {hostcall} had {effect:?}"
            );
        }
    }
}

/// The SDK makes these two calls itself and panics on statuses it does not list, which Envoy does
/// not answer. Should a host do so all the same, the module ends, and Envoy refuses every request.
#[test]
fn a_status_the_sdk_does_not_know_lets_nothing_pass() {
    let inbound = Inbound::new();
    let revoked = mutual_tls(&inbound.revoked);
    for hostcall in ["proxy_http_call", "proxy_set_effective_context"] {
        for status in Status::FAILURES {
            let mut plugin = inbound.plugin();
            plugin.inject(Fault::status(hostcall, status));
            let ran = plugin.run_for(Duration::from_secs(1));
            let call = plugin.pending_calls().first().cloned();
            let answered = call.map(|call| plugin.answer_call(&call, 200, b"no list"));
            plugin.clear_faults();
            let trapped = ran.is_err() || answered.is_some_and(|answered| answered.is_err());
            assert_eq!(trapped, plugin.is_dead(), "{hostcall} {status:?}");
            if !trapped {
                assert_ne!(one_get(&mut plugin, &revoked), Outcome::Continued);
            }
        }
    }
}
