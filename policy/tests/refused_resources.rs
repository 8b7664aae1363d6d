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
use serde_json::{Value, json};

use compile::{errors, read, resource, scope, spec_errors};

#[test]
fn a_provider_belongs_to_custom_and_custom_needs_one() {
    let custom = |provider: Value| json!({"action": "CUSTOM", "provider": provider, "rules": [{}]});
    let expected = "one of the providers that the proxy is set up to ask";
    let value = "x".to_owned();
    assert_eq!(
        spec_errors(custom(json!({"name": "x"}))),
        [(
            "spec.provider.name".to_owned(),
            Problem::Invalid { value, expected }
        )]
    );
    let missing = spec_errors(json!({"action": "CUSTOM", "rules": [{}]}));
    assert_eq!(missing[0].0, "spec.provider");
    assert!(matches!(missing[0].1, Problem::Missing { .. }));
    let unnamed = spec_errors(custom(json!({})));
    assert_eq!(unnamed, [("spec.provider.name".to_owned(), Problem::Empty)]);
    for action in ["ALLOW", "DENY", "AUDIT"] {
        let errors =
            spec_errors(json!({"action": action, "provider": {"name": "x"}, "rules": [{}]}));
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert_eq!(errors[0].0, "spec.provider");
        assert!(matches!(errors[0].1, Problem::Conflict { .. }));
    }
}

#[test]
fn a_provider_must_be_one_that_the_proxy_asks() {
    let spec = json!({"action": "CUSTOM", "provider": {"name": "opa"}, "rules": [{}]});
    let policy = read(&resource(spec)).unwrap();
    let mut scope = scope();
    scope.custom_providers.insert("opa".to_owned());
    let set = PolicySet::compile(std::slice::from_ref(&policy), &scope).unwrap();
    let decision = set.decide(&policy::Request::new(&policy::Peer::Plaintext));
    assert_eq!(
        decision.code(),
        "no_policy",
        "the provider was asked before"
    );
    // Of a policy for other workloads, somebody else's proxy asks the provider.
    let mut elsewhere = policy;
    elsewhere.metadata.namespace = Some("elsewhere".to_owned());
    assert!(PolicySet::compile(&[elsewhere], &self::scope()).is_ok());
}

#[test]
fn custom_looks_at_no_identity_and_no_token() {
    let mut scope = scope();
    scope.custom_providers.insert("opa".to_owned());
    let error = |rule: Value| {
        let spec = json!({"action": "CUSTOM", "provider": {"name": "opa"}, "rules": [rule]});
        let policy = read(&resource(spec)).unwrap();
        let errors = PolicySet::compile(&[policy], &scope)
            .err()
            .unwrap_or_default();
        errors
            .into_iter()
            .map(|error| (error.path, error.problem))
            .collect::<Vec<_>>()
    };
    for field in [
        "principals",
        "notPrincipals",
        "requestPrincipals",
        "notRequestPrincipals",
        "namespaces",
        "notNamespaces",
        "serviceAccounts",
        "trustDomains",
    ] {
        let errors = error(json!({"from": [{"source": {(field): ["a"]}}]}));
        assert_eq!(errors.len(), 1, "{field}: {errors:?}");
        assert_eq!(errors[0].0, format!("spec.rules[0].from[0].source.{field}"));
        assert!(matches!(errors[0].1, Problem::Conflict { .. }));
    }
    for key in [
        "source.principal",
        "source.namespace",
        "source.serviceAccount",
        "source.trustDomain",
        "request.auth.principal",
        "request.auth.audiences",
        "request.auth.presenter",
        "request.auth.claims[a]",
        "source.certificate.keyType",
    ] {
        let when = json!([{"key": key, "values": ["RSA"], "notValues": ["EC"]}]);
        let errors = error(json!({"when": when}));
        assert_eq!(errors.len(), 1, "{key}: {errors:?}");
        assert_eq!(errors[0].0, "spec.rules[0].when[0].key");
    }
    let rest = json!({
        "from": [{"source": {"ipBlocks": ["10.0.0.1"], "remoteIpBlocks": ["10.0.0.1"]}}],
        "to": [{"operation": {"paths": ["/a"], "hosts": ["h"], "ports": ["80"], "methods": ["GET"]}}],
        "when": [{"key": "request.headers[x]", "values": ["a"]}],
    });
    assert_eq!(error(rest), []);
}

