//! Configurations: good ones, bad ones, and bad ones after good ones.

use serde_json::{Value, json};
use wasm_tests::fixtures::ca::Authority;
use wasm_tests::fixtures::config::{ConfigSpec, allow_principal, authorization_policy};
use wasm_tests::fixtures::traffic::mutual_tls;
use wasm_tests::fixtures::{IMPOSTOR, NOW, SLEEP};
use wasm_tests::host::{Plugin, World};

use crate::support::{assert_allowed, assert_forbidden, configured, get, get_as};

const SLEEP_PRINCIPAL: &str = "cluster.local/ns/default/sa/sleep";

/// Each a configuration that must be refused, by what is wrong with it.
fn bad_configurations(authority: &Authority) -> Vec<(&'static str, String)> {
    let good = || ConfigSpec::inbound(authority);
    let rules = |rules: Value| {
        good()
            .policy(authorization_policy("p", "ALLOW", rules))
            .json()
    };
    vec![
        ("empty", String::new()),
        ("no JSON", "direction: inbound".to_owned()),
        ("JSON and more", format!("{} x", good().json())),
        ("not an object", "[]".to_owned()),
        ("unknown field", good().with("policiez", json!([])).json()),
        (
            "unknown version",
            good().with("schemaVersion", json!(2)).json(),
        ),
        (
            "unknown direction",
            good().with("direction", json!("sideways")).json(),
        ),
        (
            "bad trust domain",
            good().with("trustDomain", json!("no/such")).json(),
        ),
        (
            "bad profile",
            good().with("svidProfile", json!("lenient")).json(),
        ),
        (
            "bad issuer",
            good()
                .with("trust", json!({"cluster.local": {"issuers": ["no PEM"]}}))
                .json(),
        ),
        (
            "unknown condition key",
            rules(json!([{"when": [{"key": "no.such", "values": ["a"]}]}])),
        ),
        (
            "unknown policy field",
            rules(json!([{"from": [{"source": {"principalz": ["a"]}}]}])),
        ),
        (
            "bad address block",
            rules(json!([{"from": [{"source": {"ipBlocks": ["1.2.3.4/33"]}}]}])),
        ),
        (
            "bad port",
            rules(json!([{"to": [{"operation": {"ports": ["70000"]}}]}])),
        ),
        (
            "bad deny list key",
            good()
                .with("denyList", json!({"cluster": "c", "keys": ["no PEM"]}))
                .json(),
        ),
        (
            "no deny list key",
            good()
                .with("denyList", json!({"cluster": "c", "keys": []}))
                .json(),
        ),
        (
            "bad identity",
            ConfigSpec::outbound(authority)
                .secure_naming(&["https://not.spiffe/"])
                .json(),
        ),
    ]
}

#[test]
fn refuses_each_bad_configuration_and_then_denies_everything() {
    let authority = Authority::new(NOW);
    let client = authority.svid(SLEEP);
    for (what, configuration) in bad_configurations(&authority) {
        let mut plugin = Plugin::start(&World::at(NOW)).expect("starts");
        assert!(
            !plugin.configure(&configuration).expect("no trap"),
            "{what} was accepted"
        );
        let outcome = get_as(&mut plugin, &client);
        assert_eq!(outcome.status(), Some(403), "{what}: {outcome:?}");
        let rejected = plugin
            .world()
            .metrics()
            .value("countersign_config_rejected");
        assert_eq!(rejected, Some(1), "{what}");
    }
}

#[test]
fn says_in_the_log_which_field_is_wrong() {
    let authority = Authority::new(NOW);
    let rules = json!([{}, {"from": [{"source": {"ipBlocks": ["10.0.0.0/8", "1.2.3.4/33"]}}]}]);
    let config =
        ConfigSpec::inbound(&authority).policy(authorization_policy("narrow", "ALLOW", rules));
    let mut plugin = Plugin::start(&World::at(NOW)).expect("starts");
    assert!(!plugin.configure(config.json()).expect("no trap"));
    let text = plugin
        .log()
        .iter()
        .map(|line| line.text.as_str())
        .collect::<Vec<_>>()
        .join("\n");
    assert!(
        text.contains("spec.rules[1].from[0].source.ipBlocks[1]"),
        "{text}"
    );
    assert!(text.contains("narrow"), "{text}");
}

