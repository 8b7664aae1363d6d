mod cover_rules;
mod values;

use serde_json::json;

use super::*;
use crate::yaml;

/// Lints policies given as (name, what follows `spec:`), all of namespace `default` unless the name has another.
fn findings(policies: &[(&str, &str)], context: &LintContext) -> Vec<Finding> {
    lint(&resources(policies), context)
}

fn resources(policies: &[(&str, &str)]) -> Resources {
    let mut resources = Resources::default();
    // A file may have no more than so many documents.
    for policies in policies.chunks(1000) {
        let text: String = policies
            .iter()
            .map(|(name, spec)| {
                let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
                format!(
                    "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n\
                     metadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
                )
            })
            .collect();
        resources
            .authorization
            .extend(yaml::policies("test", &text).unwrap());
    }
    resources
}

/// Codes, policies and paths.
fn codes(policies: &[(&str, &str)]) -> Vec<String> {
    codes_in(policies, &LintContext::default())
}

fn codes_in(policies: &[(&str, &str)], context: &LintContext) -> Vec<String> {
    let short = |finding: &Finding| {
        format!(
            "{} {} {}",
            finding.code, finding.resource.name, finding.path
        )
    };
    findings(policies, context).iter().map(short).collect()
}

fn rule(action: &str, rule: &str) -> String {
    format!("{{action: {action}, rules: [{rule}]}}")
}

/// What one ALLOW rule gives.
fn allow(text: &str) -> Vec<String> {
    codes(&[("a", &rule("ALLOW", text))])
}

fn deny(text: &str) -> Vec<String> {
    codes(&[("a", &rule("DENY", text))])
}

const NONE: [&str; 0] = [];

#[test]
fn ordinary_policies_have_no_findings() {
    let first = rule(
        "ALLOW",
        "{from: [{source: {principals: [cluster.local/ns/a/sa/b]}}], \
         to: [{operation: {methods: [GET], paths: [/a, /b/*], hosts: ['h', 'h:*'], ports: ['80']}}], \
         when: [{key: 'request.headers[x]', values: [v]}]}",
    );
    let second = rule(
        "DENY",
        "{from: [{source: {namespaces: [c], notPrincipals: [cluster.local/ns/c/sa/d]}}]}",
    );
    assert_eq!(
        codes(&[
            ("a", &first),
            ("b", &second),
            ("c", &rule("ALLOW", "{to: [{operation: {paths: [/c]}}]}"))
        ]),
        NONE
    );
}

#[test]
fn finds_values_that_are_excluded_at_once() {
    assert_eq!(
        allow("{to: [{operation: {paths: [/a/b, /a/c*], notPaths: [/a/*]}}]}"),
        ["never-matches a spec.rules[0]"]
    );
    assert_eq!(
        allow("{to: [{operation: {paths: [/a/b, /c], notPaths: [/a/*]}}]}"),
        NONE
    );
    assert_eq!(
        allow("{from: [{source: {ipBlocks: [10.1.0.0/16], notIpBlocks: [10.0.0.0/8]}}]}"),
        ["never-matches a spec.rules[0]"]
    );
    assert_eq!(
        allow("{when: [{key: 'request.headers[x]', values: [v], notValues: [v]}]}"),
        ["never-matches a spec.rules[0]"]
    );
}

#[test]
fn finds_when_and_from_that_have_nothing_in_common() {
    let one = "{from: [{source: {principals: [t/ns/a/sa/b, t/x*]}}], when: [{key: source.principal, values: [t/ns/a/sa/c]}]}";
    assert_eq!(allow(one), ["never-matches a spec.rules[0]"]);
    let namespaces = "{from: [{source: {principals: [t/ns/a/sa/b], namespaces: [c]}}]}";
    assert_eq!(allow(namespaces), ["never-matches a spec.rules[0]"]);
    let accounts = "{from: [{source: {principals: [t/ns/default/sa/b]}}], when: [{key: source.serviceAccount, values: [b]}]}";
    assert_eq!(allow(accounts), NONE);
    // A header may have both values at once.
    let header = "{when: [{key: 'request.headers[x]', values: [a]}, {key: 'request.headers[x]', values: [b]}]}";
    assert_eq!(allow(header), NONE);
    let might_overlap = "{to: [{operation: {paths: ['/a*']}}], when: [{key: source.principal, values: ['*a']}, {key: source.principal, values: ['b*']}]}";
    assert_eq!(allow(might_overlap), NONE);
}

#[test]
fn finds_one_alternative_that_never_matches() {
    let text = "{from: [{source: {principals: [t/a]}}, {source: {ipBlocks: [10.0.0.1], notIpBlocks: [10.0.0.0/8]}}]}";
    assert_eq!(
        allow(text),
        ["never-matches a spec.rules[0].from[1].source"]
    );
}

#[test]
fn finds_unknown_trust_domains() {
    let context = LintContext {
        trust_domains: ["mesh", "partner"]
            .map(|name| TrustDomain::new(name).unwrap())
            .into(),
        ..LintContext::default()
    };
    let principals = |list: &str| {
        rule(
            "ALLOW",
            &format!("{{from: [{{source: {{principals: [{list}]}}}}]}}"),
        )
    };
    assert_eq!(
        codes_in(
            &[(
                "a",
                &principals("mesh/x, partner/x, cluster.local/x, meshh/x, 'm*'")
            )],
            &context
        ),
        ["unknown-trust-domain a spec.rules[0].from[0].source.principals[3]"]
    );
    let domains = rule("ALLOW", "{from: [{source: {trustDomains: [mesh, other]}}]}");
    assert_eq!(
        codes_in(&[("a", &domains)], &context),
        ["unknown-trust-domain a spec.rules[0].from[0].source.trustDomains[1]"]
    );
    assert_eq!(
        codes(&[("a", &domains)]),
        NONE,
        "nothing is unknown where nothing is known"
    );
}

