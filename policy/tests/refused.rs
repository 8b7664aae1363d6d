//! Sources, operations and conditions that do not compile, with the path and the problem that is reported.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "refused/compile.rs"]
mod compile;
#[path = "refused/keys.rs"]
mod keys;

use policy::{Problem, limits};
use serde_json::{Value, json};

use compile::spec_errors;

/// The one error of a rule, its path without `spec.rules[0].`.
fn rule_error(rule: Value) -> (String, Problem) {
    let mut errors = spec_errors(json!({"rules": [rule]}));
    assert_eq!(errors.len(), 1, "{errors:?}");
    let (path, problem) = errors.remove(0);
    (
        path.strip_prefix("spec.rules[0].")
            .unwrap_or(&path)
            .to_owned(),
        problem,
    )
}

fn source_error(source: Value) -> (String, Problem) {
    rule_error(json!({"from": [{"source": source}]}))
}

fn operation_error(operation: Value) -> (String, Problem) {
    rule_error(json!({"to": [{"operation": operation}]}))
}

/// Every field and key there is, with values of each form it takes.
#[test]
fn everything_of_the_language_compiles() {
    let texts = json!(["a", "a*", "*a", "*"]);
    let blocks = json!(["10.0.0.1", "10.0.0.0/8", "2001:db8::1", "2001:db8::/32"]);
    let mut rules = vec![json!({})];
    for (field, values) in [
        (
            "principals",
            json!(["td/ns/a/sa/b", "td/*", "*/sa/b", "*", "td/any/path"]),
        ),
        (
            "requestPrincipals",
            json!(["iss/sub", "iss/*", "*/sub", "*", "https://a.example/*"]),
        ),
        ("namespaces", json!(["a", "a*", "*a", "a*b", "*"])),
        ("serviceAccounts", json!(["a", "ns/a"])),
        ("trustDomains", texts.clone()),
        ("ipBlocks", blocks.clone()),
        ("remoteIpBlocks", blocks.clone()),
    ] {
        for field in [field.to_owned(), negative(field)] {
            rules.push(json!({"from": [{"source": {(field): values.clone()}}]}));
        }
    }
    for (field, values) in [
        (
            "hosts",
            json!(["a.example", "a.example:80", "*.example", "a.*", "*"]),
        ),
        ("ports", json!(["0", "80", "65535"])),
        ("methods", json!(["GET", "P*", "*T", "*"])),
        (
            "paths",
            json!(["/a", "/a*", "*/a", "*", "/a/{*}", "/{**}/b", "/a/{b}"]),
        ),
    ] {
        for field in [field.to_owned(), negative(field)] {
            rules.push(json!({"to": [{"operation": {(field): values.clone()}}]}));
        }
    }
    for (key, values) in [
        ("request.headers[X-Token]", texts.clone()),
        ("request.headers[:authority]", texts.clone()),
        ("source.ip", blocks.clone()),
        ("remote.ip", blocks.clone()),
        ("destination.ip", blocks),
        ("source.namespace", texts.clone()),
        ("source.principal", texts.clone()),
        ("source.serviceAccount", json!(["a", "ns/a"])),
        ("source.trustDomain", texts.clone()),
        ("request.auth.principal", texts.clone()),
        ("request.auth.audiences", texts.clone()),
        ("request.auth.presenter", texts.clone()),
        ("request.auth.claims[iss]", texts.clone()),
        (
            "request.auth.claims[a][b][https://c.example/d]",
            texts.clone(),
        ),
        ("destination.port", json!(["80"])),
        ("connection.sni", texts.clone()),
        (
            "experimental.envoy.filters.network.mysql_proxy[db.table]",
            json!(["[a]", "a", "[*]"]),
        ),
        ("source.certificate.issuer", texts),
        ("source.certificate.serial", json!(["0A:1B", "a1b", "*"])),
        (
            "source.certificate.sha256",
            json!(["ab".repeat(32), vec!["AB"; 32].join(":")]),
        ),
        ("source.certificate.spki", json!(["ab".repeat(32)])),
        (
            "source.certificate.keyType",
            json!(["RSA", "EC", "Ed25519", "other"]),
        ),
        ("source.certificate.keyBits", json!(["256", "2048+"])),
        (
            "source.certificate.eku",
            json!(["clientAuth", "serverAuth", "1.2.3", "*"]),
        ),
        (
            "source.certificate.policyOid",
            json!(["2.23.140.1.2.1", "2.23.*", "*"]),
        ),
        ("source.certificate.notAfterWithin", json!(["30m"])),
        ("source.certificate.ageLessThan", json!(["7d"])),
    ] {
        rules.push(json!({"when": [{"key": key, "values": values.clone()}]}));
        rules.push(json!({"when": [{"key": key, "notValues": values}]}));
    }
    for action in ["ALLOW", "DENY", "AUDIT"] {
        assert_eq!(
            spec_errors(json!({"action": action, "rules": rules.clone()})),
            []
        );
    }
}

