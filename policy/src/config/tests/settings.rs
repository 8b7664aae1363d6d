//! The settings that go beyond policies: signer, federation, forwarded certificates, logs.

use identity::SpiffeId;
use serde_json::json;

use super::{super::*, KEYS, error_path, errors, everything, inbound, outbound, read};
use crate::peer::PeerFault;

#[test]
fn the_signer_of_the_deny_list_is_pinned_one_way() {
    let signer = "spiffe://cluster.local/authority";
    let mut config = inbound();
    config["denyList"] = json!({"cluster": "agent", "authority": signer});
    let list = compile(&read(&config).unwrap()).unwrap().deny_list.unwrap();
    assert!(list.keys.is_empty());
    assert_eq!(list.authority.unwrap().to_string(), signer);
    config["denyList"]["keys"] = json!([KEYS.list]);
    assert_eq!(error_path(&config), "denyList.authority");
    config["denyList"] = json!({"cluster": "agent", "authority": "spiffe://elsewhere/authority"});
    assert_eq!(error_path(&config), "denyList.authority");
    config["denyList"] = json!({"cluster": "agent", "authority": "authority"});
    assert_eq!(error_path(&config), "denyList.authority");
    config["denyList"] = json!({"cluster": "agent"});
    assert_eq!(error_path(&config), "denyList.keys");
}

#[test]
fn grace_and_samples_have_bounds() {
    for (pointer, value, path) in [
        (
            "/denyList/stale",
            json!({"graceSeconds": 0}),
            "denyList.stale.graceSeconds",
        ),
        (
            "/denyList/stale",
            json!({"graceSeconds": 86_401}),
            "denyList.stale.graceSeconds",
        ),
        ("/denyList/stale", json!("never"), "denyList.stale"),
        (
            "/decisionLog/allowed",
            json!({"oneIn": 0}),
            "decisionLog.allowed.oneIn",
        ),
        (
            "/decisionLog/allowed",
            json!({"oneIn": 1_000_001}),
            "decisionLog.allowed.oneIn",
        ),
        (
            "/decisionLog/headers",
            json!(["x-a", "x b"]),
            "decisionLog.headers[1]",
        ),
        (
            "/decisionLog/headers",
            json!([":path"]),
            "decisionLog.headers[0]",
        ),
        (
            "/decisionLog/headers",
            json!(["Authorization"]),
            "decisionLog.headers[0]",
        ),
        (
            "/decisionLog/headers",
            json!(["cookie"]),
            "decisionLog.headers[0]",
        ),
        (
            "/decisionLog/headers",
            json!(vec!["x"; 17]),
            "decisionLog.headers",
        ),
    ] {
        let mut config = everything();
        *config.pointer_mut(pointer).unwrap() = value.clone();
        assert!(error_path(&config).starts_with(path), "{path} {value}");
    }
}

#[test]
fn names_of_logged_headers_are_in_lower_case() {
    let compiled = compile(&read(&everything()).unwrap()).unwrap();
    assert_eq!(compiled.decision_log.headers, ["x-request-tenant"]);
    assert_eq!(compiled.decision_log.allowed, AllowedLog::OneIn(100));
}

#[test]
fn an_allow_list_is_for_foreign_trust_domains_only() {
    let compiled = compile(&read(&everything()).unwrap()).unwrap();
    for (id, passes) in [
        ("spiffe://cluster.local/anyone", true),
        ("spiffe://old.example/ns/b/sa/c", true),
        ("spiffe://foreign.example/ns/a/sa/b", true),
        ("spiffe://foreign.example/ns/ab/sa/b", false),
        ("spiffe://foreign.example/x/ns/a/sa/b", false),
        ("spiffe://unlisted.example/ns/a/sa/b", false),
    ] {
        let id: SpiffeId = id.parse().unwrap();
        let found = compiled.check_federation(&id);
        let fault = PeerFault::NotFederated { id: id.clone() };
        assert_eq!(found, if passes { Ok(()) } else { Err(fault) }, "{id}");
    }
    let open = compile(&read(&inbound()).unwrap()).unwrap();
    let foreign: SpiffeId = "spiffe://foreign.example/x".parse().unwrap();
    assert_eq!(
        open.check_federation(&foreign),
        Ok(()),
        "no allow lists at all"
    );
}

