//! The deny list: fetched, verified, kept fresh, never turned back.

use std::time::Duration;

use serde_json::json;
use wasm_tests::fixtures::ca::{Authority, Leaf};
use wasm_tests::fixtures::config::ConfigSpec;
use wasm_tests::fixtures::deny_list::{ListSigner, ListSpec, full};
use wasm_tests::fixtures::{NOW, SLEEP};
use wasm_tests::host::{HttpCall, Plugin, World};

use crate::support::{assert_allowed, assert_forbidden, configured_in, get_as};

pub(crate) struct Setup {
    pub(crate) authority: Authority,
    pub(crate) signer: ListSigner,
    pub(crate) client: Leaf,
    pub(crate) world: World,
    pub(crate) plugin: Plugin,
}

pub(crate) fn setup() -> Setup {
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
pub(crate) fn next_poll(plugin: &mut Plugin) -> HttpCall {
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
pub(crate) fn deliver(plugin: &mut Plugin, update: &[u8]) {
    let call = next_poll(plugin);
    plugin.answer_call(&call, 200, update).expect("no trap");
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
    let head = |edit: &dyn Fn(&mut serde_json::Value)| {
        let mut head = empty.head();
        edit(&mut head);
        full(signer.sign_parts(&signer.header(), &head).as_bytes(), &[])
    };
    let jws = signer.head(&empty);
    let (parts, kid) = (jws.split('.').collect::<Vec<_>>(), signer.kid());
    let of = |jws: String| full(jws.as_bytes(), &[]);
    let header = |alg: &str, typ: &str| {
        let header = json!({"alg": alg, "kid": kid, "typ": typ});
        of(signer.sign_parts(&header, &empty.head()))
    };
    let more = ListSpec::sequence(6).revoking(&ListSigner::new().kid());
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
            "another head",
            of(format!(
                "{}.{}.{}",
                parts[0],
                signer
                    .head(&ListSpec::sequence(7))
                    .split('.')
                    .nth(1)
                    .unwrap(),
                parts[2]
            )),
        ),
        ("no signature", of(format!("{}.{}.", parts[0], parts[1]))),
        ("two parts", of(format!("{}.{}", parts[0], parts[1]))),
        ("four parts", of(format!("{jws}.AAAA"))),
        ("cut short", good[..good.len() - 3].to_vec()),
        ("a byte too many", [&good[..], &[0]].concat()),
        ("only the head", jws.clone().into_bytes()),
        ("nothing", Vec::new()),
        ("garbage", vec![0, 1, 2]),
        ("no algorithm", header("none", "countersign-deny-list+jws")),
        ("another type", header("ES256", "JWT")),
        ("an unknown field", head(&|head| head["more"] = json!(1))),
        (
            "another version",
            head(&|head| head["schemaVersion"] = json!(1)),
        ),
        ("more entries", full(jws.as_bytes(), &more.entries_bytes())),
        ("fewer entries", full(signer.head(&more).as_bytes(), &[])),
        (
            "changes of another list",
            signer.sign_changes(&empty, &ListSpec::sequence(4).revoking(&revoked)),
        ),
        (
            "changes that leave something out",
            signer.sign_changes(&empty, &ListSpec::sequence(5)),
        ),
    ];
    for (what, update) in bad {
        deliver(&mut plugin, &update);
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
fn takes_what_changed_since_the_list_it_has() {
    let Setup {
        authority,
        signer,
        client,
        mut plugin,
        ..
    } = setup();
    let other = authority.svid(SLEEP);
    let first = ListSpec::sequence(1)
        .revoking_many(0, 1_000)
        .revoking(&client.sha256());
    deliver(&mut plugin, &signer.sign(&first));
    let second = ListSpec::sequence(2)
        .revoking_many(0, 1_000)
        .suspending(&other.sha256());
    deliver(&mut plugin, &signer.sign_changes(&second, &first));
    let outcome = get_as(&mut plugin, &client);
    assert_allowed(&plugin, &outcome, "no_policy");
    let outcome = get_as(&mut plugin, &other);
    assert_forbidden(&plugin, &outcome, "suspended");
    // Signed anew, a list costs its head.
    let mut third = second.clone();
    third.sequence = 3;
    let update = signer.sign_changes(&third, &second);
    assert!(update.len() < 700, "{} bytes", update.len());
    deliver(&mut plugin, &update);
    let gauge = |name| plugin.world().metrics().value(name);
    assert_eq!(gauge("countersign_deny_list_sequence"), Some(3));
    assert_eq!(gauge("countersign_deny_list_entries"), Some(1_001));
}
