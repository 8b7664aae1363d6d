//! AUDIT and dry-run policies, and what is told of them.

use super::*;

fn with_annotations(policies: &[(&str, &str, &str, bool)]) -> PolicySet {
    let text: String = policies
        .iter()
        .map(|(name, action, rules, dry_run)| {
            format!(
                "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n\
                 metadata: {{name: {name}, namespace: default, annotations: {{istio.io/dry-run: '{dry_run}'}}}}\n\
                 spec: {{action: {action}, rules: {rules}}}\n"
            )
        })
        .collect();
    PolicySet::compile(&yaml::policies("test", &text).unwrap(), &scope()).unwrap()
}

const GET: &str = "[{to: [{operation: {methods: [GET]}}]}]";
const ANY: &str = "[{}]";

#[test]
fn what_is_only_tried_out_changes_no_verdict() {
    let set = with_annotations(&[
        ("enforced", "ALLOW", ANY, false),
        ("audited", "AUDIT", GET, false),
        ("tried-deny", "DENY", GET, true),
        (
            "tried-allow",
            "ALLOW",
            "[{to: [{operation: {methods: [PUT]}}]}]",
            true,
        ),
    ]);
    assert!(set.has_shadow());
    let get = Request::new(&Peer::Plaintext).with_method("GET");
    assert_eq!(
        set.decide(&get).rule().map(PolicyRule::policy),
        Some("enforced")
    );
    let shadow = set.shadow(&get);
    assert_eq!(
        shadow.audit.as_ref().map(PolicyRule::policy),
        Some("audited")
    );
    let dry_run = shadow.dry_run.unwrap();
    assert_eq!(
        dry_run.deny.as_ref().map(PolicyRule::policy),
        Some("tried-deny")
    );
    assert_eq!(dry_run.allow, None);
    assert_eq!(dry_run.combined.code(), "matched_deny");
    let put = set.shadow(&Request::new(&Peer::Plaintext).with_method("PUT"));
    assert_eq!(put.audit, None);
    let dry_run = put.dry_run.unwrap();
    assert_eq!(
        dry_run.combined.rule().map(PolicyRule::policy),
        Some("enforced"),
        "the first by id of both"
    );
    assert!(!with_annotations(&[("a", "ALLOW", ANY, false)]).has_shadow());
}

/// What is enforced stays in force in the trial, and the first by id of both is reported.
#[test]
fn a_trial_is_of_all_policies_together() {
    for (enforced, tried, first) in [("a", "b", "a"), ("b", "a", "a")] {
        let set = with_annotations(&[(enforced, "DENY", GET, false), (tried, "DENY", GET, true)]);
        let dry_run = set
            .shadow(&Request::new(&Peer::Plaintext).with_method("GET"))
            .dry_run
            .unwrap();
        assert_eq!(dry_run.deny.as_ref().map(PolicyRule::policy), Some(tried));
        assert_eq!(dry_run.combined.code(), "matched_deny");
        assert_eq!(dry_run.combined.rule().map(PolicyRule::policy), Some(first));
    }
    let set = with_annotations(&[("a", "DENY", GET, false), ("b", "ALLOW", ANY, true)]);
    let dry_run = set
        .shadow(&Request::new(&Peer::Plaintext).with_method("GET"))
        .dry_run
        .unwrap();
    assert_eq!(dry_run.combined.code(), "matched_deny");
}

#[test]
fn a_tried_allow_policy_denies_the_rest_only_in_the_trial() {
    let set = with_annotations(&[("a", "ALLOW", GET, true)]);
    let post = Request::new(&Peer::Plaintext).with_method("POST");
    assert_eq!(set.decide(&post).code(), "no_policy");
    assert_eq!(
        set.shadow(&post).dry_run.unwrap().combined.code(),
        "no_allow_matched"
    );
    let nothing = with_annotations(&[("a", "ALLOW", "[]", true)]);
    assert_eq!(
        nothing.shadow(&post).dry_run.unwrap().combined.code(),
        "no_allow_matched"
    );
}

#[test]
fn a_path_rule_that_is_only_tried_out_refuses_no_path() {
    let set = with_annotations(&[("a", "DENY", "[{to: [{operation: {paths: [/a]}}]}]", true)]);
    let odd = Request::new(&Peer::Plaintext).with_path("//a");
    assert!(!set.needs().path && set.shadow_needs().path);
    assert_eq!(set.decide(&odd).code(), "no_policy");
    assert_eq!(
        set.shadow(&odd).dry_run.unwrap().combined.code(),
        "path_not_normalized"
    );
}

