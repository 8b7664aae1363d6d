//! Resources that do not compile, with the path and the problem that is reported.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "refused/compile.rs"]
mod compile;

use policy::{AuthorizationPolicy, PolicySet, Problem, limits};
use serde_json::json;

use compile::{errors, not_supported, read, resource, scope, spec_errors};

#[test]
fn actions_that_are_not_evaluated_are_refused() {
    for action in ["AUDIT", "CUSTOM"] {
        let errors = spec_errors(json!({"action": action, "rules": [{}]}));
        let what = format!("action {action}");
        assert_eq!(errors, [("spec.action".to_owned(), not_supported(&what))]);
    }
    let errors = spec_errors(json!({"action": "CUSTOM", "provider": {"name": "x"}, "rules": [{}]}));
    assert_eq!(
        errors[0],
        ("spec.provider".to_owned(), not_supported("provider"))
    );
    let errors = spec_errors(json!({"provider": {"name": "x"}, "rules": [{}]}));
    assert_eq!(errors[0].0, "spec.provider");
    assert!(matches!(errors[0].1, Problem::Conflict { .. }));
}

#[test]
fn a_deny_policy_needs_rules_and_an_allow_policy_does_not() {
    let meaningless = Problem::Meaningless { action: "DENY" };
    for spec in [
        json!({"action": "DENY"}),
        json!({"action": "DENY", "rules": []}),
    ] {
        assert_eq!(
            spec_errors(spec),
            [("spec.rules".to_owned(), meaningless.clone())]
        );
    }
    for spec in [json!({}), json!({"rules": []}), json!({"action": "ALLOW"})] {
        assert_eq!(spec_errors(spec), []);
    }
}

#[test]
fn targets_are_refused_by_name() {
    let target = json!({"kind": "Gateway", "group": "gateway.networking.k8s.io", "name": "g"});
    for (field, value) in [
        ("targetRef", target.clone()),
        ("targetRefs", json!([target])),
    ] {
        let errors = spec_errors(json!({ (field): value, "rules": [{}] }));
        assert_eq!(errors, [(format!("spec.{field}"), not_supported(field))]);
    }
}

#[test]
fn dry_run_is_refused_unless_it_is_off() {
    for (value, supported) in [("true", false), ("1", false), ("false", true), ("F", true)] {
        let mut resource = resource(json!({"rules": [{}]}));
        resource["metadata"]["annotations"] = json!({"istio.io/dry-run": value});
        let path = "metadata.annotations.istio.io/dry-run".to_owned();
        let expected = if supported {
            vec![]
        } else {
            vec![(path, not_supported("dry-run"))]
        };
        assert_eq!(errors(&resource), expected, "{value}");
    }
    let mut resource = resource(json!({"rules": [{}]}));
    resource["metadata"]["annotations"] = json!({"istio.io/dry-run": "yes"});
    assert!(matches!(errors(&resource)[0].1, Problem::Invalid { .. }));
}

#[test]
fn too_many_policies_are_refused() {
    let policy = read(&resource(json!({"rules": [{}]}))).unwrap();
    let policies: Vec<_> = (0..=limits::MAX_POLICIES)
        .map(|index| {
            let mut policy = policy.clone();
            policy.metadata.name = Some(format!("p{index}"));
            policy
        })
        .collect();
    let errors = PolicySet::compile(&policies, &scope()).unwrap_err();
    assert!(
        matches!(errors[0].problem, Problem::TooMany { found: 10_001, .. }),
        "{errors:?}"
    );
    assert!(PolicySet::compile(&policies[1..], &scope()).is_ok());
}

#[test]
fn metadata_is_checked() {
    for (field, value, path) in [
        ("name", json!("A"), "metadata.name"),
        ("name", json!("a]-rule[0"), "metadata.name"),
        ("namespace", json!("a.b"), "metadata.namespace"),
        ("namespace", json!(""), "metadata.namespace"),
        ("namespace", json!("a".repeat(64)), "metadata.namespace"),
    ] {
        let mut resource = resource(json!({"rules": [{}]}));
        resource["metadata"][field] = value;
        let errors = errors(&resource);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert_eq!(errors[0].0, path);
    }
    let mut resource = resource(json!({}));
    resource["metadata"] = json!({"creationTimestamp": null, "uid": "x"});
    let missing: Vec<_> = errors(&resource)
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    assert_eq!(missing, ["metadata.name", "metadata.namespace"]);
}