/// `ipBlocks` → `notIpBlocks`.
fn negative(field: &str) -> String {
    let (first, rest) = field.split_at(1);
    format!("not{}{rest}", first.to_uppercase())
}

#[test]
fn trust_domains_have_one_star_at_an_end() {
    for value in ["a/b", "a*b", "*a*", "**", "td/"] {
        let (path, problem) = source_error(json!({"trustDomains": ["td", value]}));
        assert_eq!(path, "from[0].source.trustDomains[1]", "{value}");
        assert!(
            matches!(problem, Problem::Invalid { .. }),
            "{value}: {problem:?}"
        );
        let when = json!({"when": [{"key": "source.trustDomain", "notValues": [value]}]});
        assert_eq!(rule_error(when).0, "when[0].notValues[0]", "{value}");
    }
}

#[test]
fn unknown_keys_are_refused() {
    for key in [
        "source.user",
        "destination.labels[app]",
        "destination.name",
        "destination.namespace",
        "destination.user",
        "request.headers",
        "request.header[x]",
        "request.auth",
        "request.auth.claims",
        "request.auth.claim[x]",
        "request.auth.issuer",
        "experimental.envoy.filters.a",
        "experimental.envoy.filters.[a]",
        "experimental.filters.a[b]",
        "source.certificate",
        "source.certificate.",
        "source.certificate.subject",
        "source.certificate.issuer[x]",
        "source.trustdomain",
        "Source.principal",
    ] {
        let error = rule_error(json!({"when": [{"key": key, "notValues": ["a"]}]}));
        let unknown = Problem::UnknownKey {
            key: key.to_owned(),
        };
        assert_eq!(error, ("when[0].key".to_owned(), unknown));
    }
}

#[test]
fn malformed_header_keys_are_refused() {
    for key in [
        "request.headers[]",
        "request.headers[x",
        "request.headers[a b]",
        "request.headers[:]",
    ] {
        let (path, problem) = rule_error(json!({"when": [{"key": key, "values": ["a"]}]}));
        assert_eq!(path, "when[0].key", "{key}");
        assert!(
            matches!(problem, Problem::Invalid { .. }),
            "{key}: {problem:?}"
        );
    }
}

#[test]
fn a_condition_needs_a_key_and_values() {
    let error = rule_error(json!({"when": [{"key": "source.ip"}]}));
    assert_eq!(error.0, "when[0]");
    assert!(matches!(error.1, Problem::Missing { .. }));
    let error = rule_error(json!({"when": [{"key": "", "values": ["a"]}]}));
    assert_eq!(error.0, "when[0].key");
    assert!(matches!(error.1, Problem::Missing { .. }));
    let error = rule_error(json!({"when": [{"key": "source.ip", "values": []}]}));
    assert_eq!(error, ("when[0].values".to_owned(), Problem::Empty));
}

#[test]
fn a_value_of_a_condition_is_checked_like_that_of_its_field() {
    for (key, value) in [("source.ip", "x"), ("destination.ip", "1.2.3.4/33")] {
        let error = rule_error(json!({"when": [{"key": key, "notValues": ["10.0.0.1", value]}]}));
        assert_eq!(error.0, "when[0].notValues[1]", "{key}");
        assert!(matches!(error.1, Problem::BadAddress { .. }), "{key}");
    }
    for (key, value) in [("destination.port", "http"), ("source.serviceAccount", "*")] {
        let error = rule_error(json!({"when": [{"key": key, "values": [value]}]}));
        assert_eq!(error.0, "when[0].values[0]", "{key}");
        assert!(matches!(error.1, Problem::Invalid { .. }), "{key}");
    }
}

