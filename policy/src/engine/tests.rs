mod finding;
mod trial;

use identity::TrustDomain;

use super::*;
use crate::{decision::DenyReason, peer::PeerFault, yaml};

fn set(rules: &[(&str, &str, &str)]) -> PolicySet {
    let text: String = rules
        .iter()
        .map(|(name, action, rules)| {
            format!(
                "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n\
                 metadata: {{name: {name}, namespace: default}}\nspec: {{action: {action}, rules: {rules}}}\n"
            )
        })
        .collect();
    let policies = yaml::policies("test", &text).unwrap();
    PolicySet::compile(&policies, &scope()).unwrap()
}

fn scope() -> Scope {
    Scope::new(TrustDomain::new("cluster.local").unwrap(), "default")
}

fn workload(id: &str) -> Peer {
    Peer::Workload(id.parse().unwrap())
}

#[test]
fn a_rejected_peer_keeps_its_fault() {
    let fault = PeerFault::Revoked {
        sha256: "ab".to_owned(),
    };
    let peer = Peer::Unidentified(fault.clone());
    let decision = set(&[("a", "ALLOW", "[{}]")]).decide(&Request::new(&peer));
    assert_eq!(decision, Decision::Deny(DenyReason::PeerRejected(fault)));
    assert_eq!(decision.code(), "revoked");
    assert_eq!(
        decision.to_string(),
        "denied: peer rejected: the certificate ab is revoked"
    );
}

/// A rule that is found by its principal, one by its host, and one that is not indexed: the first id still wins.
#[test]
fn indexed_and_other_rules_keep_the_order_of_ids() {
    let principal = "[{from: [{source: {principals: [t/x, t/y]}}]}]";
    let host = "[{to: [{operation: {hosts: [H]}}]}]";
    let any = "[{}]";
    let peer = workload("spiffe://t/x");
    let request = Request::new(&peer).with_host("h");
    for order in [
        [("a", principal), ("b", host), ("c", any)],
        [("b", principal), ("a", host), ("c", any)],
        [("c", principal), ("b", host), ("a", any)],
    ] {
        let set = set(&order.map(|(name, rules)| (name, "ALLOW", rules)));
        let decision = set.decide(&request);
        let rule = decision.rule().map(ToString::to_string);
        assert_eq!(
            rule.as_deref(),
            Some("ns[default]-policy[a]-rule[0]"),
            "{order:?}"
        );
    }
}

#[test]
fn a_rule_with_one_open_alternative_is_not_indexed_away() {
    let set = set(&[(
        "a",
        "ALLOW",
        "[{from: [{source: {principals: [t/x]}}, {source: {ipBlocks: [10.0.0.1]}}]}]",
    )]);
    let peer = workload("spiffe://t/other");
    let request = Request::new(&peer).with_source_ip("10.0.0.1".parse().unwrap());
    assert_eq!(set.decide(&request).code(), "matched_allow");
}

#[test]
fn a_negative_principal_is_no_index_key() {
    let set = set(&[("a", "DENY", "[{from: [{source: {notPrincipals: [t/x]}}]}]")]);
    assert_eq!(
        set.decide(&Request::new(&workload("spiffe://t/y"))).code(),
        "matched_deny"
    );
    assert_eq!(
        set.decide(&Request::new(&workload("spiffe://t/x"))).code(),
        "no_policy"
    );
}

#[test]
fn bytes_that_are_not_utf8_are_compared_as_they_are() {
    let set = set(&[(
        "a",
        "ALLOW",
        "[{when: [{key: 'request.headers[x]', values: ['*']}]}]",
    )]);
    let headers = [("x", [0xff_u8, 0xfe])];
    let request = Request::new(&Peer::Plaintext).with_headers(&headers);
    assert_eq!(set.decide(&request).code(), "matched_allow");
}