#[test]
fn another_resource_is_refused() {
    let mut resource = resource(json!({}));
    resource["apiVersion"] = json!("security.istio.io/v2");
    resource["kind"] = json!("PeerAuthentication");
    let paths: Vec<_> = errors(&resource)
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    assert_eq!(paths, ["apiVersion", "kind"]);
}

#[test]
fn selectors_have_no_wildcards() {
    for labels in [json!({"app": "*"}), json!({"a*": "b"}), json!({"": "b"})] {
        let errors = spec_errors(json!({"selector": {"matchLabels": labels}}));
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(
            errors[0].0.starts_with("spec.selector.matchLabels."),
            "{errors:?}"
        );
    }
}

#[test]
fn a_name_occurs_once() {
    let policy = read(&resource(json!({"rules": [{}]}))).unwrap();
    let errors = PolicySet::compile(&[policy.clone(), policy], &scope()).unwrap_err();
    assert_eq!(
        (errors[0].index, errors[0].path.as_str()),
        (1, "metadata.name")
    );
    assert_eq!(errors[0].problem, Problem::Duplicate);
    assert_eq!(errors[0].policy, "default/p");
}

#[test]
fn every_problem_of_every_policy_is_reported() {
    let bad = read(&resource(json!({
        "action": "AUDIT",
        "rules": [
            {"from": [{"source": {"ipBlocks": ["x"]}}], "to": [{"operation": {"ports": ["y"]}}]},
            {"when": [{"key": "z", "values": ["a"]}]},
        ],
    })))
    .unwrap();
    let mut other = bad.clone();
    other.metadata.name = Some("q".to_owned());
    let errors = PolicySet::compile(&[bad, other], &scope()).unwrap_err();
    let found: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), 8, "{found:#?}");
    assert_eq!(
        found[5],
        "AuthorizationPolicy default/q: spec.rules[0].from[0].source.ipBlocks[0]: \
         \"x\" is not an IP address or CIDR range"
    );
}

#[test]
fn a_policy_that_does_not_apply_is_checked_all_the_same() {
    let mut elsewhere = resource(json!({"rules": [{"from": [{"source": {"ipBlocks": ["x"]}}]}]}));
    elsewhere["metadata"]["namespace"] = json!("elsewhere");
    assert_eq!(errors(&elsewhere).len(), 1);
}

#[test]
fn unknown_fields_have_their_path() {
    for (spec, path) in [
        (json!({"rule": []}), "spec.rule"),
        (
            json!({"rules": [{"from": [{"sources": {}}]}]}),
            "spec.rules[0].from[0].sources",
        ),
        (
            json!({"rules": [{"to": [{"operation": {"path": ["/"]}}]}]}),
            "spec.rules[0].to[0].operation.path",
        ),
        (
            json!({"rules": [{"when": [{"keys": "a"}]}]}),
            "spec.rules[0].when[0].keys",
        ),
        (json!({"action": "deny"}), "spec.action"),
        (json!({"rules": [null]}), "spec.rules[0]"),
        (json!({"rules": null}), "spec.rules"),
        (json!({"rules": [{"from": null}]}), "spec.rules[0].from"),
        (
            json!({"rules": [{"to": [{"operation": {"ports": [80]}}]}]}),
            "spec.rules[0].to[0].operation.ports[0]",
        ),
    ] {
        let error = read(&resource(spec)).unwrap_err();
        assert_eq!(error.path, path, "{error}");
    }
}

#[test]
fn a_key_that_occurs_twice_has_its_path() {
    let text = br#"{"kind":"x","spec":{"rules":[{"to":[{"operation":{"paths":["/a"],"paths":["/b"]}}]}]}}"#;
    let error = AuthorizationPolicy::from_json(text).unwrap_err();
    assert_eq!(error.path, "spec.rules[0].to[0].operation.paths");
    assert!(
        error.problem.starts_with("this key occurs twice"),
        "{error}"
    );
}
