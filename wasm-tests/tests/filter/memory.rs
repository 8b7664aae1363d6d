//! The linear memory of one VM with as many policies and as long a deny list as there may be.
//!
//! Linear memory never shrinks: what is read after a reload is the most that was ever needed, two generations alive,
//! and so it is what the VM keeps from then on. "Steady" is what a VM has that was never reloaded.

use std::sync::LazyLock;

use serde_json::{Value, json};
use wasm_tests::fixtures::ca::{Authority, Leaf};
use wasm_tests::fixtures::config::{ConfigSpec, authorization_policy};
use wasm_tests::fixtures::deny_list::{ListSigner, ListSpec};
use wasm_tests::fixtures::traffic::mutual_tls;
use wasm_tests::fixtures::{NOW, SLEEP};
use wasm_tests::host::{Plugin, World};

use crate::deny_list::deliver;
use crate::support::{assert_allowed, assert_forbidden, get};

const POLICIES: u32 = 10_000;
const ENTRIES: u32 = 100_000;
const MEGABYTE: usize = 1 << 20;
/// The most a VM may have with the policies, before its first reload.
const STEADY: usize = 16 * MEGABYTE;
/// The most a VM may ever have, the deny list in it and two generations of the policies.
const RELOADING: usize = 40 * MEGABYTE;
/// How often policies are replaced: the gaps between what is let go make memory grow a few times at first.
const RELOADS: usize = 20;
/// From this reload on it must not grow any more.
const SETTLED: usize = 12;
/// The caller that the requests come from, as policies write it.
const CALLER: &str = "cluster.local/ns/default/sa/sleep";

/// What policies differ in. Each is an ALLOW policy with one rule of one caller, one method and one path.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// Each is for another caller.
    Callers,
    /// All are for one caller, each for another path.
    Paths,
}

impl Shape {
    /// A configuration with [`POLICIES`] policies, no name or value of which another generation has, but for the
    /// policy that lets [`CALLER`] have `/last-{generation}`.
    fn config(self, base: &ConfigSpec, generation: usize) -> String {
        let mut config = base.clone();
        let policies: Vec<Value> = (0..POLICIES)
            .map(|number| {
                let last = number + 1 == POLICIES;
                let (caller, path) = match self {
                    _ if last => (CALLER.to_owned(), format!("/last-{generation}")),
                    Self::Callers => (
                        format!("cluster.local/ns/ns-{generation}/sa/caller-{number}"),
                        "/get".to_owned(),
                    ),
                    Self::Paths => (CALLER.to_owned(), format!("/v{generation}/path-{number}")),
                };
                let rule = json!({
                    "from": [{"source": {"principals": [caller]}}],
                    "to": [{"operation": {"methods": ["GET"], "paths": [path]}}],
                });
                let name = format!("allow-{generation}-{number:05}");
                authorization_policy(&name, "ALLOW", json!([rule]))
            })
            .collect();
        config.0["policies"] = Value::Array(policies);
        config.json()
    }
}

fn megabytes(bytes: usize) -> String {
    let tenths = bytes * 10 / MEGABYTE;
    format!("{}.{} MB", tenths / 10, tenths % 10)
}

/// What one shape takes at each stage, in bytes.
#[derive(Debug)]
struct Measured {
    /// All figures.
    said: String,
    shape: Shape,
    /// With the policies, before the list has come.
    steady: usize,
    /// After each reload.
    reloaded: Vec<usize>,
}

/// Measured once, and looked at by several tests.
static MEASURED: LazyLock<[Measured; 2]> =
    LazyLock::new(|| [measure(Shape::Callers), measure(Shape::Paths)]);

fn measure(shape: Shape) -> Measured {
    let (authority, signer) = (Authority::new(NOW), ListSigner::new());
    let client = authority.svid(SLEEP);
    let base = ConfigSpec::inbound(&authority).deny_list(&signer);
    let mut plugin = Plugin::start(&World::at(NOW)).expect("the filter starts");
    let empty = plugin.memory_bytes();
    let first = shape.config(&base, 0);
    assert!(
        plugin.configure(&first).expect("no trap"),
        "{:?}",
        plugin.log()
    );
    let steady = plugin.memory_bytes();
    let list = ListSpec::sequence(1).revoking_many(0, ENTRIES);
    deliver(&mut plugin, &signer.sign(&list));
    let listed = plugin.memory_bytes();
    ask(&mut plugin, &client, 0);
    let reload = |generation| {
        let config = shape.config(&base, generation);
        let accepted = plugin.replace_root(config).expect("no trap");
        assert!(accepted, "{:?}", plugin.log());
        ask(&mut plugin, &client, generation);
        plugin.memory_bytes()
    };
    let reloaded: Vec<usize> = (1..=RELOADS).map(reload).collect();
    let said = format!(
        "{shape:?}: {} of configuration; {} at the start, {} with {POLICIES} policies, {} with {ENTRIES} entries \
         besides, {} after a reload, {} after ten, {} after {RELOADS}",
        megabytes(first.len()),
        megabytes(empty),
        megabytes(steady),
        megabytes(listed),
        megabytes(reloaded[0]),
        megabytes(reloaded[9]),
        megabytes(reloaded[RELOADS - 1]),
    );
    Measured {
        said,
        shape,
        steady,
        reloaded,
    }
}

/// The policies of this generation are in force, and so is the list: what is measured works.
fn ask(plugin: &mut Plugin, client: &Leaf, generation: usize) {
    let path = format!("/last-{generation}");
    let outcome = get(plugin, mutual_tls(client), &path);
    assert_allowed(plugin, &outcome, "matched_allow");
    let outcome = get(plugin, mutual_tls(client), &format!("{path}x"));
    assert_forbidden(plugin, &outcome, "no_allow_matched");
}

/// Fails with every shape that takes more than `limit`.
#[track_caller]
fn assert_at_most(limit: usize, when: &str, bytes: impl Fn(&Measured) -> usize) {
    let missed = MEASURED.iter().filter(|measured| bytes(measured) > limit);
    let missed: Vec<String> = missed
        .map(|measured| format!("{:?}: {}", measured.shape, megabytes(bytes(measured))))
        .collect();
    assert!(
        missed.is_empty(),
        "{POLICIES} policies {when}, limit {}: {}",
        megabytes(limit),
        missed.join(", ")
    );
}

#[test]
fn ten_thousand_policies_fit_while_nothing_is_reloaded() {
    assert_at_most(STEADY, "before the first reload", |measured| {
        measured.steady
    });
}

#[test]
fn two_generations_and_the_longest_list_fit_however_often_policies_are_replaced() {
    let most = |measured: &Measured| measured.reloaded.iter().copied().max().expect("reloads");
    assert_at_most(RELOADING, "over all reloads", most);
}

#[test]
fn memory_settles_after_some_reloads() {
    for measured in &*MEASURED {
        println!("{}", measured.said);
    }
    for Measured {
        shape, reloaded, ..
    } in &*MEASURED
    {
        let (settled, last) = (reloaded[SETTLED - 1], reloaded[RELOADS - 1]);
        assert_eq!(settled, last, "{shape:?}: {reloaded:?}");
    }
}
