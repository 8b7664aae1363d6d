//! Conditions whose keys or values have a grammar of their own.

use policy::{Problem, limits};
use serde_json::json;

use super::rule_error;

#[test]
fn certificate_attributes_have_their_own_grammar() {
    for (key, value) in [
        ("serial", "xyz"),
        ("serial", "0x0a"),
        ("serial", "0a*"),
        ("sha256", "ab"),
        ("sha256", "*"),
        ("spki", "zz"),
        ("keyType", "rsa"),
        ("keyType", "DSA"),
        ("keyBits", "many"),
        ("keyBits", "*"),
        ("eku", "clientauth"),
        ("eku", "1"),
        ("policyOid", "serverAuth"),
        ("policyOid", "2.23*"),
        ("notAfterWithin", "1h30m"),
        ("notAfterWithin", "0s"),
        ("ageLessThan", "soon"),
        ("ageLessThan", "-1h"),
    ] {
        let key = format!("source.certificate.{key}");
        let (path, problem) = rule_error(json!({"when": [{"key": key, "values": [value]}]}));
        assert_eq!(path, "when[0].values[0]", "{key} {value}");
        assert!(
            matches!(problem, Problem::Invalid { .. }),
            "{key} {value}: {problem:?}"
        );
    }
    for key in ["notAfterWithin", "ageLessThan"] {
        let key = format!("source.certificate.{key}");
        let (path, problem) = rule_error(json!({"when": [{"key": key, "values": ["1h", "2h"]}]}));
        assert_eq!(path, "when[0].values");
        assert!(
            matches!(problem, Problem::TooMany { limit: 1, .. }),
            "{problem:?}"
        );
    }
}

#[test]
fn malformed_map_keys_are_refused() {
    for key in [
        "request.auth.claims[]",
        "request.auth.claims[a",
        "request.auth.claims[a][]",
        "request.auth.claims[a]b]",
        "request.auth.claims[a][b",
        "request.auth.claims[a][[b]",
        "experimental.envoy.filters.a.b[]",
        "experimental.envoy.filters.a.b[c",
        "experimental.envoy.filters.a.b[c][d]",
    ] {
        let (path, problem) = rule_error(json!({"when": [{"key": key, "values": ["a"]}]}));
        assert_eq!(path, "when[0].key", "{key}");
        assert!(
            matches!(problem, Problem::Invalid { .. }),
            "{key}: {problem:?}"
        );
    }
    let deep = format!(
        "request.auth.claims{}",
        "[a]".repeat(limits::MAX_CLAIM_STEPS + 1)
    );
    assert_eq!(
        rule_error(json!({"when": [{"key": deep, "values": ["a"]}]})).0,
        "when[0].key"
    );
    let error = rule_error(json!({
        "when": [{"key": "experimental.envoy.filters.a[b]", "values": ["[]"]}],
    }));
    assert_eq!(error.0, "when[0].values[0]");
}