#[test]
fn finds_namespaces_of_any_trust_domain() {
    let text =
        "{from: [{source: {namespaces: [a]}}, {source: {namespaces: [b], trustDomains: [mesh]}}]}";
    let domains = ["mesh", "partner"].map(|name| TrustDomain::new(name).unwrap());
    let context = LintContext {
        trust_domains: domains.into(),
        ..LintContext::default()
    };
    assert_eq!(
        codes_in(&[("a", &rule("ALLOW", text))], &context),
        ["any-trust-domain a spec.rules[0].from[0].source.namespaces"]
    );
    assert_eq!(codes_in(&[("a", &rule("DENY", text))], &context), NONE);
}

#[test]
fn finds_rules_for_those_without_identity() {
    let at = "a spec.rules[0].from[0].source.notPrincipals";
    let nobody = "{from: [{source: {notPrincipals: ['*']}}]}";
    assert_eq!(deny(nobody), [format!("denies-without-identity {at}")]);
    let others = "{from: [{source: {notPrincipals: [t/ns/a/sa/b]}}]}";
    assert_eq!(deny(others), NONE);
    assert_eq!(allow(others), [format!("allows-without-identity {at}")]);
    for demanding in [
        "{from: [{source: {notPrincipals: [t/a], namespaces: [b]}}]}",
        "{from: [{source: {notPrincipals: [t/a], ipBlocks: [10.0.0.1]}}]}",
        "{from: [{source: {notPrincipals: [t/a]}}], when: [{key: source.principal, values: ['*']}]}",
        "{from: [{source: {namespaces: [b]}}], when: [{key: source.principal, notValues: [t/a]}]}",
    ] {
        assert_eq!(allow(demanding), NONE, "{demanding}");
    }
}

#[test]
fn finds_tokens_that_nothing_validates() {
    let spec = rule("ALLOW", "{from: [{source: {requestPrincipals: [i/s]}}]}");
    let mut resources = resources(&[("a", &spec)]);
    let found = lint(&resources, &LintContext::default());
    assert_eq!(
        found.iter().map(|finding| finding.code).collect::<Vec<_>>(),
        [Code::NoRequestAuthentication]
    );
    let rules = json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "RequestAuthentication",
        "metadata": {"name": "r", "namespace": "default"},
        "spec": {"jwtRules": [{"issuer": "i", "jwksUri": "https://i/keys"}]},
    });
    resources
        .request_authentication
        .push(serde_json::from_value(rules).unwrap());
    assert_eq!(lint(&resources, &LintContext::default()), []);
}

#[test]
fn finds_policies_that_allow_nothing() {
    assert_eq!(
        codes(&[("a", "{action: ALLOW}")]),
        ["allows-nothing a spec.rules"]
    );
}

#[test]
fn finds_peer_authentication_that_is_ignored() {
    let resource = |namespace: &str, name: &str, selector: Option<&str>| {
        let mut spec = json!({"mtls": {"mode": "STRICT"}});
        if let Some(app) = selector {
            spec["selector"] = json!({"matchLabels": {"app": app}});
        }
        let metadata = json!({"name": name, "namespace": namespace});
        let kind = "PeerAuthentication";
        let value = json!({"apiVersion": "security.istio.io/v1", "kind": kind, "metadata": metadata, "spec": spec});
        serde_json::from_value(value).unwrap()
    };
    let peer_authentication = vec![
        resource("a", "one", None),
        resource("a", "two", Some("x")),
        resource("b", "three", None),
        resource("a", "four", None),
        resource("istio-system", "five", Some("x")),
    ];
    let resources = Resources {
        peer_authentication,
        ..Resources::default()
    };
    let found: Vec<_> = lint(&resources, &LintContext::default())
        .iter()
        .map(|finding| format!("{} {} {}", finding.code, finding.resource, finding.path))
        .collect();
    assert_eq!(
        found,
        [
            "ignored-peer-authentication PeerAuthentication a/four metadata",
            "ignored-peer-authentication PeerAuthentication istio-system/five spec.selector",
        ]
    );
}

#[test]
fn codes_are_stable_and_different() {
    let names: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    let different: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(different.len(), names.len());
    assert!(names.iter().all(|name| {
        name.bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
    }));
}

#[test]
fn a_finding_is_an_object_and_a_line() {
    let found = findings(&[("a", "{action: ALLOW}")], &LintContext::default());
    let value = serde_json::to_value(&found[0]).unwrap();
    assert_eq!(
        value,
        json!({
            "resource": {"kind": "AuthorizationPolicy", "namespace": "default", "name": "a"},
            "path": "spec.rules",
            "code": "allows-nothing",
            "severity": "note",
            "message": found[0].message,
            "help": found[0].help,
        })
    );
    let line = found[0].to_string();
    assert!(
        line.starts_with(
            "note[allows-nothing]: AuthorizationPolicy default/a: spec.rules: an ALLOW policy"
        ),
        "{line}"
    );
}

/// What does not compile is linted without harm.
#[test]
fn resources_that_do_not_compile_are_no_trouble() {
    let text = "{from: [{}, {source: {}}], to: [{}], when: [{key: '', values: []}, {key: 'x[', values: ['', '*']}]}";
    let found = codes(&[("a", &rule("ALLOW", text)), ("b", "{rules: [{from: []}]}")]);
    assert!(found.len() < 10, "{found:?}");
}