#[test]
fn denies_before_any_configuration() {
    let client = Authority::new(NOW).svid(SLEEP);
    let mut plugin = Plugin::start(&World::at(NOW)).expect("starts");
    let outcome = get_as(&mut plugin, &client);
    assert_eq!(outcome.status(), Some(403), "{outcome:?}");
}

#[test]
fn keeps_the_last_good_configuration_when_the_next_is_bad() {
    let authority = Authority::new(NOW);
    let (sleep, impostor) = (authority.svid(SLEEP), authority.svid(IMPOSTOR));
    let good =
        ConfigSpec::inbound(&authority).policy(allow_principal("only-sleep", SLEEP_PRINCIPAL));
    for (what, bad) in bad_configurations(&authority) {
        let mut plugin = configured(&good);
        assert!(
            !plugin.configure(&bad).expect("no trap"),
            "{what} was accepted"
        );
        let outcome = get_as(&mut plugin, &sleep);
        assert_allowed(&plugin, &outcome, "matched_allow");
        let outcome = get_as(&mut plugin, &impostor);
        assert_forbidden(&plugin, &outcome, "no_allow_matched");
    }
}

#[test]
fn a_new_root_context_with_a_bad_configuration_leaves_the_old_one_in_charge() {
    let authority = Authority::new(NOW);
    let (sleep, impostor) = (authority.svid(SLEEP), authority.svid(IMPOSTOR));
    let good =
        ConfigSpec::inbound(&authority).policy(allow_principal("only-sleep", SLEEP_PRINCIPAL));
    let mut plugin = configured(&good);
    assert!(!plugin.replace_root("{}").expect("no trap"));
    let outcome = get_as(&mut plugin, &sleep);
    assert_allowed(&plugin, &outcome, "matched_allow");

    let changed = ConfigSpec::inbound(&authority).policy(allow_principal(
        "only-impostor",
        "cluster.local/ns/default/sa/impostor",
    ));
    assert!(plugin.replace_root(changed.json()).expect("no trap"));
    let outcome = get_as(&mut plugin, &sleep);
    assert_forbidden(&plugin, &outcome, "no_allow_matched");
    let outcome = get_as(&mut plugin, &impostor);
    assert_allowed(&plugin, &outcome, "matched_allow");
}

#[test]
fn a_new_configuration_decides_the_next_request() {
    let authority = Authority::new(NOW);
    let sleep = authority.svid(SLEEP);
    let mut plugin = configured(&ConfigSpec::inbound(&authority));
    let outcome = get_as(&mut plugin, &sleep);
    assert_allowed(&plugin, &outcome, "no_policy");
    let deny_all = ConfigSpec::inbound(&authority).policy(authorization_policy(
        "deny-all",
        "DENY",
        json!([{}]),
    ));
    assert!(plugin.configure(deny_all.json()).expect("no trap"));
    let outcome = get_as(&mut plugin, &sleep);
    assert_forbidden(&plugin, &outcome, "matched_deny");
}

#[test]
fn one_configuration_may_have_every_kind_of_policy() {
    let authority = Authority::new(NOW);
    let config = ConfigSpec::inbound(&authority)
        .policy(authorization_policy(
            "reads",
            "ALLOW",
            json!([{
                "from": [{"source": {"namespaces": ["default"]}}],
                "to": [{"operation": {"methods": ["GET"], "paths": ["/api/*"]}}],
            }]),
        ))
        .policy(authorization_policy(
            "no-admin",
            "DENY",
            json!([{"to": [{"operation": {"paths": ["/api/admin*"]}}]}]),
        ));
    let mut plugin = configured(&config);
    let sleep = authority.svid(SLEEP);
    let outcome = get(&mut plugin, mutual_tls(&sleep), "/api/a?b=/api/admin");
    assert_allowed(&plugin, &outcome, "matched_allow");
    let outcome = get(&mut plugin, mutual_tls(&sleep), "/api/admin/x");
    assert_forbidden(&plugin, &outcome, "matched_deny");
    let outcome = get(&mut plugin, mutual_tls(&sleep), "/other");
    assert_forbidden(&plugin, &outcome, "no_allow_matched");
}
