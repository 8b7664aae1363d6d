//! Asking the agent for the deny list: how often, with what, and whatever comes back.

use std::time::Duration;

use wasm_tests::fixtures::NOW;
use wasm_tests::fixtures::config::DENY_LIST_CLUSTER;
use wasm_tests::fixtures::deny_list::ListSpec;
use wasm_tests::host::{Fault, Plugin, Status};

use crate::deny_list::{Setup, deliver, next_poll, setup};
use crate::support::{assert_allowed, assert_forbidden, get_as};

#[test]
fn asks_its_agent_and_names_the_sequence_it_has() {
    let Setup {
        signer, mut plugin, ..
    } = setup();
    let call = next_poll(&mut plugin);
    assert_eq!(call.cluster, DENY_LIST_CLUSTER);
    let header = |name| call.headers.text(name).unwrap_or_default();
    assert_eq!(header(":method"), "GET");
    assert_eq!(header(":path"), "/v1/denylist?epoch=0&since=0");
    assert_eq!(header(":authority"), DENY_LIST_CLUSTER);
    assert!(
        call.timeout_milliseconds > 0,
        "a call without a limit could hang for ever"
    );
    plugin
        .answer_call(&call, 200, &signer.sign(&ListSpec::sequence(41)))
        .expect("no trap");
    assert_eq!(
        next_poll(&mut plugin).headers.text(":path").unwrap(),
        "/v1/denylist?epoch=1&since=41"
    );
    let gauge = plugin
        .world()
        .metrics()
        .value("countersign_deny_list_sequence");
    assert_eq!(gauge, Some(41));
}

#[test]
fn polls_twice_a_second_unless_told_otherwise() {
    let Setup {
        signer,
        world,
        mut plugin,
        ..
    } = setup();
    deliver(&mut plugin, &signer.sign(&ListSpec::sequence(1)));
    let mut polled_at = Vec::new();
    for _ in 0..4 {
        let call = next_poll(&mut plugin);
        polled_at.push(world.clock.nanoseconds() / 1_000_000);
        plugin.answer_call(&call, 204, b"").expect("no trap");
    }
    for pair in polled_at.windows(2) {
        let gap = pair[1] - pair[0];
        assert!(
            (400..=620).contains(&gap),
            "{gap} ms between two polls: {polled_at:?}"
        );
    }
}

#[test]
fn survives_answers_that_are_no_list() {
    let Setup {
        signer,
        client,
        mut plugin,
        ..
    } = setup();
    deliver(&mut plugin, &signer.sign(&ListSpec::sequence(1)));
    for status in [404, 500, 503, 301] {
        let call = next_poll(&mut plugin);
        plugin.answer_call(&call, status, b"no").expect("no trap");
    }
    let call = next_poll(&mut plugin);
    plugin.fail_call(&call).expect("no trap");
    let huge = vec![b'a'; 24 << 20];
    let call = next_poll(&mut plugin);
    plugin.answer_call(&call, 200, &huge).expect("no trap");
    drop(huge);
    let outcome = get_as(&mut plugin, &client);
    assert_allowed(&plugin, &outcome, "no_policy");
    next_poll(&mut plugin);
}

#[test]
fn goes_on_polling_when_the_call_itself_is_refused() {
    let Setup {
        signer,
        client,
        mut plugin,
        ..
    } = setup();
    while let Some(call) = plugin.pending_calls().first().cloned() {
        plugin.fail_call(&call).expect("no trap");
    }
    // All that Envoy's httpCall answers; see list_faults for the statuses it does not have.
    for status in [Status::BadArgument, Status::InternalFailure] {
        plugin.inject(Fault::status("proxy_http_call", status));
        plugin.run_for(Duration::from_secs(2)).expect("no trap");
        let hits: u32 = plugin.clear_faults().iter().map(Fault::hits).sum();
        assert!(hits > 0, "it stopped polling after {status:?}");
        assert_ne!(plugin.tick_period(), Duration::ZERO, "after {status:?}");
    }
    let fresh = signer.sign(&ListSpec::at(plugin_now(&plugin), 1));
    deliver(&mut plugin, &fresh);
    let outcome = get_as(&mut plugin, &client);
    assert_allowed(&plugin, &outcome, "no_policy");
}

fn plugin_now(plugin: &Plugin) -> u64 {
    plugin.world().clock.seconds()
}

#[test]
fn keeps_polling_an_agent_that_is_away() {
    let Setup {
        signer,
        client,
        world,
        mut plugin,
        ..
    } = setup();
    deliver(&mut plugin, &signer.sign(&ListSpec::sequence(1)));
    // Half an hour: the list is stale long since, and the agent is asked twice a second still.
    let mut asked_at = Vec::new();
    while world.clock.seconds() < NOW + 1_800 {
        let call = next_poll(&mut plugin);
        asked_at.push(world.clock.nanoseconds() / 1_000_000);
        plugin.fail_call(&call).expect("no trap");
    }
    let longest = asked_at.windows(2).map(|pair| pair[1] - pair[0]).max();
    assert!(longest <= Some(620), "{longest:?} ms between two polls");
    let outcome = get_as(&mut plugin, &client);
    assert_forbidden(&plugin, &outcome, "deny_list_stale");
    let fresh = ListSpec::at(world.clock.seconds(), 2);
    deliver(&mut plugin, &signer.sign(&fresh));
    let outcome = get_as(&mut plugin, &client);
    assert_allowed(&plugin, &outcome, "no_policy");
}
