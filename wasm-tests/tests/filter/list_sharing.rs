//! One VM fetches the deny list for all of its process; each verifies what it takes.

use std::time::Duration;

use serde_json::json;
use wasm_tests::fixtures::ca::{Authority, Leaf, LeafSpec};
use wasm_tests::fixtures::config::ConfigSpec;
use wasm_tests::fixtures::deny_list::{LIST_SIGNER, ListSigner, ListSpec};
use wasm_tests::fixtures::{NOW, SLEEP};
use wasm_tests::host::{Plugin, World};

use crate::deny_list::deliver;
use crate::support::{assert_allowed, assert_forbidden, configured_in, get_as};

/// From the agent's answer to the effect in every VM.
const BOUND: Duration = Duration::from_secs(2);

struct Process {
    authority: Authority,
    signer: ListSigner,
    client: Leaf,
    world: World,
    vms: Vec<Plugin>,
    /// What the agent answers: all of it, to whoever does not have it.
    list: ListSpec,
    polls: Vec<usize>,
}

impl Process {
    fn with(vms: usize) -> Self {
        let authority = Authority::new(NOW);
        let signer = ListSigner::new();
        let world = World::at(NOW);
        let config = ConfigSpec::inbound(&authority).deny_list(&signer);
        Self {
            client: authority.svid(SLEEP),
            vms: (0..vms).map(|_| configured_in(&world, &config)).collect(),
            polls: vec![0; vms],
            list: ListSpec::sequence(1),
            authority,
            signer,
            world,
        }
    }

    /// Lets time pass in all VMs; the agent answers at once.
    fn run(&mut self, time: Duration) {
        for _ in 0..time.as_millis() / 10 {
            self.world.clock.advance(Duration::from_millis(10));
            for vm in &mut self.vms {
                vm.run_for(Duration::ZERO).expect("no trap");
            }
            self.answer();
        }
    }

    fn answer(&mut self) {
        if self.world.clock.seconds() >= self.list.issued + 10 {
            self.list.sequence += 1;
            self.list.issued = self.world.clock.seconds();
            self.list.expires = self.list.issued + 60;
        }
        let held = format!("epoch={}&since={}", self.list.epoch, self.list.sequence);
        for (vm, polls) in self.vms.iter_mut().zip(&mut self.polls) {
            for call in vm.pending_calls().to_vec() {
                *polls += 1;
                let path = call.headers.text(":path").expect("a path");
                if path.ends_with(&held) {
                    vm.answer_call(&call, 204, b"").expect("no trap");
                } else {
                    let update = self.signer.sign(&self.list);
                    vm.answer_call(&call, 200, &update).expect("no trap");
                }
            }
        }
    }

    fn publish(&mut self, change: impl FnOnce(ListSpec) -> ListSpec) {
        let sequence = self.list.sequence + 1;
        self.list = change(ListSpec::at(self.world.clock.seconds(), sequence));
    }

    /// The polls of all VMs since this was asked last.
    fn take_polls(&mut self) -> Vec<usize> {
        let none = vec![0; self.vms.len()];
        std::mem::replace(&mut self.polls, none)
    }
}

#[test]
fn one_vm_fetches_and_all_know() {
    let mut process = Process::with(4);
    process.run(Duration::from_secs(1));
    for vm in &mut process.vms {
        let outcome = get_as(vm, &process.client);
        assert_allowed(vm, &outcome, "no_policy");
    }
    process.take_polls();
    process.run(Duration::from_secs(30));
    let mut polls = process.take_polls();
    polls.sort_unstable();
    assert!(polls[3] >= 50, "twice a second: {polls:?}");
    assert_eq!(polls[..3], [0, 0, 0], "by one of them");
    let revoked = process.client.sha256();
    process.publish(|list| list.revoking(&revoked));
    process.run(BOUND);
    for vm in &mut process.vms {
        let outcome = get_as(vm, &process.client);
        assert_forbidden(vm, &outcome, "revoked");
    }
    process.publish(|list| list);
    process.run(BOUND);
    for vm in &mut process.vms {
        let outcome = get_as(vm, &process.client);
        assert_allowed(vm, &outcome, "no_policy");
    }
}

