//! What is answered, natively.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use countersign_playground::{MAX_TEXT_BYTES, Place, Verdict, check, decide, explain};
use serde_json::Value;

const POLICIES: &str = "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: web, namespace: default}
spec:
  rules:
  - from: [{source: {principals: [cluster.local/ns/default/sa/sleep]}}]
    to: [{operation: {methods: [GET]}}]
";
const SLEEP: &str = "peer: spiffe://cluster.local/ns/default/sa/sleep\n";

#[test]
fn a_request_is_decided_and_explained() {
    let allowed = decide(POLICIES, SLEEP).unwrap();
    assert_eq!(allowed.verdict, Verdict::Allow);
    assert_eq!(
        allowed.policy.as_deref(),
        Some("ns[default]-policy[web]-rule[0]")
    );
    let denied = explain(POLICIES, &format!("{SLEEP}method: POST\n")).unwrap();
    assert_eq!(denied.decision.reason, "no_allow_matched");
    let failed = &denied.rules[0].failed[0];
    assert_eq!(
        (failed.wanted.as_slice(), failed.seen.as_slice()),
        (
            ["GET".to_owned()].as_slice(),
            ["POST".to_owned()].as_slice()
        )
    );
    assert_eq!(denied.rules[0].line, Some(7));
    assert_eq!(denied.applying, ["default/web"]);
}

#[test]
fn without_a_peer_it_is_plaintext_and_the_scope_counts() {
    assert_eq!(
        decide(POLICIES, "path: /\n").unwrap().verdict,
        Verdict::Deny
    );
    let elsewhere = "scope: {workload: {namespace: other}}\n";
    assert_eq!(decide(POLICIES, elsewhere).unwrap().reason, "no_policy");
}

#[test]
fn every_problem_of_both_texts_is_told() {
    let policies = POLICIES
        .replace("spec:", "spec:\n  rule: []")
        .replace("methods:", "method:");
    let request = "verb: GET\nscope: {trustDomain: 'A/b'}\ncertificate: {serial: 1}\n";
    let problems = explain(&policies, request).unwrap_err();
    let of = |place| {
        problems
            .iter()
            .filter(|problem| problem.place == place)
            .count()
    };
    assert_eq!(
        (of(Place::Policies), of(Place::Request)),
        (2, 3),
        "{problems:#?}"
    );
    assert!(
        problems.iter().all(|problem| problem.line.is_some()),
        "{problems:#?}"
    );
}

#[test]
fn texts_that_are_none_are_problems() {
    let long = "#".repeat(MAX_TEXT_BYTES + 1);
    for (policies, request) in [
        ("", SLEEP),
        ("kind: [", SLEEP),
        ("kind: Deployment", SLEEP),
        (long.as_str(), SLEEP),
        (POLICIES, ""),
        (POLICIES, "[]"),
        (POLICIES, "a: 1\na: 2"),
        (POLICIES, "a: 1\n---\nb: 2"),
        (POLICIES, "name: x"),
        (POLICIES, "peer: nobody"),
        (POLICIES, long.as_str()),
    ] {
        assert_eq!(
            decide(policies, request).unwrap_err().len(),
            1,
            "{request:.20}"
        );
    }
}

#[test]
fn a_certificate_is_pem_and_must_prove_an_identity() {
    let decided = decide(POLICIES, "certificate: nothing\n").unwrap();
    assert_eq!(
        (decided.verdict, decided.reason.as_str()),
        (Verdict::Deny, "not_pem")
    );
}

#[test]
fn check_compiles_policies_of_every_workload() {
    let checked = check(POLICIES);
    assert_eq!((checked.resources.len(), checked.problems.len()), (1, 0));
    let elsewhere = POLICIES
        .replace("namespace: default", "namespace: far")
        .replace("[GET]", "[]");
    let checked = check(&elsewhere);
    assert_eq!(checked.problems.len(), 1, "{checked:#?}");
    assert_eq!(checked.problems[0].resource, "AuthorizationPolicy far/web");
}

/// Field names of the answers are those that `page/types.d.ts` declares.
#[test]
fn the_types_are_those_of_the_answers() {
    let types = include_str!("../page/types.d.ts");
    let declared = |interface: &str| -> Vec<String> {
        let (_, rest) = types
            .split_once(&format!("interface {interface} {{"))
            .unwrap();
        let (body, _) = rest.split_once('}').unwrap();
        let lines = body
            .lines()
            .map(str::trim)
            .filter(|line| !line.starts_with("/**"));
        let mut names: Vec<String> = lines
            .filter_map(|line| Some(line.split_once(':')?.0.to_owned()))
            .collect();
        names.sort();
        names
    };
    let keys =
        |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    let explained = serde_json::to_value(explain(POLICIES, "peer: plaintext").unwrap()).unwrap();
    assert_eq!(keys(&explained), declared("Explained"));
    assert_eq!(keys(&explained["decision"]), declared("Decided"));
    assert_eq!(keys(&explained["rules"][0]), declared("Rule"));
    assert_eq!(
        keys(&explained["rules"][0]["failed"][0]),
        declared("Condition")
    );
    let checked = serde_json::to_value(check(&format!("{POLICIES}---\nkind: X\n"))).unwrap();
    assert_eq!(keys(&checked), declared("Checked"));
    assert_eq!(keys(&checked["resources"][0]), declared("Resource"));
    assert_eq!(keys(&checked["problems"][0]), declared("Problem"));
}
