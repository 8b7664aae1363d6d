//! Policies that come in a bundle.

use identity::policy_bundle::MAX_BODY_BYTES;
use serde_json::json;

use super::*;
use crate::{Decision, DenyReason, NotEvaluable, Peer, Request, Scope};

fn bundled() -> Value {
    let mut config = inbound();
    config.as_object_mut().unwrap().remove("policies");
    config["policyBundle"] = json!({"name": "shop", "atLeast": 3});
    config
}

fn told(config: &Value) -> Vec<String> {
    let errors = compile(&read(config).unwrap()).err().unwrap_or_default();
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn until_the_bundle_is_there_everybody_is_denied() {
    let compiled = compile(&read(&bundled()).unwrap()).unwrap();
    let bundle = compiled.policy_bundle.as_ref().unwrap();
    assert_eq!((bundle.name.as_str(), bundle.at_least), ("shop", 3));
    let workload = "spiffe://cluster.local/ns/a/sa/b".parse().unwrap();
    for peer in [Peer::Plaintext, Peer::Workload(workload)] {
        let decision = compiled.policies.decide(&Request::new(&peer));
        let reason = DenyReason::NotEvaluable(NotEvaluable::NoPolicyBundle);
        assert_eq!(decision, Decision::Deny(reason));
        assert_eq!(decision.code(), "policy_bundle_missing");
    }
    // Whatever it will look at has to be provided.
    assert!(compiled.needs().claims && compiled.needs().source_ip);
}

#[test]
fn a_bundle_is_refused_where_it_contradicts_the_rest() {
    let mut both = bundled();
    both["policies"] = inbound()["policies"].take();
    let mut alone = bundled();
    alone.as_object_mut().unwrap().remove("denyList");
    let mut name = bundled();
    name["policyBundle"]["name"] = json!("a/b");
    let mut out = outbound();
    out["policyBundle"] = json!({"name": "shop"});
    out["denyList"] = inbound()["denyList"].take();
    for (config, expected) in [
        (both, "policyBundle: either policies or a bundle of them"),
        (alone, "policyBundle: a bundle comes from where"),
        (name, "policyBundle.name: \"a/b\" is no name"),
        (out, "policyBundle: policies are for direction inbound"),
    ] {
        let told = told(&config);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with(expected), "{told:?}");
        let lean = compile_json(config.to_string().as_bytes());
        let lean = lean.err().unwrap_or_default();
        let lean: Vec<_> = lean.iter().map(ToString::to_string).collect();
        assert_eq!(lean, told);
    }
}

fn scope() -> Scope {
    compile(&read(&bundled()).unwrap()).unwrap().scope
}

/// What is wrong with the policies of a bundle; nothing where they compile.
fn problems(text: &str) -> Vec<String> {
    let found = compile_policies(text.as_bytes(), &scope());
    let errors = found.err().unwrap_or_default();
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn policies_of_a_bundle_are_told_of_as_those_of_a_configuration() {
    let good = inbound()["policies"].take();
    assert_eq!(problems(&good.to_string()), [""; 0]);
    let mut unknown = good.clone();
    unknown[0]["spec"]["rulez"] = json!([]);
    let twice = json!([good[0], good[0]]);
    for bad in [unknown, twice, json!([{"kind": "Other"}]), json!([1, null])] {
        let mut config = inbound();
        config["policies"] = bad.clone();
        let expected = compile_json(config.to_string().as_bytes()).unwrap_err();
        let expected: Vec<_> = expected.iter().map(ToString::to_string).collect();
        assert_eq!(problems(&bad.to_string()), expected);
        assert!(!expected.is_empty());
    }
}

#[test]
fn what_is_no_list_of_policies_is_refused_whole() {
    let long = " ".repeat(MAX_BODY_BYTES + 1);
    let good = inbound()["policies"].take().to_string();
    let cut = good.strip_suffix(']').unwrap();
    for text in ["", "{}", "null", "[", "[]", "[] []", "[{},]", cut, &long] {
        let found = problems(text);
        assert_eq!(found.len(), 1, "{found:?}");
    }
    assert!(problems("[]")[0].contains("would let everybody in"));
}

#[test]
fn a_bundle_of_what_only_the_proxy_enforces_is_refused_as_an_empty_one() {
    let token = json!({
        "apiVersion": "security.istio.io/v1", "kind": "RequestAuthentication",
        "metadata": {"name": "jwt", "namespace": "default"},
        "spec": {"jwtRules": [{"issuer": "i", "jwks": "{\"keys\":[]}"}]},
    });
    let found = problems(&json!([token]).to_string());
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("would let everybody in"), "{found:?}");
    let beside = json!([token, inbound()["policies"][0]]);
    assert_eq!(problems(&beside.to_string()), [""; 0]);
}
