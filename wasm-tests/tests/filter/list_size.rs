//! The longest list there may be: memory, and what one change of it costs.

use std::time::{Duration, Instant};

use wasm_tests::fixtures::deny_list::ListSpec;

use crate::deny_list::{Setup, deliver, setup};
use crate::support::{assert_allowed, assert_forbidden, configured_in, get_as};
use wasm_tests::fixtures::config::ConfigSpec;

const MOST: u32 = 100_000;
const MEGABYTE: usize = 1 << 20;

#[test]
fn a_hundred_thousand_entries_fit_the_limits_of_memory() {
    let Setup {
        authority,
        signer,
        client,
        world,
        mut plugin,
    } = setup();
    let before = plugin.memory_bytes();
    let mut held = ListSpec::sequence(1).revoking_many(0, MOST);
    deliver(&mut plugin, &signer.sign(&held));
    let steady = plugin.memory_bytes();
    println!("{before} bytes without a list, {steady} with {MOST} entries");
    assert!(steady <= 16 * MEGABYTE, "{steady} bytes with a list");
    let outcome = get_as(&mut plugin, &client);
    assert_allowed(&plugin, &outcome, "no_policy");
    // Every kind of change, many times over.
    for sequence in 2..10_u32 {
        let mut next = ListSpec::sequence(u64::from(sequence));
        let update = if sequence % 4 == 0 {
            next = next.revoking_many(sequence, MOST);
            signer.sign(&next)
        } else {
            next = next
                .revoking(&client.sha256())
                .revoking_many(sequence, MOST - 1);
            signer.sign_changes(&next, &held)
        };
        deliver(&mut plugin, &update);
        let gauge = plugin
            .world()
            .metrics()
            .value("countersign_deny_list_sequence");
        assert_eq!(gauge, Some(u64::from(sequence)));
        held = next;
    }
    let outcome = get_as(&mut plugin, &client);
    assert_forbidden(&plugin, &outcome, "revoked");
    let most = plugin.memory_bytes();
    println!("{most} bytes after eight changes");
    assert!(most <= 40 * MEGABYTE, "{most} bytes with changes");
    // Another VM takes it from what is shared, and so does a new configuration.
    let config = ConfigSpec::inbound(&authority).deny_list(&signer);
    let mut second = configured_in(&world, &config);
    assert!(second.replace_root(config.json()).expect("no trap"));
    let outcome = get_as(&mut second, &client);
    assert_forbidden(&second, &outcome, "revoked");
    let shared = second.memory_bytes();
    println!("{shared} bytes in a VM that has it from another");
    assert!(shared <= 16 * MEGABYTE, "{shared} bytes");
}

#[test]
fn a_change_of_one_entry_does_not_cost_as_much_as_the_list() {
    let Setup {
        signer,
        client,
        mut plugin,
        ..
    } = setup();
    let first = ListSpec::sequence(1).revoking_many(0, MOST - 1);
    let whole = signer.sign(&first);
    let mut second = first.clone().revoking(&client.sha256());
    second.sequence = 2;
    let change = signer.sign_changes(&second, &first);
    let timed = |plugin: &mut _, update: &[u8]| {
        let begun = Instant::now();
        deliver(plugin, update);
        begun.elapsed()
    };
    let whole = timed(&mut plugin, &whole);
    let change = timed(&mut plugin, &change);
    println!("{whole:?} for the whole list, {change:?} for one entry");
    assert!(
        change < whole.max(Duration::from_millis(20)),
        "{change:?}, {whole:?}"
    );
    let outcome = get_as(&mut plugin, &client);
    assert_forbidden(&plugin, &outcome, "revoked");
}
