use identity::TrustDomain;
use serde_json::json;

use super::*;
use crate::{Peer, PolicySet, Request};

fn resource(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    })
}

fn scope() -> Scope {
    Scope::new(TrustDomain::new("cluster.local").unwrap(), "default")
}

#[test]
fn a_resource_is_told_by_its_kind() {
    for kind in [
        "AuthorizationPolicy",
        "PeerAuthentication",
        "RequestAuthentication",
    ] {
        let value = resource(kind, "a", json!({}));
        let read = Resource::from_value(&value).unwrap();
        assert_eq!(read.kind(), kind);
        assert_eq!(
            Resource::from_json(value.to_string().as_bytes()).unwrap(),
            read
        );
        assert_eq!(serde_json::from_value::<Resource>(value).unwrap(), read);
    }
}

#[test]
fn what_is_no_resource_is_refused_where_it_is_wrong() {
    for (value, path) in [
        (resource("ConfigMap", "a", json!({})), "kind"),
        (resource("peerauthentication", "a", json!({})), "kind"),
        (
            resource("PeerAuthentication", "a", json!({"mtl": {}})),
            "spec.mtl",
        ),
        (
            resource("AuthorizationPolicy", "a", json!({"rule": []})),
            "spec.rule",
        ),
        (json!({"spec": {}}), ""),
        (json!(null), ""),
        (json!([]), ""),
    ] {
        let found = Resource::from_value(&value).unwrap_err();
        assert_eq!(found.path, path, "{value}: {found}");
    }
    let twice = br#"{"kind": "PeerAuthentication", "kind": "AuthorizationPolicy"}"#;
    assert_eq!(Resource::from_json(twice).unwrap_err().path, "kind");
}

#[test]
fn all_problems_of_all_kinds_are_reported() {
    let values = [
        resource("AuthorizationPolicy", "a", json!({"action": "DENY"})),
        resource("PeerAuthentication", "p", json!({"portLevelMtls": {}})),
        resource(
            "PeerAuthentication",
            "q",
            json!({"portLevelMtls": {"0": {}}}),
        ),
        resource(
            "RequestAuthentication",
            "r",
            json!({"jwtRules": [{"issuer": ""}]}),
        ),
    ];
    let all: Resources = values
        .iter()
        .map(|value| Resource::from_value(value).unwrap())
        .collect();
    assert_eq!(all.len(), 4);
    let errors = PolicySet::compile_resources(&all, &scope()).unwrap_err();
    let mut found: Vec<_> = errors
        .iter()
        .map(|e| (e.kind, e.policy.as_str(), e.index))
        .collect();
    found.dedup();
    assert_eq!(
        found,
        [
            ("AuthorizationPolicy", "default/a", 0),
            ("PeerAuthentication", "default/p", 0),
            ("PeerAuthentication", "default/q", 1),
            ("RequestAuthentication", "default/r", 0),
        ]
    );
}

/// Mutual TLS is asked for after the peer itself and before any rule.
#[test]
fn strict_is_decided_between_the_peer_and_the_rules() {
    let values = [
        resource(
            "PeerAuthentication",
            "p",
            json!({"mtls": {"mode": "STRICT"}}),
        ),
        resource(
            "AuthorizationPolicy",
            "a",
            json!({"action": "DENY", "rules": [{}]}),
        ),
    ];
    let all: Resources = values
        .iter()
        .map(|value| Resource::from_value(value).unwrap())
        .collect();
    let set = PolicySet::compile_resources(&all, &scope()).unwrap();
    let code = |peer: &Peer| set.decide(&Request::new(peer)).code();
    assert_eq!(code(&Peer::Plaintext), "mtls_required");
    assert_eq!(
        code(&Peer::Unidentified(crate::PeerFault::CertificateMissing)),
        "certificate_missing"
    );
    let workload = Peer::Workload("spiffe://cluster.local/a".parse().unwrap());
    assert_eq!(code(&workload), "matched_deny");
    let without = PolicySet::compile(&all.authorization, &scope()).unwrap();
    assert_eq!(
        without.decide(&Request::new(&Peer::Plaintext)).code(),
        "matched_deny"
    );
}