#[test]
fn allow_lists_that_could_never_match_are_refused() {
    for (federation, path) in [
        (
            json!({"cluster.local": {"allow": ["*"]}}),
            "federation.cluster.local",
        ),
        (
            json!({"old.example": {"allow": ["*"]}}),
            "federation.old.example",
        ),
        (
            json!({"typo.example": {"allow": ["*"]}}),
            "federation.typo.example",
        ),
    ] {
        let mut config = everything();
        config["federation"] = federation;
        assert_eq!(error_path(&config), path);
    }
    for (pattern, fits) in [
        ("*", true),
        ("*/sa/b", true),
        ("foreign.example/ns/a/sa/b", true),
        ("foreign.example/*", true),
        ("foreign*", true),
        ("foreign.example", false),
        ("foreign.example/", false),
        ("other.example/ns/a/sa/b", false),
        ("foreign.example.org/*", false),
        ("spiffe://foreign.example/ns/a/sa/b", false),
        ("", false),
    ] {
        let mut config = everything();
        config["federation"] = json!({"foreign.example": {"allow": ["*", pattern]}});
        let paths: Vec<_> = errors(&config).into_iter().map(|(path, _)| path).collect();
        let refused = ["federation.foreign.example.allow[1]".to_owned()];
        assert_eq!(paths, if fits { &[][..] } else { &refused }, "{pattern}");
    }
}

#[test]
fn a_forwarded_certificate_is_for_inbound_http() {
    let mut config = everything();
    config["protocol"] = json!("tcp");
    assert_eq!(error_path(&config), "forwardedClientCert");
    config
        .as_object_mut()
        .unwrap()
        .remove("forwardedClientCert");
    assert_eq!(errors(&config), []);
    let mut config = outbound();
    config["forwardedClientCert"] = json!({"hop": "spiffe://cluster.local/a"});
    assert_eq!(error_path(&config), "forwardedClientCert");
    let mut config = everything();
    config["forwardedClientCert"]["hop"] = json!("cluster.local/a");
    assert_eq!(error_path(&config), "forwardedClientCert.hop");
    let mut config = outbound();
    config["federation"] = json!({});
    assert_eq!(error_path(&config), "federation");
}

#[test]
fn resources_of_all_kinds_are_policies() {
    let mut config = inbound();
    let strict = json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": "strict", "namespace": "default"},
        "spec": {"mtls": {"mode": "STRICT"}},
    });
    let policies = config["policies"].as_array_mut().unwrap();
    policies.insert(0, strict.clone());
    let compiled = compile(&read(&config).unwrap()).unwrap();
    let decision = compiled
        .policies
        .decide(&crate::Request::new(&crate::Peer::Plaintext));
    assert_eq!(decision.code(), "mtls_required");
    let mut bad = strict;
    bad["metadata"]["name"] = json!("bad");
    bad["spec"] = json!({"portLevelMtls": {}});
    config["policies"].as_array_mut().unwrap().push(bad);
    let (path, message) = errors(&config).remove(0);
    assert_eq!(path, "policies[2].spec.portLevelMtls");
    assert!(
        message.contains("PeerAuthentication default/bad: "),
        "{message}"
    );
    config["policies"][2]["kind"] = json!("Telemetry");
    assert_eq!(error_path(&config), "policies[2].kind");
}

#[test]
fn scope_is_what_is_written() {
    let mut config = everything();
    config["protocol"] = json!("tcp");
    config
        .as_object_mut()
        .unwrap()
        .remove("forwardedClientCert");
    let scope = compile(&read(&config).unwrap()).unwrap().scope;
    assert_eq!(
        (scope.protocol, scope.kind),
        (Protocol::Tcp, WorkloadKind::Gateway)
    );
    assert_eq!(scope.targets.len(), 1);
    assert!(scope.custom_providers.contains("opa"));
    for (pointer, value) in [("/protocol", json!("udp")), ("/workloadKind", json!("pod"))] {
        let mut config = everything();
        config[pointer.trim_start_matches('/')] = value;
        assert_eq!(error_path(&config), pointer.trim_start_matches('/'));
    }
}
