//! Policies that come in a signed bundle: verified, compiled, shared, and never too large for a VM.

use std::time::Duration;

use serde_json::{Value, json};
use wasm_tests::fixtures::ca::{Authority, Leaf};
use wasm_tests::fixtures::config::{ConfigSpec, authorization_policy};
use wasm_tests::fixtures::deny_list::{ListSigner, ListSpec};
use wasm_tests::fixtures::policy_bundle::{bundle, framed};
use wasm_tests::fixtures::traffic::{mutual_tls, request};
use wasm_tests::fixtures::{NOW, SLEEP};
use wasm_tests::host::{Outcome, Plugin, World};

use crate::support::{assert_allowed, assert_forbidden, configured_in, get};

const MEGABYTE: usize = 1 << 20;

struct Process {
    signer: ListSigner,
    client: Leaf,
    world: World,
    vms: Vec<Plugin>,
    list: ListSpec,
    /// What the agent has.
    bundle: Vec<u8>,
    position: (u64, u64),
    /// How many bundles each VM was sent.
    sent: Vec<usize>,
}

fn config(authority: &Authority, signer: &ListSigner) -> ConfigSpec {
    ConfigSpec::inbound(authority)
        .deny_list(signer)
        .with("policyBundle", json!({"name": "shop"}))
}

/// One ALLOW policy: the client may have this path.
fn allow(name: &str, path: &str) -> Value {
    let rule = json!({
        "from": [{"source": {"principals": ["cluster.local/ns/default/sa/sleep"]}}],
        "to": [{"operation": {"methods": ["GET"], "paths": [path]}}],
    });
    authorization_policy(name, "ALLOW", json!([rule]))
}

impl Process {
    fn with(vms: usize) -> Self {
        let authority = Authority::new(NOW);
        let signer = ListSigner::new();
        let world = World::at(NOW);
        let config = config(&authority, &signer);
        Self {
            client: authority.svid(SLEEP),
            vms: (0..vms).map(|_| configured_in(&world, &config)).collect(),
            list: ListSpec::sequence(1),
            bundle: Vec::new(),
            position: (0, 0),
            sent: vec![0; vms],
            signer,
            world,
        }
    }

    fn publish(&mut self, position: (u64, u64), policies: &[Value]) {
        self.bundle = bundle(&self.signer, "shop", position, policies);
        self.position = position;
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
            self.list = ListSpec::at(self.world.clock.seconds(), self.list.sequence + 1);
        }
        let (epoch, sequence) = self.position;
        let held = format!("?epoch={epoch}&since={sequence}");
        for (vm, sent) in self.vms.iter_mut().zip(&mut self.sent) {
            for call in vm.pending_calls().to_vec() {
                let path = call.headers.text(":path").expect("a path");
                let (status, body) = if path.starts_with("/v1/denylist") {
                    (200, self.signer.sign(&self.list))
                } else if path.ends_with(&held) {
                    (if self.bundle.is_empty() { 404 } else { 204 }, Vec::new())
                } else {
                    *sent += 1;
                    (200, self.bundle.clone())
                };
                vm.answer_call(&call, status, &body).expect("no trap");
            }
        }
    }

    fn ask(&mut self, vm: usize, path: &str) -> Outcome {
        get(&mut self.vms[vm], mutual_tls(&self.client), path)
    }
}

#[test]
fn one_vm_fetches_and_all_decide_by_what_they_verified() {
    let mut process = Process::with(3);
    process.run(Duration::from_millis(500));
    for vm in 0..3 {
        let outcome = process.ask(vm, "/one");
        assert_forbidden(&process.vms[vm], &outcome, "policy_bundle_missing");
    }
    process.publish((1, 1), &[allow("one", "/one")]);
    process.run(Duration::from_secs(2));
    for vm in 0..3 {
        let outcome = process.ask(vm, "/one");
        assert_allowed(&process.vms[vm], &outcome, "matched_allow");
    }
    assert_eq!(process.sent.iter().sum::<usize>(), 1, "{:?}", process.sent);
    // What is open is decided on anew in each.
    let open: Vec<_> = process
        .vms
        .iter_mut()
        .map(|vm| {
            let stream = vm.open(mutual_tls(&process.client)).expect("no trap");
            let outcome = vm.request_headers(stream, &request("GET", "/one"), false);
            assert_eq!(outcome.expect("no trap"), Outcome::Continued);
            stream
        })
        .collect();
    process.publish((1, 2), &[allow("one", "/two")]);
    process.run(Duration::from_secs(2));
    for (vm, stream) in process.vms.iter_mut().zip(open) {
        let outcome = vm.request_body(stream, b"more", false).expect("no trap");
        assert_ne!(outcome, Outcome::Continued);
        vm.close(stream).expect("no trap");
    }
    assert_eq!(process.sent.iter().sum::<usize>(), 2, "{:?}", process.sent);
}