#[test]
fn what_only_the_shadow_looks_at_is_told_apart() {
    const SUBJECT: &str = "[{from: [{source: {requestPrincipals: [i/s]}}]}]";
    const METADATA: &str = "[{when: [{key: 'experimental.envoy.filters.a[k]', values: [v]}]}]";
    const AUDIENCE: &str = "[{when: [{key: 'request.auth.audiences', values: [v]}]}]";
    const PORTS: &str = "[{to: [{operation: {methods: [GET], ports: ['1']}}]}]";
    let claims = |set: &PolicySet| {
        let names = |path: &[Box<str>]| path.join("/");
        let enforced: Vec<_> = set.claim_paths().map(names).collect();
        let all: Vec<_> = set.shadow_claim_paths().map(names).collect();
        (enforced, all)
    };
    for (action, dry_run) in [("AUDIT", false), ("DENY", true), ("ALLOW", true)] {
        let set = with_annotations(&[
            ("a", "ALLOW", SUBJECT, false),
            ("b", "DENY", GET, false),
            ("c", action, SUBJECT, dry_run),
            ("d", action, PORTS, dry_run),
        ]);
        let needs = set.needs();
        assert!(needs.claims && needs.method && !needs.destination_port);
        let more = Needs {
            destination_port: true,
            ..Needs::default()
        };
        assert_eq!(set.shadow_needs(), more, "{action}");
        assert_eq!(set.all_needs().destination_port, set.all_needs().claims);
        let both = vec!["iss".to_owned(), "sub".to_owned()];
        assert_eq!(claims(&set), (both.clone(), both));

        let set = with_annotations(&[
            ("a", "ALLOW", SUBJECT, false),
            ("b", action, AUDIENCE, dry_run),
            ("c", action, METADATA, dry_run),
        ]);
        let more = set.shadow_needs();
        assert!(more.claims && more.metadata && !set.needs().metadata);
        let (enforced, all) = claims(&set);
        assert_eq!(enforced, ["iss", "sub"]);
        assert_eq!(all, ["aud", "iss", "sub"]);
        assert_eq!(set.metadata_keys().count(), 0);
        assert_eq!(set.shadow_metadata_keys().count(), 1);
    }
}

#[test]
fn nothing_is_tried_on_a_rejected_peer() {
    let set = with_annotations(&[("a", "DENY", ANY, true), ("b", "AUDIT", ANY, false)]);
    let peer = Peer::Unidentified(PeerFault::CertificateMissing);
    let shadow = set.shadow(&Request::new(&peer));
    assert_eq!(shadow.audit, None);
    let dry_run = shadow.dry_run.unwrap();
    assert_eq!(
        (dry_run.deny, dry_run.combined.code()),
        (None, "certificate_missing")
    );
}

#[test]
fn strict_mutual_tls_comes_before_every_rule() {
    let text = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n\
                metadata: {name: a, namespace: default}\nspec: {mtls: {mode: STRICT}}\n";
    let mut files = yaml::PolicyFiles::new();
    files.add("test", text).unwrap();
    let set = PolicySet::compile_resources(files.resources(), &scope()).unwrap();
    assert_eq!(
        set.decide(&Request::new(&Peer::Plaintext)).code(),
        "mtls_required"
    );
    assert_eq!(
        set.decide(&Request::new(&workload("spiffe://t/x"))).code(),
        "no_policy"
    );
}

#[test]
fn an_explanation_is_an_object() {
    let set = with_annotations(&[
        (
            "a",
            "ALLOW",
            "[{when: [{key: 'request.headers[x-role]', values: [admin]}]}]",
            false,
        ),
        ("b", "DENY", GET, true),
    ]);
    let headers = [("x-role", "secret")];
    let request = Request::new(&Peer::Plaintext)
        .with_method("GET")
        .with_headers(&headers);
    let hide = |attribute: &str| !attribute.starts_with("request.headers[");
    let explanation = set.explain_showing(&request, &hide);
    let value = serde_json::to_value(&explanation).unwrap();
    let rule = |policy: &str| {
        let id = format!("ns[default]-policy[{policy}]-rule[0]");
        serde_json::json!({"id": id, "namespace": "default", "policy": policy, "rule": 0})
    };
    let failed = serde_json::json!([{
        "path": "spec.rules[0].when[0].values", "attribute": "request.headers[x-role]", "seen": ["[redacted]"],
    }]);
    let expected = serde_json::json!({
        "decision": {
            "allowed": false, "code": "no_allow_matched", "message": "denied: no ALLOW rule matched", "rule": null,
        },
        "shadow": {"audit": null, "dryRun": {"deny": rule("b"), "allow": null, "combined": {
            "allowed": false, "code": "matched_deny",
            "message": "denied: matched DENY rule ns[default]-policy[b]-rule[0]", "rule": rule("b"),
        }}},
        "rules": [
            {"rule": rule("a"), "action": "ALLOW", "dryRun": false, "matched": false, "failed": failed},
            {"rule": rule("b"), "action": "DENY", "dryRun": true, "matched": true, "failed": []},
        ],
        "denyPolicies": [],
        "allowPolicies": ["default/a"],
    });
    assert_eq!(value, expected);
    assert!(
        set.explain(&request)
            .to_string()
            .contains("fails on [\"secret\"]")
    );
}
