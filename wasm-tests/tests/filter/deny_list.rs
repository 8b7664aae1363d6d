//! The deny list: fetched, verified, kept fresh, never turned back.

use std::time::Duration;

use serde_json::json;
use wasm_tests::fixtures::ca::{Authority, Leaf};
use wasm_tests::fixtures::config::{ConfigSpec, DENY_LIST_CLUSTER};
use wasm_tests::fixtures::deny_list::{ListSigner, ListSpec};
use wasm_tests::fixtures::{NOW, SLEEP};
use wasm_tests::host::{HttpCall, Plugin, World};

use crate::support::{assert_allowed, assert_forbidden, configured_in, get_as};

struct Setup {
    authority: Authority,
    signer: ListSigner,
    client: Leaf,
    world: World,
    plugin: Plugin,
}

fn setup() -> Setup {
    let authority = Authority::new(NOW);
    let signer = ListSigner::new();
    let client = authority.svid(SLEEP);
    let world = World::at(NOW);
    let plugin = configured_in(&world, &ConfigSpec::inbound(&authority).deny_list(&signer));
    Setup {
        authority,
        signer,
        client,
        world,
        plugin,
    }
}

/// Lets time pass until the filter asks for the list (again).
fn next_poll(plugin: &mut Plugin) -> HttpCall {
    for _ in 0..300 {
        if let Some(call) = plugin.pending_calls().first() {
            return call.clone();
        }
        plugin.run_for(Duration::from_millis(10)).expect("no trap");
    }
    panic!(
        "no poll of the deny list within three seconds; log: {:?}",
        plugin.log()
    );
}

/// Answers the next poll with this list.
fn deliver(plugin: &mut Plugin, jws: &str) {
    let call = next_poll(plugin);
    plugin
        .answer_call(&call, 200, jws.as_bytes())
        .expect("no trap");
}

