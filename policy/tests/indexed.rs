//! The index finds what testing every rule of every policy, as written, finds.
//!
//! The other side of the comparison is `indexed/naive.rs`: it reads the resources themselves and shares no code
//! with the engine.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

#[path = "indexed/naive.rs"]
mod naive;
#[path = "indexed/world.rs"]
mod world;

use identity::TrustDomain;
use policy::{AuthorizationPolicy, Decision, PolicySet, Scope};
use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};

use world::{Asked, asked, rule};

fn compile(policies: &[Value]) -> PolicySet {
    let policies: Vec<AuthorizationPolicy> = policies
        .iter()
        .map(|policy| serde_json::from_value(policy.clone()).unwrap())
        .collect();
    let scope = Scope::new(TrustDomain::new("mesh").unwrap(), "default");
    PolicySet::compile(&policies, &scope).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn policy(name: &str, action: &str, rules: &[Value]) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"action": action, "rules": rules},
    })
}

/// Code and rule of the decision.
fn found(decision: &Decision) -> (String, Option<String>) {
    (
        decision.code().to_owned(),
        decision.rule().map(|rule| rule.id().to_owned()),
    )
}

fn check(policies: &[Value], asked: &[Asked]) -> Result<(), TestCaseError> {
    let set = compile(policies);
    for asked in asked {
        let decision = asked.with_request(|request| found(&set.decide(request)));
        prop_assert_eq!(decision, naive::decide(policies, asked), "{:?}", asked);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Many rules of every shape at once.
    #[test]
    fn random_policies_and_requests(
        deny in vec(vec(rule(), 1..4), 0..8),
        allow in vec(vec(rule(), 1..4), 0..40),
        asked in vec(asked(), 8),
    ) {
        let named = |action: &'static str, rules: Vec<Vec<Value>>| {
            rules.into_iter().enumerate().map(move |(index, rules)| {
                policy(&format!("{index}-{}", action.to_lowercase()), action, &rules)
            })
        };
        let policies: Vec<Value> = named("DENY", deny).chain(named("ALLOW", allow)).collect();
        check(&policies, &asked)?;
    }

    /// Rules that differ in one or two fields only, so that the index goes deep.
    #[test]
    fn alike_policies(
        fields in proptest::sample::subsequence(world::FIELDS.to_vec(), 1..3),
        values in vec(vec(any::<proptest::sample::Index>(), 4), 20..120),
        asked in vec(asked(), 8),
    ) {
        let policies: Vec<Value> = values
            .iter()
            .enumerate()
            .map(|(index, values)| {
                let mut places = values.iter();
                let mut value = |of: &[&'static str]| of[places.next().unwrap().index(of.len())];
                let when: Vec<Value> = fields
                    .iter()
                    .map(|(key, of)| json!({"key": key, "values": [value(of), value(of)]}))
                    .collect();
                policy(&format!("p{index}"), if index % 7 == 0 { "DENY" } else { "ALLOW" }, &[json!({"when": when})])
            })
            .collect();
        check(&policies, &asked)?;
    }
}

/// A set with one decision asked of it: what is allowed by exactly one of very many policies.
fn only_one_allows(policies: &[Value], asked: &Asked, expected: &str) {
    let set = compile(policies);
    let decision = asked.with_request(|request| found(&set.decide(request)));
    assert_eq!(
        decision,
        (
            "matched_allow".to_owned(),
            Some(format!("ns[default]-policy[{expected}]-rule[0]"))
        )
    );
    let none = Asked {
        peer: Some("t/nobody".to_owned()),
        path: Some("/nothing".to_owned()),
        ..Asked::default()
    };
    assert_eq!(
        none.with_request(|request| set.decide(request).code()),
        "no_allow_matched"
    );
}

#[test]
fn lists_of_thousands_of_values() {
    let paths: Vec<String> = (0..4096)
        .map(|index| match index % 4 {
            0 => format!("/exact/{index}"),
            1 => format!("/prefix/{index}/*"),
            2 => format!("*/suffix-{index}"),
            _ => format!("/template/{index}/{{*}}/end"),
        })
        .collect();
    let blocks: Vec<String> = (0..4096)
        .map(|index| format!("10.{}.{}.0/24", index / 256, index % 256))
        .collect();
    let policies = [
        policy(
            "paths",
            "ALLOW",
            &[json!({"to": [{"operation": {"paths": paths}}]})],
        ),
        policy(
            "blocks",
            "ALLOW",
            &[json!({"from": [{"source": {"ipBlocks": blocks}}]})],
        ),
    ];
    for (path, expected) in [
        ("/exact/4000", true),
        ("/exact/4001", false),
        ("/prefix/4001/x", true),
        ("/prefix/4001", false),
        ("/x/suffix-4002", true),
        ("/x/suffix-4000", false),
        ("/template/4003/x/end", true),
        ("/template/4003/x/y/end", false),
    ] {
        let asked = Asked {
            path: Some(path.to_owned()),
            ..Asked::default()
        };
        let code = asked.with_request(|request| compile(&policies).decide(request).code());
        assert_eq!(code == "matched_allow", expected, "{path}");
    }
    for (address, expected) in [("10.15.255.7", true), ("10.16.0.1", false)] {
        let asked = Asked {
            source_ip: Some(address.parse().unwrap()),
            ..Asked::default()
        };
        let code = asked.with_request(|request| compile(&policies).decide(request).code());
        assert_eq!(code == "matched_allow", expected, "{address}");
    }
}

#[test]
fn ten_thousand_pairs_of_caller_and_path() {
    let policies: Vec<Value> = (0..10_000)
        .map(|index| {
            let principal = format!("t/ns/a/sa/caller-{}", index / 100);
            let to = json!([{"operation": {"paths": [format!("/path-{}", index % 100)]}}]);
            let from = json!([{"source": {"principals": [principal]}}]);
            policy(
                &format!("p{index}"),
                "ALLOW",
                &[json!({"from": from, "to": to})],
            )
        })
        .collect();
    let asked = Asked {
        peer: Some("t/ns/a/sa/caller-71".to_owned()),
        path: Some("/path-42".to_owned()),
        ..Asked::default()
    };
    only_one_allows(&policies, &asked, "p7142");
}