#[test]
fn needs_name_what_rules_look_at() {
    assert_eq!(set(&[("a", "ALLOW", "[{}]")]).needs(), Needs::default());
    let needs = set(&[(
        "a",
        "DENY",
        "[{from: [{source: {principals: ['*'], ipBlocks: [10.0.0.1]}}], to: [{operation: {paths: [/x], ports: ['1']}}], \
          when: [{key: 'request.headers[host]', values: [h]}, {key: connection.sni, values: [s]}]}]",
    )])
    .needs();
    let expected = Needs {
        source_ip: true,
        destination_port: true,
        path: true,
        host: true,
        sni: true,
        ..Needs::default()
    };
    assert_eq!(needs, expected);
}

#[test]
fn explains_the_first_failing_condition_of_each_alternative() {
    let set = set(&[
        (
            "a",
            "ALLOW",
            "[{from: [{source: {principals: [t/x]}}, {source: {ipBlocks: [10.0.0.1], notIpBlocks: [10.0.0.1]}}]}]",
        ),
        (
            "b",
            "ALLOW",
            "[{to: [{operation: {methods: [POST]}}], when: [{key: 'request.headers[x]', values: [a]}]}]",
        ),
        (
            "c",
            "ALLOW",
            "[{when: [{key: 'request.headers[x]', values: [a], notValues: [c]}]}]",
        ),
    ]);
    let peer = workload("spiffe://t/y");
    let headers = [("x", "b"), ("x", "c")];
    let request = Request::new(&peer)
        .with_method("GET")
        .with_headers(&headers)
        .with_source_ip("10.0.0.1".parse().unwrap());
    let explanation = set.explain(&request);
    assert_eq!(
        explanation.to_string(),
        "denied: no ALLOW rule matched\n\
         ALLOW ns[default]-policy[a]-rule[0]: does not match; \
         spec.rules[0].from[0].source.principals fails on [\"t/y\"]; \
         spec.rules[0].from[1].source.notIpBlocks fails on [\"10.0.0.1\"]\n\
         ALLOW ns[default]-policy[b]-rule[0]: does not match; \
         spec.rules[0].to[0].operation.methods fails on [\"GET\"]\n\
         ALLOW ns[default]-policy[c]-rule[0]: does not match; \
         spec.rules[0].when[0].values fails on [\"b\", \"c\"]\n"
    );
}

#[test]
fn explains_absence() {
    let set = set(&[
        ("a", "ALLOW", "[{to: [{operation: {hosts: [h]}}]}]"),
        ("b", "DENY", "[{}]"),
    ]);
    assert_eq!(
        set.explain(&Request::new(&Peer::Plaintext)).to_string(),
        "denied: matched DENY rule ns[default]-policy[b]-rule[0]\n\
         DENY ns[default]-policy[b]-rule[0]: matches\n\
         ALLOW ns[default]-policy[a]-rule[0]: does not match; \
         spec.rules[0].to[0].operation.hosts fails on an absent attribute\n"
    );
}

#[test]
fn each_allow_rule_that_fails_says_where_and_no_other_rule_does() {
    let set = set(&[
        ("b", "ALLOW", "[{to: [{operation: {paths: [/x]}}]}]"),
        (
            "a",
            "ALLOW",
            "[{from: [{source: {principals: [t/z]}}]}, {}]",
        ),
        (
            "denies",
            "DENY",
            "[{from: [{source: {principals: [t/z]}}]}]",
        ),
    ]);
    let peer = workload("spiffe://t/y");
    let request = Request::new(&peer).with_path("/elsewhere");
    let failed: Vec<_> = set
        .failed_allow_rules(&request)
        .map(|(rule, path)| format!("{}: {path}", rule.id()))
        .collect();
    assert_eq!(
        failed,
        [
            "ns[default]-policy[a]-rule[0]: spec.rules[0].from[0].source.principals",
            "ns[default]-policy[b]-rule[0]: spec.rules[0].to[0].operation.paths",
        ]
    );
}
