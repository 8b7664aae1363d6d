//! What several of these tests do.

use serde_json::Value;
use wasm_tests::fixtures::NOW;
use wasm_tests::fixtures::ca::Leaf;
use wasm_tests::fixtures::config::ConfigSpec;
use wasm_tests::fixtures::traffic::{mutual_tls, request};
use wasm_tests::host::{Outcome, Plugin, Properties, World};

/// A plug-in in a world of its own, with a configuration it accepts.
pub(crate) fn configured(config: &ConfigSpec) -> Plugin {
    configured_in(&World::at(NOW), config)
}

/// A plug-in in this world, with a configuration it accepts.
pub(crate) fn configured_in(world: &World, config: &ConfigSpec) -> Plugin {
    let mut plugin = Plugin::start(world).expect("the filter starts");
    let accepted = plugin.configure(config.json()).expect("no trap");
    assert!(
        accepted,
        "{} refused; log: {:?}",
        config.json(),
        plugin.log()
    );
    plugin
}

/// One `GET path` over a connection with these attributes, to its end.
pub(crate) fn get(plugin: &mut Plugin, properties: Properties, path: &str) -> Outcome {
    let stream = plugin.open(properties).expect("no trap");
    let outcome = plugin
        .request_headers(stream, &request("GET", path), true)
        .expect("no trap");
    plugin.close(stream).expect("no trap");
    outcome
}

/// One `GET /` by this client.
pub(crate) fn get_as(plugin: &mut Plugin, client: &Leaf) -> Outcome {
    get(plugin, mutual_tls(client), "/")
}

/// The last decision that was logged.
pub(crate) fn last_decision(plugin: &Plugin) -> Value {
    plugin.decisions().next().expect("a decision was logged")
}

/// The last decision's reason.
pub(crate) fn last_reason(plugin: &Plugin) -> String {
    last_decision(plugin)["reason"]
        .as_str()
        .expect("a reason")
        .to_owned()
}

/// Asserts a 403 for this reason, and that the log says the same.
#[track_caller]
pub(crate) fn assert_forbidden(plugin: &Plugin, outcome: &Outcome, reason: &str) {
    let Outcome::Replied(reply) = outcome else {
        panic!(
            "expected 403 {reason}, got {outcome:?}; log: {:?}",
            plugin.log()
        );
    };
    assert_eq!(
        (reply.status, last_reason(plugin).as_str()),
        (403, reason),
        "{reply:?}"
    );
    assert_eq!(
        reply.body, b"RBAC: access denied",
        "callers learn the class only"
    );
    assert_eq!(reply.details, format!("countersign_denied_{reason}"));
    assert_eq!(last_decision(plugin)["verdict"], "deny");
}

/// Asserts that the request went on, and that the log says why.
#[track_caller]
pub(crate) fn assert_allowed(plugin: &Plugin, outcome: &Outcome, reason: &str) {
    let log = plugin.log().last();
    assert_eq!(outcome, &Outcome::Continued, "last log line: {log:?}");
    let decision = last_decision(plugin);
    assert_eq!(
        (&decision["verdict"], &decision["reason"]),
        (&"allow".into(), &reason.into())
    );
}
