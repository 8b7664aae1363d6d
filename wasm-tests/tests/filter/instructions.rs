//! What a request costs in WebAssembly instructions: a number that no other load on the machine changes.

use std::sync::LazyLock;

use serde_json::{Value, json};
use wasm_tests::artefact::Artefact;
use wasm_tests::fixtures::ca::{Authority, Leaf};
use wasm_tests::fixtures::config::{ConfigSpec, authorization_policy};
use wasm_tests::fixtures::deny_list::{ListSigner, ListSpec};
use wasm_tests::fixtures::traffic::mutual_tls;
use wasm_tests::fixtures::{NOW, SLEEP};
use wasm_tests::host::{Outcome, Plugin, World};

use crate::deny_list::deliver;
use crate::support::get;

/// Requests before the counted ones: the first ones read the certificate, and tables grow.
const WARM_UP: u64 = 200;
/// Requests that are counted.
const COUNTED: u64 = 640;

/// Compiled once for all tests here.
static COUNTING: LazyLock<Artefact> =
    LazyLock::new(|| Artefact::read_counting().expect("the built filter"));

fn start(policies: u32) -> (Plugin, Leaf) {
    let (authority, signer) = (Authority::new(NOW), ListSigner::new());
    // Allowed requests are not logged.
    let base = ConfigSpec::inbound(&authority).with("decisionLog", json!({}));
    let mut config = base.deny_list(&signer);
    let all: Vec<Value> = (1..=policies)
        .map(|number| {
            let caller = if number == policies {
                "sleep".to_owned()
            } else {
                format!("caller-{number}")
            };
            let caller = format!("cluster.local/ns/default/sa/{caller}");
            let rule = json!({
                "from": [{"source": {"principals": [caller]}}],
                "to": [{"operation": {"methods": ["GET"], "paths": ["/get"]}}],
            });
            authorization_policy(&format!("allow-{number:05}"), "ALLOW", json!([rule]))
        })
        .collect();
    config.0["policies"] = Value::Array(all);
    let module = &COUNTING.module;
    let mut plugin = Plugin::start_module(&World::at(NOW), module).expect("the filter starts");
    let accepted = plugin.configure(config.json()).expect("no trap");
    assert!(accepted, "{:?}", plugin.log());
    deliver(&mut plugin, &signer.sign(&ListSpec::sequence(1)));
    (plugin, authority.svid(SLEEP))
}

/// Instructions of one allowed request, from its context's making to its end.
fn of_a_request(policies: u32) -> u64 {
    let (mut plugin, client) = start(policies);
    let connection = mutual_tls(&client);
    let mut ask = |times: u64| {
        for _ in 0..times {
            let outcome = get(&mut plugin, connection.clone(), "/get");
            assert_eq!(outcome, Outcome::Continued);
        }
        plugin.instructions().expect("counted")
    };
    let before = ask(WARM_UP);
    (ask(COUNTED) - before) / COUNTED
}

/// The limit for the time a decision takes, from 1 policy to 10,000, is a factor of 1.5; so it is for instructions.
#[test]
fn an_allowed_request_takes_few_instructions_and_hardly_more_with_many_policies() {
    let (one, many) = (of_a_request(1), of_a_request(10_000));
    println!("{one} instructions with one policy, {many} with 10,000");
    // About 10,000. Twice as many would be something that is done again for every request.
    assert!((1_000..20_000).contains(&one), "{one}");
    assert!(many * 2 <= one * 3, "{many}, with one policy {one}");
}