#[test]
fn hostile_bundles_leave_the_last_good_one_and_trap_nothing() {
    let mut process = Process::with(1);
    process.publish((1, 1), &[allow("one", "/one")]);
    process.run(Duration::from_secs(1));
    let other = ListSigner::new();
    let good = bundle(&process.signer, "shop", (1, 2), &[allow("one", "/two")]);
    let list = process.signer.head(&process.list);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let mut header = process.signer.header();
    header["typ"] = json!(wasm_tests::fixtures::policy_bundle::TYP);
    let signed = |body: &[u8]| {
        let head = wasm_tests::fixtures::policy_bundle::head("shop", (1, 2), body);
        framed(process.signer.sign_parts(&header, &head).as_bytes(), body)
    };
    let hostile: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"CSB1".to_vec(),
        b"CSB1\xff\xff\xff\xff".to_vec(),
        good[..good.len() / 2].to_vec(),
        good[..20].to_vec(),
        [&good[..], b"]"].concat(),
        framed(list.as_bytes(), b"[]"),
        process.signer.sign(&process.list),
        bundle(&other, "shop", (1, 2), &[allow("one", "/two")]),
        bundle(&process.signer, "shop", (0, 2), &[allow("one", "/two")]),
        bundle(&process.signer, "else", (1, 2), &[allow("one", "/two")]),
        vec![b'['; 5 * MEGABYTE],
        signed(b"\xff\xfe"),
        signed(b"{}"),
        signed(b"[1,2"),
        signed(b"[]"),
        signed(b"[null]"),
        signed(deep.as_bytes()),
        signed(br#"[{"kind":"AuthorizationPolicy","kind":"AuthorizationPolicy"}]"#),
    ];
    // Each one newer than the one before, where it says where it is.
    process.position = (9, 9);
    for bytes in hostile {
        process.bundle = bytes;
        process.run(Duration::from_secs(6));
        let outcome = process.ask(0, "/one");
        assert_allowed(&process.vms[0], &outcome, "matched_allow");
    }
    process.publish((1, 3), &[allow("one", "/two")]);
    process.run(Duration::from_secs(6));
    let outcome = process.ask(0, "/two");
    assert_allowed(&process.vms[0], &outcome, "matched_allow");
}

/// So many policies, no name or value of which another generation has but for the last one.
fn many(generation: u64) -> Vec<Value> {
    const POLICIES: u32 = 10_000;
    let policy = |number: u32| {
        let path = if number + 1 == POLICIES {
            format!("/last-{generation}")
        } else {
            format!("/v{generation}/path-{number}")
        };
        allow(&format!("allow-{generation}-{number:05}"), &path)
    };
    (0..POLICIES).map(policy).collect()
}

#[test]
fn ten_thousand_policies_fit_a_bundle_and_a_vm_through_two_generations() {
    let mut process = Process::with(1);
    let mut sizes = Vec::new();
    for generation in 1..=8 {
        process.publish((1, generation), &many(generation));
        process.run(Duration::from_secs(1));
        let outcome = process.ask(0, &format!("/last-{generation}"));
        assert_allowed(&process.vms[0], &outcome, "matched_allow");
        let outcome = process.ask(0, "/last-0");
        assert_forbidden(&process.vms[0], &outcome, "no_allow_matched");
        sizes.push(process.vms[0].memory_bytes());
    }
    println!(
        "{} bytes of bundle; linear memory by generation: {sizes:?}",
        process.bundle.len()
    );
    assert!(sizes[0] <= 16 * MEGABYTE, "{sizes:?}");
    assert!(sizes.iter().all(|size| *size <= 40 * MEGABYTE), "{sizes:?}");
}
