#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::path::Path;

use policy::request_authentication::JwtRule;
use serde_json::{Value, json};

use super::Jwt;
use crate::error::Checks;

fn rule(issuer: &str) -> JwtRule {
    JwtRule {
        issuer: issuer.to_owned(),
        jwks: Some("{\"keys\":[]}".to_owned()),
        ..JwtRule::default()
    }
}

fn remote(uri: &str) -> JwtRule {
    JwtRule {
        issuer: "i".to_owned(),
        jwks_uri: Some(uri.to_owned()),
        ..JwtRule::default()
    }
}

#[track_caller]
fn filter(rules: &[JwtRule]) -> Value {
    let mut checks = Checks::default();
    let jwt = Jwt::new(rules, None, &mut checks).unwrap();
    checks.done().unwrap();
    serde_json::to_value(jwt.filter).unwrap()
}

#[track_caller]
fn clusters(rules: &[JwtRule], roots: Option<&Path>) -> Vec<Value> {
    let mut checks = Checks::default();
    let jwt = Jwt::new(rules, roots, &mut checks).unwrap();
    checks.done().unwrap();
    let clusters = jwt.clusters.iter().map(serde_json::to_value);
    clusters.collect::<Result<_, _>>().unwrap()
}

#[test]
fn without_rules_there_is_no_filter() {
    assert!(Jwt::new(&[], None, &mut Checks::default()).is_none());
}

#[test]
fn one_rule_needs_its_token_or_none() {
    let filter = filter(&[rule("a")]);
    assert_eq!(
        filter["rules"],
        json!([{
            "match": {"prefix": "/"},
            "requires": {"requires_any": {"requirements": [
                {"provider_name": "origins-0"}, {"allow_missing": {}},
            ]}},
        }])
    );
    assert_eq!(filter["bypass_cors_preflight"], true);
}

#[test]
fn of_several_rules_one_token_will_do_but_every_token_has_to_be_good() {
    let or_missing = |name: &str| json!({"requires_any": {"requirements": [{"provider_name": name}, {"allow_missing": {}}]}});
    let filter = filter(&[rule("a"), rule("b")]);
    assert_eq!(
        filter["rules"][0]["requires"],
        json!({"requires_any": {"requirements": [
            {"provider_name": "origins-0"},
            {"provider_name": "origins-1"},
            {"requires_all": {"requirements": [or_missing("origins-0"), or_missing("origins-1")]}},
        ]}})
    );
}

#[test]
fn claims_are_left_in_metadata_and_lists_of_words_are_lists() {
    let mut with = rule("a");
    with.space_delimited_claims = Some(vec!["roles".to_owned(), "scope".to_owned()]);
    let provider = &filter(&[with])["providers"]["origins-0"];
    assert_eq!(provider["payload_in_metadata"], "payload");
    assert_eq!(
        provider["normalize_payload_in_metadata"],
        json!({"space_delimited_claims": ["permission", "roles", "scope"]})
    );
    assert_eq!(
        provider["forward"], false,
        "the token ends here unless asked for"
    );
}

#[test]
fn keys_are_fetched_from_one_cluster_a_server() {
    let roots = Path::new("/etc/roots.pem");
    let rules = [
        remote("https://keys.example/a.json"),
        remote("https://KEYS.example:443/b.json"),
        remote("http://127.0.0.1:8080/keys"),
        remote("https://[::1]/keys"),
    ];
    let clusters = clusters(&rules, Some(roots));
    let names: Vec<_> = clusters.iter().map(|cluster| &cluster["name"]).collect();
    assert_eq!(
        names,
        [
            "jwks|8080|127.0.0.1",
            "jwks|443|__1",
            "jwks|443|keys.example"
        ]
    );
    assert_eq!(clusters[0].get("transport_socket"), None);
    let context = &clusters[2]["transport_socket"]["typed_config"];
    assert_eq!(context["sni"], "keys.example");
    assert_eq!(
        context["common_tls_context"]["validation_context"],
        json!({
            "trusted_ca": {"filename": "/etc/roots.pem"},
            "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": "keys.example"}}],
            "trust_chain_verification": "VERIFY_TRUST_CHAIN",
        })
    );
    let address = &clusters[1]["transport_socket"]["typed_config"];
    assert_eq!(address.get("sni"), None, "an address is no server name");
}

#[test]
fn https_without_roots_is_refused() {
    let mut checks = Checks::default();
    Jwt::new(&[remote("https://keys.example/")], None, &mut checks).unwrap();
    let refused = checks.done().unwrap_err();
    assert_eq!(refused.problems()[0].path, "mesh.jwksRoots");
}

/// A port that is none must not be taken for none: keys would come from somewhere else than is written.
#[test]
fn addresses_that_are_none_are_refused() {
    for uri in [
        "https://keys.example:65536/",
        "https://keys.example:0/",
        "https://keys.example:/",
        "https://keys.example:44e/",
        "https://keys_example/",
        "https://::1/keys",
        "https://[::1/keys",
        "https://-/keys",
    ] {
        let rules = [remote(uri)];
        let mut checks = Checks::default();
        Jwt::new(&rules, Some(Path::new("/etc/roots.pem")), &mut checks);
        let Err(refused) = checks.done() else {
            panic!("{uri}");
        };
        assert_eq!(refused.problems()[0].path, "filter.config.policies");
    }
}
