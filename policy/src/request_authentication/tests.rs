#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use serde_json::{Value, json};

use super::{RequestAuthentication, rules, validate};
use crate::{Scope, json};

const KEYS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"1","x":"eA","y":"eQ"}]}"#;

fn resource(namespace: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "RequestAuthentication",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    })
}

fn rule(issuer: &str) -> Value {
    json!({"issuer": issuer, "jwks": KEYS})
}

fn read(resources: &[Value]) -> Vec<RequestAuthentication> {
    let read = |resource| json::shape(resource).unwrap();
    resources.iter().map(read).collect()
}

fn scope() -> Scope {
    let mut scope = Scope::new("cluster.local".parse().unwrap(), "foo");
    scope
        .workload
        .labels
        .insert("app".to_owned(), "httpbin".to_owned());
    scope
}

fn issuers(resources: &[Value]) -> Vec<String> {
    let rules = rules(&read(resources), &scope()).unwrap();
    rules.into_iter().map(|rule| rule.issuer).collect()
}

#[test]
fn the_rules_in_scope_by_issuer() {
    let labels = |app: &str| json!({"matchLabels": {"app": app}});
    let found = issuers(&[
        resource("foo", "a", json!({"jwtRules": [rule("z"), rule("b")]})),
        resource(
            "foo",
            "b",
            json!({"selector": labels("sleep"), "jwtRules": [rule("other-workload")]}),
        ),
        resource("bar", "c", json!({"jwtRules": [rule("other-namespace")]})),
        // Unlike PeerAuthentication, labels in the root namespace select across the mesh.
        resource(
            "istio-system",
            "d",
            json!({"selector": labels("httpbin"), "jwtRules": [rule("a")]}),
        ),
        resource("istio-system", "e", json!({})),
    ]);
    assert_eq!(found, ["a", "b", "z"]);
    assert_eq!(issuers(&[]), Vec::<String>::new());
}

#[test]
fn takes_every_field() {
    let all = json!({"jwtRules": [{
        "issuer": "https://issuer.example",
        "audiences": ["books", "films"],
        "jwks": KEYS,
        "fromHeaders": [{"name": "x-token", "prefix": "Token "}, {"name": "Authorization"}],
        "fromParams": ["token"],
        "fromCookies": ["session"],
        "outputPayloadToHeader": "x-payload",
        "forwardOriginalToken": true,
        "outputClaimToHeaders": [{"header": "x-group", "claim": "nested.group"}],
        "timeout": "1.5s",
        "spaceDelimitedClaims": ["roles"],
        "presence": "OPTIONAL",
    }]});
    let resource = resource("foo", "all", all);
    let read = read(std::slice::from_ref(&resource));
    assert_eq!(read[0].validate(), []);
    assert_eq!(
        serde_json::to_value(&read[0]).unwrap(),
        resource,
        "it is written as it was read"
    );
    let snake = json!({"jwtRules": [{"issuer": "i", "jwks_uri": "https://i.example/keys"}]});
    let found = json::shape::<RequestAuthentication>(&self::resource("foo", "s", snake)).unwrap();
    assert_eq!(found.validate(), []);
}

#[test]
fn refuses_each_bad_field_with_its_path() {
    let with = |field: &str, value: Value| {
        let mut rule = rule("i");
        rule[field] = value;
        rule
    };
    let keys = |keys: Value| with("jwks", json!(keys.to_string()));
    let uri = |uri: &str| json!({"issuer": "i", "jwksUri": uri});
    let many = vec!["a"; 65];
    let long = "a".repeat(2_049);
    let cases = [
        (json!({"jwks": KEYS}), "issuer"),
        (with("issuer", json!("")), "issuer"),
        (with("issuer", json!(long)), "issuer"),
        (json!({"issuer": "i"}), "jwks"),
        (with("jwksUri", json!("https://i.example")), "jwks"),
        (with("jwks", json!("")), "jwks"),
        (with("jwks", json!("{}")), "jwks"),
        (with("jwks", json!("{\"keys\":[]}")), "jwks"),
        (with("jwks", json!("{\"keys\":[{}],\"keys\":[]}")), "jwks"),
        (with("jwks", json!("k".repeat(131_073))), "jwks"),
        (
            keys(json!({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]})),
            "jwks",
        ),
        (
            keys(json!({"keys": [{"kty": "RSA", "n": "bg", "e": "AQAB", "d": "ZA"}]})),
            "jwks",
        ),
        (keys(json!({"keys": [{"kid": "1"}]})), "jwks"),
        (uri(""), "jwksUri"),
        (uri("ftp://i.example/keys"), "jwksUri"),
        (uri("https:///keys"), "jwksUri"),
        (uri("https://user:secret@i.example/keys"), "jwksUri"),
        (uri("https://i.example/ke ys"), "jwksUri"),
        (uri("i.example/keys"), "jwksUri"),
        (with("audiences", json!([""])), "audiences[0]"),
        (with("fromParams", json!(["a", ""])), "fromParams[1]"),
        (with("fromCookies", json!([""])), "fromCookies[0]"),
        (with("fromCookies", json!(many)), "fromCookies"),
        (
            with("spaceDelimitedClaims", json!([""])),
            "spaceDelimitedClaims[0]",
        ),
        (
            with("fromHeaders", json!([{"name": ""}])),
            "fromHeaders[0].name",
        ),
        (
            with("fromHeaders", json!([{"name": ":path"}])),
            "fromHeaders[0].name",
        ),
        (
            with("fromHeaders", json!([{"name": "a", "prefix": "a\nb"}])),
            "fromHeaders[0].prefix",
        ),
        (
            with(
                "outputClaimToHeaders",
                json!([{"header": "x y", "claim": "c"}]),
            ),
            "outputClaimToHeaders[0].header",
        ),
        (
            with("outputClaimToHeaders", json!([{"header": "x"}])),
            "outputClaimToHeaders[0].claim",
        ),
        (
            with("outputPayloadToHeader", json!("")),
            "outputPayloadToHeader",
        ),
        (with("timeout", json!("0s")), "timeout"),
        (with("timeout", json!("-1s")), "timeout"),
        (with("timeout", json!("11m")), "timeout"),
        (with("timeout", json!("5")), "timeout"),
        (with("timeout", json!("1.s")), "timeout"),
        (with("timeout", json!("99999999999999999999s")), "timeout"),
        (with("presence", json!("REQUIRED")), "presence"),
    ];
    for (rule, field) in cases {
        let resources = read(&[resource("foo", "r", json!({"jwtRules": [rule]}))]);
        let errors = rules(&resources, &scope()).unwrap_err();
        assert_eq!(
            errors[0].path,
            format!("spec.jwtRules[0].{field}"),
            "{errors:?}"
        );
        assert_eq!(
            (errors[0].kind, errors[0].policy.as_str()),
            ("RequestAuthentication", "foo/r")
        );
        assert!(
            !errors[0].to_string().contains("c2VjcmV0"),
            "a secret in {}",
            errors[0]
        );
    }
}