#[test]
fn another_takes_over_when_the_one_that_fetches_is_gone_or_hangs() {
    let mut process = Process::with(3);
    process.run(Duration::from_secs(5));
    let polls = process.take_polls();
    let fetcher = (0..3).max_by_key(|at| polls[*at]).expect("three");
    // It is gone without a word.
    drop(process.vms.remove(fetcher));
    process.polls.truncate(2);
    let revoked = process.client.sha256();
    process.publish(|list| list.revoking(&revoked));
    process.run(BOUND);
    for vm in &mut process.vms {
        let outcome = get_as(vm, &process.client);
        assert_forbidden(vm, &outcome, "revoked");
    }
    let polls = process.take_polls();
    assert_eq!(
        polls.iter().filter(|polls| **polls > 0).count(),
        1,
        "{polls:?}"
    );
    // The next one hangs: its timer stands still.
    let fetcher = (0..2).max_by_key(|at| polls[*at]).expect("two");
    let hung = process.vms.remove(fetcher);
    process.polls.truncate(1);
    process.publish(|list| list);
    process.run(BOUND);
    let outcome = get_as(&mut process.vms[0], &process.client);
    assert_allowed(&process.vms[0], &outcome, "no_policy");
    drop(hung);
}

#[test]
fn a_new_vm_and_a_new_configuration_have_the_list_at_once() {
    let mut process = Process::with(1);
    process.run(Duration::from_secs(1));
    let config = ConfigSpec::inbound(&process.authority).deny_list(&process.signer);
    let mut second = configured_in(&process.world, &config);
    let outcome = get_as(&mut second, &process.client);
    assert_allowed(&second, &outcome, "no_policy");
    assert!(second.pending_calls().is_empty());
    assert!(second.replace_root(config.json()).expect("no trap"));
    let outcome = get_as(&mut second, &process.client);
    assert_allowed(&second, &outcome, "no_policy");
}

#[test]
fn a_poisoned_value_costs_a_fetch_and_is_healed_by_it() {
    let mut process = Process::with(2);
    process.run(Duration::from_secs(5));
    let polls = process.take_polls();
    let watcher = (0..2).min_by_key(|at| polls[*at]).expect("two");
    assert_eq!(polls[watcher], 0);
    let head_key = process
        .world
        .shared()
        .keys()
        .into_iter()
        .find(|key| key.contains(".head/"))
        .expect("a head is shared");
    let forged = ListSigner::new().head(&ListSpec::at(process.world.clock.seconds(), 1_000));
    process
        .world
        .shared()
        .set(head_key.as_bytes(), forged.as_bytes(), 0)
        .expect("written");
    process.run(Duration::from_secs(1));
    assert!(
        process.take_polls()[watcher] > 0,
        "it asked the agent itself"
    );
    let refused = process
        .world
        .metrics()
        .value("countersign_deny_list_shared_refused");
    assert!(refused > Some(0), "{refused:?}");
    // The next signing puts a good one in its place.
    process.run(Duration::from_secs(12));
    process.take_polls();
    process.run(Duration::from_secs(5));
    let polls = process.take_polls();
    assert_eq!(
        polls.iter().filter(|polls| **polls > 0).count(),
        1,
        "{polls:?}"
    );
    for vm in &mut process.vms {
        let outcome = get_as(vm, &process.client);
        assert_allowed(vm, &outcome, "no_policy");
    }
}

#[test]
fn a_lease_that_somebody_else_keeps_for_ever_does_not_starve_the_list() {
    let mut process = Process::with(1);
    process.run(Duration::from_secs(1));
    let key = |process: &Process| {
        let keys = process.world.shared().keys();
        keys.into_iter()
            .find(|key| key.contains(".lease/"))
            .expect("a lease")
    };
    let key = key(&process);
    for _ in 0..90 {
        for _ in 0..10 {
            let until = process.world.clock.nanoseconds() / 1_000_000 + 900;
            let lease = format!("bad:{until}");
            let mut shared = process.world.shared();
            shared
                .set(key.as_bytes(), lease.as_bytes(), 0)
                .expect("written");
            drop(shared);
            process.run(Duration::from_millis(100));
        }
        let outcome = get_as(&mut process.vms[0], &process.client);
        assert_allowed(&process.vms[0], &outcome, "no_policy");
    }
    // One of the far future counts for nothing.
    process.take_polls();
    process
        .world
        .shared()
        .set(key.as_bytes(), b"bad:18446744073709551615", 0)
        .expect("written");
    process.run(Duration::from_secs(2));
    assert!(process.take_polls()[0] > 1);
}

