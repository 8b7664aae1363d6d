//! The lean way says what the long way says.

use serde_json::json;

use super::*;

fn both(text: &str) -> (Vec<String>, Vec<String>) {
    let told = |found: Result<(), Vec<ConfigError>>| -> Vec<String> {
        let errors = found.err().unwrap_or_default();
        errors.iter().map(ToString::to_string).collect()
    };
    let long = PluginConfig::from_json(text.as_bytes())
        .map_err(|error| vec![error])
        .and_then(|config| compile(&config).map(drop));
    (told(long), told(compile_json(text.as_bytes()).map(drop)))
}

fn policy(name: &str) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"rules": [{"from": [{"source": {"principals": ["*"]}}]}]},
    })
}

#[test]
fn good_and_bad_configurations_are_told_alike() {
    let minimal: Value = serde_json::from_str(&inbound().to_string()).unwrap();
    let with = |policies: Value| {
        let mut config = minimal.clone();
        config["policies"] = policies;
        config.to_string()
    };
    let mut unknown = policy("b");
    unknown["spec"]["rulez"] = json!([]);
    let mut bad_value = policy("c");
    bad_value["spec"]["rules"][0]["from"][0]["source"]["principals"] = json!([""]);
    let modes = |mode: &str| {
        json!({
            "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
            "metadata": {"name": "p", "namespace": "default"}, "spec": {"mtls": {"mode": mode}},
        })
    };
    for text in [
        inbound().to_string(),
        with(json!([])),
        with(json!([policy("a"), policy("b"), modes("STRICT")])),
        with(json!([policy("a"), policy("a")])),
        with(json!([policy("a"), bad_value])),
        with(json!([modes("STRICT"), unknown])),
        with(json!([policy("a"), modes("LAX")])),
        with(json!([{"apiVersion": "v1", "kind": "ConfigMap"}])),
        with(json!([7])),
        with(json!(7)),
        with(json!(null)),
        "{".to_owned(),
        "[]".to_owned(),
        "{\"policies\": [], \"policies\": []}".to_owned(),
        "{\"trust\": {\"a\": 1, \"a\": 2}}".to_owned(),
        "{} {}".to_owned(),
        String::new(),
        "{\"schemaVersion\": 2, \"nonsense\": 1}".to_owned(),
    ] {
        let (long, lean) = both(&text);
        assert_eq!(lean.len(), long.len(), "{text}: {lean:?} {long:?}");
        // It may say the line as well.
        assert!(
            lean.iter()
                .zip(&long)
                .all(|(lean, long)| lean.starts_with(long)),
            "{lean:?} {long:?}"
        );
    }
}

#[test]
fn a_key_twice_in_a_policy_is_told_with_its_place() {
    let text = inbound().to_string().replacen(
        '{',
        r#"{"policies": [{"kind": "AuthorizationPolicy", "kind": "AuthorizationPolicy"}],"#,
        1,
    );
    let (long, lean) = both(&text);
    assert!(lean[0].starts_with("policies[0].kind: "), "{lean:?}");
    assert_eq!(lean, long);
}

#[test]
fn a_request_authentication_is_not_the_filters_business() {
    let token = json!({"apiVersion": "security.istio.io/v1", "kind": "RequestAuthentication", "metadata": {"name": "t", "namespace": "default"}, "spec": 7});
    let mut config: Value = serde_json::from_str(&inbound().to_string()).unwrap();
    config["policies"] = json!([token]);
    let (long, lean) = both(&config.to_string());
    assert!(lean.is_empty(), "{lean:?}");
    assert!(!long.is_empty());
}

/// Found by fuzzing `plugin_config`: such a number was read, written and read again as another one.
#[test]
fn a_number_beyond_64_bits_is_refused_wherever_it_stands() {
    for number in [
        "17777777777777777777777777770000000000000000000000002074661656",
        "1.5",
        "1e3",
        "-1e-9",
    ] {
        for (text, path) in [
            (
                format!(r#"{{"policies":[{{"metadata":{{"x":{number}}}}}]}}"#),
                "policies[0].metadata.x",
            ),
            (format!(r#"{{"trust":{{"a":{number}}}}}"#), "trust.a"),
        ] {
            let error = PluginConfig::from_json(text.as_bytes()).expect_err(&text);
            let told = error.to_string();
            assert!(
                told.contains(path) && told.contains("not whole"),
                "{text}: {told}"
            );
            let errors = compile_json(text.as_bytes()).map(drop).expect_err(&text);
            assert!(!errors.is_empty(), "{text}");
        }
        let body = format!(r#"[{{"metadata":{{"x":{number}}}}}]"#);
        let scope = crate::Scope::new("cluster.local".parse().unwrap(), "default");
        compile_policies(body.as_bytes(), &scope)
            .map(drop)
            .expect_err(&body);
    }
}