#[test]
fn targets_are_checked_and_a_sidecar_ignores_what_has_them() {
    let with = |spec: Value| resource("foo", "t", spec);
    let paths = |spec: Value| -> Vec<String> {
        let errors = read(&[with(spec)])[0].validate();
        errors.into_iter().map(|error| error.path).collect()
    };
    let service = json!({"kind": "Service", "name": "s"});
    assert_eq!(
        paths(json!({"targetRefs": [service]})),
        Vec::<String>::new()
    );
    assert_eq!(
        paths(json!({"targetRefs": [{"kind": "Pod", "name": "", "namespace": "n"}]})),
        ["name", "namespace", "kind"].map(|field| format!("spec.targetRefs[0].{field}"))
    );
    assert_eq!(paths(json!({"targetRefs": []})), ["spec.targetRefs"]);
    assert_eq!(
        paths(json!({"selector": {}, "targetRefs": [service]})),
        ["spec.targetRefs"]
    );
    assert_eq!(
        paths(json!({"targetRef": service, "targetRefs": [service]})),
        ["spec.targetRefs"]
    );
    assert_eq!(
        paths(json!({"targetRefs": vec![service.clone(); 17]})),
        ["spec.targetRefs"]
    );

    let named = with(json!({"targetRefs": [service], "jwtRules": [rule("named")]}));
    assert_eq!(issuers(std::slice::from_ref(&named)), Vec::<String>::new());
    let mut waypoint = scope();
    waypoint.kind = crate::scope::WorkloadKind::Waypoint;
    let target = json!({"kind": "Service", "name": "s", "namespace": "foo"});
    waypoint.targets = vec![serde_json::from_value(target).unwrap()];
    let all = read(&[
        named,
        resource("foo", "all", json!({"jwtRules": [rule("all")]})),
    ]);
    let found = rules(&all, &waypoint).unwrap();
    assert_eq!((found.len(), found[0].issuer.as_str()), (1, "named"));
}

#[test]
fn more_rules_than_the_limit_are_refused() {
    let many = vec![rule("i"); validate::MAX_RULES + 1];
    let errors = read(&[resource("foo", "m", json!({"jwtRules": many}))])[0].validate();
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].path, "spec.jwtRules");
}

#[test]
fn unknown_fields_and_nulls_are_refused_where_they_are() {
    let cases = [
        (json!({"jwtRules": null}), "spec.jwtRules"),
        (json!({"jwtRules": [null]}), "spec.jwtRules[0]"),
        (
            json!({"jwtRules": [{"issuer": null}]}),
            "spec.jwtRules[0].issuer",
        ),
        (
            json!({"jwtRules": [{"audience": []}]}),
            "spec.jwtRules[0].audience",
        ),
        (
            json!({"jwtRules": [{"fromHeaders": [{"nam": "a"}]}]}),
            "spec.jwtRules[0].fromHeaders[0].nam",
        ),
        (
            json!({"jwtRules": [{"presence": "MAYBE"}]}),
            "spec.jwtRules[0].presence",
        ),
        (json!({"selector": null}), "spec.selector"),
    ];
    for (spec, path) in cases {
        let error = json::shape::<RequestAuthentication>(&resource("foo", "r", spec)).unwrap_err();
        assert_eq!(error.path, path, "{error}");
    }
}

#[test]
fn durations_in_each_unit() {
    for (text, expected) in [
        ("5s", Some(5_000)),
        ("1.5s", Some(1_500)),
        ("0.001s", Some(1)),
        ("500ms", Some(500)),
        ("1m", Some(60_000)),
        ("1.5m", None),
        ("1h", None),
        ("s", None),
        ("", None),
        ("1m30s", None),
        ("1.2.3s", None),
    ] {
        assert_eq!(validate::milliseconds(text), expected, "{text}");
    }
}

#[test]
fn addresses_of_keys() {
    for (uri, expected) in [
        ("https://i.example/keys?a=b", Some((true, "i.example"))),
        ("http://127.0.0.1:8080", Some((false, "127.0.0.1:8080"))),
        ("https://[::1]:443/keys", Some((true, "[::1]:443"))),
        ("HTTPS://i.example", None),
        ("https://", None),
        ("https://a%00b/", None),
    ] {
        assert_eq!(validate::jwks_address(uri), expected, "{uri}");
    }
}
