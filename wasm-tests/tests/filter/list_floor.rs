//! A deny list never goes back: not in another worker, a new VM, or a new configuration.

use serde_json::json;
use wasm_tests::fixtures::NOW;
use wasm_tests::fixtures::config::ConfigSpec;
use wasm_tests::fixtures::deny_list::{ListSigner, ListSpec};
use wasm_tests::host::World;

use crate::deny_list::{Setup, deliver, setup};
use crate::support::{assert_allowed, assert_forbidden, configured_in, get_as};

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
    let keys = world.shared().keys();
    for key in keys {
        if !key.contains(".floor/") {
            world.shared().set(key.as_bytes(), b"", 0).expect("written");
        }
    }
    let mut second = configured_in(&world, &config);
    drop(plugin);
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
    // It has the list at once from what is shared.
    let outcome = get_as(&mut restarted, &client);
    assert_forbidden(&restarted, &outcome, "revoked");
    deliver(&mut restarted, &signer.sign(&ListSpec::sequence(8)));
    let outcome = get_as(&mut restarted, &client);
    assert_forbidden(&restarted, &outcome, "revoked");
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
    let revoking = ListSpec::sequence(3).revoking(&client.sha256());
    deliver(&mut plugin, &signer.sign(&revoking));
    drop(plugin);
    let stranger = ListSigner::new();
    let forged = stranger.head(&ListSpec::sequence(1000));
    let replayed = signer.head(&ListSpec::sequence(2));
    let good: Vec<_> = {
        let shared = world.shared();
        let keys = shared.keys();
        let value = |key: &String| shared.get(key.as_bytes()).expect("is there").0.to_vec();
        keys.iter().map(|key| (key.clone(), value(key))).collect()
    };
    let whats = ["floor", "lease", "head", "entries", "update"];
    assert_eq!(good.len(), whats.len(), "{good:?}");
    for (key, _) in &good {
        for value in [
            forged.as_bytes(),
            replayed.as_bytes(),
            b"",
            b"garbage",
            b"0:0",
            b"-1:+1",
            &[0xff; 40],
            &stranger.sign(&ListSpec::sequence(1000)),
        ] {
            for (key, value) in &good {
                world
                    .shared()
                    .set(key.as_bytes(), value, 0)
                    .expect("written");
            }
            world
                .shared()
                .set(key.as_bytes(), value, 0)
                .expect("written");
            let config = ConfigSpec::inbound(&authority).deny_list(&signer);
            let mut other = configured_in(&world, &config);
            let outcome = get_as(&mut other, &client);
            assert_eq!(outcome.status(), Some(403), "{key}: {value:x?}");
            // Whatever it is, it fetches by itself soon, and takes its own signer's only.
            deliver(&mut other, &stranger.sign(&ListSpec::sequence(4)));
            let outcome = get_as(&mut other, &client);
            assert_eq!(outcome.status(), Some(403), "{key}: {value:x?}");
            let next = ListSpec::at(world.clock.seconds(), 4);
            deliver(&mut other, &signer.sign(&next));
            let outcome = get_as(&mut other, &client);
            assert_allowed(&other, &outcome, "no_policy");
            world.clock.set(NOW);
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