#[test]
fn asks_its_agent_and_names_the_sequence_it_has() {
    let Setup {
        signer, mut plugin, ..
    } = setup();
    let call = next_poll(&mut plugin);
    assert_eq!(call.cluster, DENY_LIST_CLUSTER);
    let header = |name| call.headers.text(name).unwrap_or_default();
    assert_eq!(header(":method"), "GET");
    assert_eq!(header(":path"), "/v1/denylist?since=0");
    assert_eq!(header(":authority"), DENY_LIST_CLUSTER);
    assert!(
        call.timeout_milliseconds > 0,
        "a call without a limit could hang for ever"
    );
    plugin
        .answer_call(&call, 200, signer.sign(&ListSpec::sequence(41)).as_bytes())
        .expect("no trap");
    assert_eq!(
        next_poll(&mut plugin).headers.text(":path").unwrap(),
        "/v1/denylist?since=41"
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
fn denies_until_it_has_a_list_and_allows_from_then_on() {
    let Setup {
        signer,
        client,
        mut plugin,
        ..
    } = setup();
    let outcome = get_as(&mut plugin, &client);
    assert_forbidden(&plugin, &outcome, "deny_list_missing");
    deliver(&mut plugin, &signer.sign(&ListSpec::sequence(1)));
    let outcome = get_as(&mut plugin, &client);
    assert_allowed(&plugin, &outcome, "no_policy");
}

#[test]
fn can_be_told_to_allow_without_a_list() {
    let Setup {
        authority,
        signer,
        client,
        world,
        ..
    } = setup();
    let mut config = ConfigSpec::inbound(&authority).deny_list(&signer);
    config.0["denyList"]["stale"] = json!("allow");
    let mut plugin = configured_in(&world, &config);
    let outcome = get_as(&mut plugin, &client);
    assert_allowed(&plugin, &outcome, "no_policy");
}

#[test]
fn denies_revoked_and_suspended_certificates_and_only_them() {
    let Setup {
        authority,
        signer,
        client,
        mut plugin,
        ..
    } = setup();
    let (revoked, suspended) = (authority.svid(SLEEP), authority.svid(SLEEP));
    let list = ListSpec::sequence(1)
        .revoking(&revoked.sha256())
        .suspending(&suspended.sha256());
    deliver(&mut plugin, &signer.sign(&list));
    let outcome = get_as(&mut plugin, &client);
    assert_allowed(&plugin, &outcome, "no_policy");
    let outcome = get_as(&mut plugin, &revoked);
    assert_forbidden(&plugin, &outcome, "revoked");
    let outcome = get_as(&mut plugin, &suspended);
    assert_forbidden(&plugin, &outcome, "suspended");

    deliver(
        &mut plugin,
        &signer.sign(&ListSpec::sequence(2).revoking(&revoked.sha256())),
    );
    let outcome = get_as(&mut plugin, &suspended);
    assert_allowed(&plugin, &outcome, "no_policy");
    let outcome = get_as(&mut plugin, &revoked);
    assert_forbidden(&plugin, &outcome, "revoked");
}

#[test]
fn denies_once_the_list_has_expired_and_recovers_with_a_fresh_one() {
    let Setup {
        signer,
        client,
        world,
        mut plugin,
        ..
    } = setup();
    deliver(&mut plugin, &signer.sign(&ListSpec::sequence(1)));
    world.clock.set(NOW + 59);
    let outcome = get_as(&mut plugin, &client);
    assert_allowed(&plugin, &outcome, "no_policy");
    world.clock.set(NOW + 61);
    let outcome = get_as(&mut plugin, &client);
    assert_forbidden(&plugin, &outcome, "deny_list_stale");
    deliver(&mut plugin, &signer.sign(&ListSpec::at(NOW + 60, 2)));
    let outcome = get_as(&mut plugin, &client);
    assert_allowed(&plugin, &outcome, "no_policy");
}

#[test]
fn refuses_lists_that_are_not_the_next_good_one() {
    let Setup {
        signer,
        client,
        world,
        mut plugin,
        ..
    } = setup();
    let revoked = client.sha256();
    deliver(
        &mut plugin,
        &signer.sign(&ListSpec::sequence(5).revoking(&revoked)),
    );
    let empty = ListSpec::sequence(6);
    let good = signer.sign(&empty);
    let altered = |edit: &dyn Fn(&mut ListSpec)| {
        let mut list = empty.clone();
        edit(&mut list);
        signer.sign(&list)
    };
    let mut unknown_field = empty.payload();
    unknown_field["more"] = json!(1);
    let mut other_version = empty.payload();
    other_version["schemaVersion"] = json!(2);
    let (parts, kid) = (good.split('.').collect::<Vec<_>>(), signer.kid());
    let header = |alg: &str, typ: &str| {
        signer.sign_parts(
            &json!({"alg": alg, "kid": kid, "typ": typ}),
            &empty.payload(),
        )
    };
    let bad = [
        ("a lower sequence", altered(&|list| list.sequence = 4)),
        (
            "a lower epoch",
            altered(&|list| {
                list.epoch = 0;
                list.sequence = 9
            }),
        ),
        (
            "an expired list",
            altered(&|list| {
                list.issued -= 120;
                list.expires -= 120
            }),
        ),
        ("a life above a minute", altered(&|list| list.expires += 1)),
        ("another key", ListSigner::new().sign(&empty)),
        (
            "another payload",
            format!(
                "{}.{}.{}",
                parts[0],
                &signer
                    .sign(&ListSpec::sequence(7))
                    .split('.')
                    .nth(1)
                    .unwrap(),
                parts[2]
            ),
        ),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("two parts", format!("{}.{}", parts[0], parts[1])),
        ("four parts", format!("{good}.AAAA")),
        ("cut short", good.chars().take(good.len() - 3).collect()),
        ("nothing", String::new()),
        ("garbage", "\u{0}\u{1}\u{2}".to_owned()),
        ("no algorithm", header("none", "countersign-deny-list+jws")),
        ("another type", header("ES256", "JWT")),
        ("an unknown field", signer.sign_payload(&unknown_field)),
        ("another version", signer.sign_payload(&other_version)),
    ];
    for (what, jws) in bad {
        deliver(&mut plugin, &jws);
        let outcome = get_as(&mut plugin, &client);
        assert_forbidden(&plugin, &outcome, "revoked");
        let gauge = plugin
            .world()
            .metrics()
            .value("countersign_deny_list_sequence");
        assert_eq!(gauge, Some(5), "{what} was taken");
    }
    world.clock.advance(Duration::from_millis(1));
    deliver(&mut plugin, &good);
    let outcome = get_as(&mut plugin, &client);
    assert_allowed(&plugin, &outcome, "no_policy");
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
    use wasm_tests::host::{Fault, Status};
    let Setup {
        signer,
        client,
        mut plugin,
        ..
    } = setup();
    while let Some(call) = plugin.pending_calls().first().cloned() {
        plugin.fail_call(&call).expect("no trap");
    }
    for status in Status::FAILURES {
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
fn another_worker_takes_no_list_below_what_the_first_has_seen() {
    let Setup {
        authority,
        signer,
        client,
        world,
        mut plugin,
    } = setup();
    let list = signer.sign(&ListSpec::sequence(9).revoking(&client.sha256()));
    deliver(&mut plugin, &list);
    let config = ConfigSpec::inbound(&authority).deny_list(&signer);
    let mut second = configured_in(&world, &config);
    deliver(&mut second, &signer.sign(&ListSpec::sequence(8)));
    let outcome = get_as(&mut second, &client);
    assert_forbidden(&second, &outcome, "deny_list_missing");
    deliver(&mut second, &list);
    let outcome = get_as(&mut second, &client);
    assert_forbidden(&second, &outcome, "revoked");
}

#[test]
fn a_restarted_vm_does_not_take_a_list_below_the_shared_floor() {
    let Setup {
        authority,
        signer,
        client,
        world,
        mut plugin,
    } = setup();
    deliver(
        &mut plugin,
        &signer.sign(&ListSpec::sequence(9).revoking(&client.sha256())),
    );
    drop(plugin);
    let config = ConfigSpec::inbound(&authority).deny_list(&signer);
    let mut restarted = configured_in(&world, &config);
    deliver(&mut restarted, &signer.sign(&ListSpec::sequence(8)));
    let outcome = get_as(&mut restarted, &client);
    assert_eq!(outcome.status(), Some(403), "{outcome:?}");
}

#[test]
fn nothing_in_shared_data_makes_it_trust_more() {
    let Setup {
        authority,
        signer,
        client,
        world,
        mut plugin,
    } = setup();
    deliver(&mut plugin, &signer.sign(&ListSpec::sequence(3)));
    let forged = ListSigner::new().sign(&ListSpec::sequence(1000));
    let keys = world.shared().keys();
    assert!(
        !keys.is_empty(),
        "what was seen is shared between the workers"
    );
    for key in &keys {
        for value in [
            forged.as_bytes(),
            b"",
            b"garbage",
            b"0:0",
            b"-1:+1",
            &[0xff; 40],
        ] {
            world
                .shared()
                .set(key.as_bytes(), value, 0)
                .expect("no other writer");
            let config = ConfigSpec::inbound(&authority).deny_list(&signer);
            let mut other = configured_in(&world, &config);
            let outcome = get_as(&mut other, &client);
            assert_forbidden(&other, &outcome, "deny_list_missing");
            deliver(&mut other, &ListSigner::new().sign(&ListSpec::sequence(4)));
            let outcome = get_as(&mut other, &client);
            assert_forbidden(&other, &outcome, "deny_list_missing");
            deliver(&mut other, &signer.sign(&ListSpec::sequence(4)));
            let outcome = get_as(&mut other, &client);
            assert_allowed(&other, &outcome, "no_policy");
        }
    }
}

#[test]
fn the_floor_of_the_configuration_holds_from_the_first_list_on() {
    let Setup {
        authority,
        signer,
        client,
        ..
    } = setup();
    let mut config = ConfigSpec::inbound(&authority).deny_list(&signer);
    config.0["denyList"]["floor"] = json!({"epoch": 1, "sequence": 50});
    let mut plugin = configured_in(&World::at(NOW), &config);
    deliver(&mut plugin, &signer.sign(&ListSpec::sequence(49)));
    let outcome = get_as(&mut plugin, &client);
    assert_forbidden(&plugin, &outcome, "deny_list_missing");
    deliver(&mut plugin, &signer.sign(&ListSpec::sequence(50)));
    let outcome = get_as(&mut plugin, &client);
    assert_allowed(&plugin, &outcome, "no_policy");
}

#[test]
fn a_reconfiguration_keeps_the_list() {
    let Setup {
        authority,
        signer,
        client,
        mut plugin,
        ..
    } = setup();
    deliver(&mut plugin, &signer.sign(&ListSpec::sequence(4)));
    let config = ConfigSpec::inbound(&authority).deny_list(&signer).with(
        "decisionLog",
        json!({"allowed": "all", "responseHeader": true}),
    );
    assert!(plugin.replace_root(config.json()).expect("no trap"));
    let outcome = get_as(&mut plugin, &client);
    assert_allowed(&plugin, &outcome, "no_policy");
}