#[test]
fn a_deny_policy_needs_rules_and_an_allow_policy_does_not() {
    for action in ["DENY", "CUSTOM"] {
        let provider = (action == "CUSTOM").then(|| json!({"name": "x"}));
        for rules in [None, Some(json!([]))] {
            let mut spec = json!({"action": action});
            for (field, value) in [("rules", rules), ("provider", provider.clone())] {
                if let Some(value) = value {
                    spec[field] = value;
                }
            }
            let meaningless = ("spec.rules".to_owned(), Problem::Meaningless { action });
            assert!(spec_errors(spec).contains(&meaningless), "{action}");
        }
    }
    for spec in [
        json!({}),
        json!({"rules": []}),
        json!({"action": "ALLOW"}),
        json!({"action": "AUDIT"}),
    ] {
        assert_eq!(spec_errors(spec), []);
    }
}

#[test]
fn targets_are_of_kinds_that_policies_attach_to() {
    let gateway = json!({"kind": "Gateway", "group": "gateway.networking.k8s.io", "name": "g"});
    let service = json!({"kind": "Service", "name": "s"});
    for spec in [
        json!({"targetRef": gateway}),
        json!({"targetRefs": [gateway, service]}),
        json!({"targetRefs": [{"kind": "Service", "group": "core", "name": "s"}]}),
        json!({"targetRefs": [{"kind": "ServiceEntry", "group": "networking.istio.io", "name": "s"}]}),
        json!({"targetRefs": [{"kind": "Gateway", "group": "networking.istio.io", "name": "g"}]}),
        json!({"targetRefs": vec![service.clone(); limits::MAX_TARGET_REFS]}),
    ] {
        assert_eq!(spec_errors(spec), []);
    }
    for (spec, path) in [
        (json!({"targetRefs": []}), "spec.targetRefs"),
        (
            json!({"targetRefs": vec![service.clone(); 17]}),
            "spec.targetRefs",
        ),
        (
            json!({"targetRef": {"kind": "Service"}}),
            "spec.targetRef.name",
        ),
        (
            json!({"targetRefs": [service, {"kind": "Pod", "name": "p"}]}),
            "spec.targetRefs[1].kind",
        ),
        (
            json!({"targetRef": {"kind": "Gateway", "name": "g"}}),
            "spec.targetRef.kind",
        ),
        (
            json!({"targetRef": {"kind": "Service", "name": "s", "namespace": "default"}}),
            "spec.targetRef.namespace",
        ),
        (
            json!({"targetRef": service, "selector": {}}),
            "spec.targetRef",
        ),
        (
            json!({"targetRefs": [service], "selector": {}}),
            "spec.targetRefs",
        ),
        (
            json!({"targetRef": service, "targetRefs": [service]}),
            "spec.targetRefs",
        ),
    ] {
        let errors = spec_errors(spec.clone());
        assert_eq!(errors.len(), 1, "{spec}: {errors:?}");
        assert_eq!(errors[0].0, path, "{spec}");
    }
}

#[test]
fn dry_run_is_a_boolean_as_go_reads_it() {
    let spellings = [
        ("true", true),
        ("TRUE", true),
        ("True", true),
        ("t", true),
        ("T", true),
        ("1", true),
        ("false", false),
        ("FALSE", false),
        ("False", false),
        ("f", false),
        ("F", false),
        ("0", false),
    ];
    for (value, dry_run) in spellings {
        let mut resource = resource(json!({"rules": [{}]}));
        resource["metadata"]["annotations"] = json!({"istio.io/dry-run": value});
        assert_eq!(errors(&resource), [], "{value}");
        let set = PolicySet::compile(&[read(&resource).unwrap()], &scope()).unwrap();
        assert_eq!(set.has_shadow(), dry_run, "{value}");
    }
    for value in ["yes", "tRUE", "", " true"] {
        let mut resource = resource(json!({"rules": [{}]}));
        resource["metadata"]["annotations"] = json!({"istio.io/dry-run": value});
        let errors = errors(&resource);
        assert_eq!(errors.len(), 1, "{value}");
        assert_eq!(errors[0].0, "metadata.annotations.istio.io/dry-run");
        assert!(matches!(errors[0].1, Problem::Invalid { .. }));
    }
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
        "provider": {"name": "x"},
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