#[test]
fn empty_lists_and_empty_values_are_refused() {
    for (rule, path) in [
        (json!({"from": []}), "from"),
        (json!({"to": []}), "to"),
        (json!({"when": []}), "when"),
        (json!({"from": [{"source": {}}]}), "from[0].source"),
        (json!({"to": [{"operation": {}}]}), "to[0].operation"),
        (
            json!({"from": [{"source": {"principals": []}}]}),
            "from[0].source.principals",
        ),
        (
            json!({"to": [{"operation": {"notPaths": []}}]}),
            "to[0].operation.notPaths",
        ),
        (
            json!({"to": [{"operation": {"hosts": ["a", ""]}}]}),
            "to[0].operation.hosts[1]",
        ),
    ] {
        assert_eq!(rule_error(rule), (path.to_owned(), Problem::Empty));
    }
    for (rule, path) in [
        (json!({"from": [{}]}), "from[0].source"),
        (json!({"to": [{}]}), "to[0].operation"),
    ] {
        let (found, problem) = rule_error(rule);
        assert_eq!(found, path);
        assert!(matches!(problem, Problem::Missing { .. }), "{problem:?}");
    }
}

#[test]
fn values_outside_their_grammar_are_refused() {
    for port in ["65536", "-1", "+80", "http", " 80", "0x50"] {
        let (path, problem) = operation_error(json!({"ports": ["80", port]}));
        assert_eq!(path, "to[0].operation.ports[1]", "{port}");
        assert!(matches!(problem, Problem::Invalid { .. }), "{port}");
    }
    for block in [
        "10.0.0",
        "10.0.0.0/33",
        "::/129",
        "fe80::1%eth0",
        "10.0.0.0/8/8",
        "10.0.0.0/",
    ] {
        let (path, problem) = source_error(json!({"notIpBlocks": [block]}));
        assert_eq!(path, "from[0].source.notIpBlocks[0]", "{block}");
        assert!(matches!(problem, Problem::BadAddress { .. }), "{block}");
    }
    for account in ["a/b/c", "*", "a/*", "/a", "a/"] {
        let (path, problem) = source_error(json!({"serviceAccounts": [account]}));
        assert_eq!(path, "from[0].source.serviceAccounts[0]", "{account}");
        assert!(matches!(problem, Problem::Invalid { .. }), "{account}");
    }
    for template in [
        "/a/{*}b",
        "/{**}/{*}",
        "/{*}/{name}",
        "/{*}/*",
        "{*}",
        "/{*}//a",
    ] {
        for field in ["paths", "notPaths"] {
            let (path, problem) = operation_error(json!({(field): ["/x", template]}));
            assert_eq!(path, format!("to[0].operation.{field}[1]"), "{template}");
            assert!(
                matches!(problem, Problem::Invalid { .. }),
                "{template}: {problem:?}"
            );
        }
    }
}

#[test]
fn service_accounts_stand_alone() {
    for other in ["principals", "notPrincipals", "namespaces", "notNamespaces"] {
        for field in ["serviceAccounts", "notServiceAccounts"] {
            let (path, problem) = source_error(json!({ (field): ["a"], (other): ["b"] }));
            assert_eq!(path, format!("from[0].source.{field}"));
            assert!(
                matches!(problem, Problem::Conflict { .. }),
                "{field} {other}"
            );
        }
    }
}

#[test]
fn limits_hold_and_what_is_at_them_passes() {
    let rules = |count| spec_errors(json!({"rules": vec![json!({}); count]}));
    assert_eq!(rules(limits::MAX_RULES), []);
    assert_eq!(rules(limits::MAX_RULES + 1)[0].0, "spec.rules");
    let accounts = |count| json!({"from": [{"source": {"serviceAccounts": vec!["a"; count]}}]});
    assert_eq!(
        spec_errors(json!({"rules": [accounts(limits::MAX_SERVICE_ACCOUNTS)]})),
        []
    );
    let (path, problem) = rule_error(accounts(limits::MAX_SERVICE_ACCOUNTS + 1));
    assert_eq!(path, "from[0].source.serviceAccounts");
    assert!(matches!(
        problem,
        Problem::TooMany {
            found: 17,
            limit: 16,
            ..
        }
    ));
    let (path, _) = source_error(json!({"serviceAccounts": ["a".repeat(321)]}));
    assert_eq!(path, "from[0].source.serviceAccounts[0]");
    let from = vec![json!({"source": {"principals": ["*"]}}); limits::MAX_SOURCES + 1];
    assert_eq!(rule_error(json!({"from": from})).0, "from");
    let values = vec!["a"; limits::MAX_VALUES + 1];
    assert_eq!(
        operation_error(json!({"paths": values})).0,
        "to[0].operation.paths"
    );
    let (path, _) = operation_error(json!({"paths": ["a".repeat(limits::MAX_VALUE_BYTES + 1)]}));
    assert_eq!(path, "to[0].operation.paths[0]");
}