#[test]
fn a_restored_authority_opens_a_new_epoch_and_is_believed() {
    let mut process = Process::with(2);
    let revoked = process.client.sha256();
    process.publish(|list| list.revoking(&revoked));
    process.list.sequence = 500;
    process.run(Duration::from_secs(1));
    for vm in &mut process.vms {
        let outcome = get_as(vm, &process.client);
        assert_forbidden(vm, &outcome, "revoked");
    }
    // From a backup: the number is lower, the epoch is not.
    process.list = ListSpec::at(process.world.clock.seconds(), 3);
    process.run(BOUND);
    let outcome = get_as(&mut process.vms[0], &process.client);
    assert_forbidden(&process.vms[0], &outcome, "revoked");
    process.list.epoch = 2;
    process.run(BOUND);
    for vm in &mut process.vms {
        let outcome = get_as(vm, &process.client);
        assert_allowed(vm, &outcome, "no_policy");
    }
}

fn pinned(authority: &Authority) -> ConfigSpec {
    ConfigSpec::inbound(authority).with(
        "denyList",
        json!({"cluster": "agent", "authority": LIST_SIGNER}),
    )
}

#[test]
fn a_signer_that_is_pinned_by_identity_may_change_its_key() {
    let authority = Authority::new(NOW);
    let client = authority.svid(SLEEP);
    let world = World::at(NOW);
    let mut plugin = configured_in(&world, &pinned(&authority));
    let (old, new) = (
        ListSigner::certified(&authority),
        ListSigner::certified(&authority),
    );
    let first = ListSpec::sequence(1).revoking(&client.sha256());
    deliver(&mut plugin, &old.sign(&first));
    let outcome = get_as(&mut plugin, &client);
    assert_forbidden(&plugin, &outcome, "revoked");
    // In the middle of it: what the new key signs is taken as changes to what the old one signed,
    // and the old one is good for a while still.
    let second = ListSpec::sequence(2);
    deliver(&mut plugin, &new.sign_changes(&second, &first));
    let outcome = get_as(&mut plugin, &client);
    assert_allowed(&plugin, &outcome, "no_policy");
    let third = ListSpec::sequence(3).revoking(&client.sha256());
    deliver(&mut plugin, &old.sign_changes(&third, &second));
    let outcome = get_as(&mut plugin, &client);
    assert_forbidden(&plugin, &outcome, "revoked");
    // Once its certificate is revoked it signs no more.
    let sha256 = old.certificate_sha256().expect("it has one");
    let fourth = ListSpec::sequence(4)
        .revoking(&client.sha256())
        .revoking(&sha256);
    deliver(&mut plugin, &new.sign(&fourth));
    deliver(&mut plugin, &old.sign(&ListSpec::sequence(5)));
    let outcome = get_as(&mut plugin, &client);
    assert_forbidden(&plugin, &outcome, "revoked");
    deliver(&mut plugin, &new.sign(&ListSpec::sequence(5)));
    let outcome = get_as(&mut plugin, &client);
    assert_allowed(&plugin, &outcome, "no_policy");
    // Another VM verifies the same from what is shared.
    let mut second = configured_in(&world, &pinned(&authority));
    let outcome = get_as(&mut second, &client);
    assert_allowed(&second, &outcome, "no_policy");
}

#[test]
fn nobody_else_signs_for_a_pinned_identity() {
    let authority = Authority::new(NOW);
    let foreign = Authority::named(NOW, "somebody else");
    let client = authority.svid(SLEEP);
    let mut plugin = configured_in(&World::at(NOW), &pinned(&authority));
    let other = |spec: LeafSpec| ListSigner::certified_as(&authority, &spec);
    let signer = LeafSpec::of(LIST_SIGNER);
    for (what, bad) in [
        ("without a certificate", ListSigner::new()),
        ("another authority's", ListSigner::certified(&foreign)),
        ("for TLS", other(signer.clone())),
        (
            "expired",
            other(signer.clone().not_for_tls().valid(-120, -60)),
        ),
        (
            "of tomorrow",
            other(signer.clone().not_for_tls().valid(60, 120)),
        ),
        ("a CA", other(signer.not_for_tls().that_is_a_ca())),
        ("a workload", other(LeafSpec::of(SLEEP).not_for_tls())),
    ] {
        deliver(&mut plugin, &bad.sign(&ListSpec::sequence(1)));
        let outcome = get_as(&mut plugin, &client);
        let reason = "deny_list_missing";
        assert_eq!(crate::support::last_reason(&plugin), reason, "{what}");
        assert_forbidden(&plugin, &outcome, reason);
    }
    let good = ListSigner::certified(&authority);
    deliver(&mut plugin, &good.sign(&ListSpec::sequence(1)));
    let outcome = get_as(&mut plugin, &client);
    assert_allowed(&plugin, &outcome, "no_policy");
}
