use std::sync::LazyLock;

use serde_json::json;

use super::*;

mod bundle;
mod settings;

struct Keys {
    issuer: String,
    list: String,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    let certificate = params.self_signed(&key).unwrap();
    Keys {
        issuer: certificate.pem(),
        list: key.public_key_pem(),
    }
});

fn inbound() -> Value {
    json!({
        "schemaVersion": 1,
        "direction": "inbound",
        "workload": {"namespace": "default", "labels": {"app": "httpbin"}},
        "trustDomain": "cluster.local",
        "trust": {"cluster.local": {"issuers": [KEYS.issuer]}},
        "policies": [{
            "apiVersion": "security.istio.io/v1",
            "kind": "AuthorizationPolicy",
            "metadata": {"name": "a", "namespace": "default"},
            "spec": {"rules": [{"from": [{"source": {"principals": ["*"]}}]}]},
        }],
        "denyList": {"cluster": "agent", "keys": [KEYS.list]},
    })
}

fn outbound() -> Value {
    json!({
        "schemaVersion": 1,
        "direction": "outbound",
        "workload": {"namespace": "default"},
        "trustDomain": "cluster.local",
        "trust": {"cluster.local": {"issuers": [KEYS.issuer]}},
        "secureNaming": {"clusters": {
            "httpbin": ["spiffe://cluster.local/ns/default/sa/httpbin"],
            "nobody": [],
        }},
    })
}

/// With every optional field of an inbound configuration.
fn everything() -> Value {
    let mut config = inbound();
    config["trustDomainAliases"] = json!(["old.example"]);
    config["workloadKind"] = json!("gateway");
    config["targets"] = json!([
        {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "g", "namespace": "default"},
    ]);
    config["customProviders"] = json!(["opa"]);
    config["trust"]["foreign.example"] = config["trust"]["cluster.local"].clone();
    config["federation"] = json!({"foreign.example": {"allow": ["foreign.example/ns/a/*"]}});
    config["forwardedClientCert"] = json!({"hop": "spiffe://cluster.local/ns/edge/sa/gateway"});
    config["denyList"] = json!({
        "cluster": "agent",
        "authority": "spiffe://cluster.local/authority",
        "stale": {"graceSeconds": 30},
        "floor": {"epoch": 2, "sequence": 7},
    });
    config["decisionLog"] = json!({"allowed": {"oneIn": 100}, "headers": ["X-Request-Tenant"]});
    config
}

fn read(config: &Value) -> Result<PluginConfig, ConfigError> {
    PluginConfig::from_json(config.to_string().as_bytes())
}

/// The errors' paths and messages.
fn errors(config: &Value) -> Vec<(String, String)> {
    let errors = match read(config) {
        Ok(config) => compile(&config).err().unwrap_or_default(),
        Err(error) => vec![error],
    };
    errors
        .into_iter()
        .map(|error| (error.path.clone(), error.to_string()))
        .collect()
}

/// The one error's path, which its message must begin with.
fn error_path(config: &Value) -> String {
    let mut errors = errors(config);
    assert_eq!(errors.len(), 1, "{errors:#?}");
    let (path, message) = errors.remove(0);
    assert!(message.starts_with(&format!("{path}: ")), "{message}");
    path
}

#[test]
fn defaults_are_the_documented_ones() {
    let config = read(&inbound()).unwrap();
    assert_eq!(config.root_namespace, "istio-system");
    assert_eq!(config.svid_profile, SvidProfile::Strict);
    assert_eq!(
        config.path_normalization,
        PathNormalization::DecodeAndMergeSlashes
    );
    let list = config.deny_list.unwrap();
    assert_eq!(
        (list.path.as_str(), list.poll_milliseconds),
        ("/v1/denylist", 500)
    );
    assert_eq!((list.stale, list.floor), (StaleList::Deny, None));
    assert_eq!(config.decision_log.allowed, AllowedLog::None);
    assert!(!config.decision_log.response_header);
    let hold = read(&outbound()).unwrap().secure_naming.unwrap().hold;
    assert_eq!((hold.milliseconds, hold.max_held), (5_000, 1_024));
}

#[test]
fn what_is_written_is_read_back() {
    let mut full = inbound();
    full["trustDomainAliases"] = json!(["old.example"]);
    full["svidProfile"] = json!("istio");
    full["pathNormalization"] = json!("mergeSlashes");
    full["denyList"]["floor"] = json!({"epoch": 2, "sequence": 7});
    full["denyList"]["stale"] = json!("allow");
    full["decisionLog"] = json!({"allowed": "all", "responseHeader": true});
    for written in [inbound(), outbound(), full, everything()] {
        let config = read(&written).unwrap();
        let text = config.to_json().unwrap();
        assert_eq!(PluginConfig::from_json(text.as_bytes()).unwrap(), config);
        assert!(compile(&config).is_ok());
    }
}

#[test]
fn compiles_into_its_parts() {
    let compiled = compile(&read(&inbound()).unwrap()).unwrap();
    assert_eq!(
        compiled.trust.issuers(&compiled.scope.trust_domain).len(),
        1
    );
    assert_eq!(compiled.deny_list.unwrap().keys.len(), 1);
    assert_eq!(compiled.policies.rules().count(), 1);
    assert!(compiled.secure_naming.is_none());
    let compiled = compile(&read(&outbound()).unwrap()).unwrap();
    let naming = compiled.secure_naming.unwrap();
    let server = "spiffe://cluster.local/ns/default/sa/httpbin"
        .parse()
        .unwrap();
    assert!(naming.permits("httpbin", &server));
    assert!(!naming.permits("nobody", &server), "an empty set denies");
    assert!(
        !naming.permits("other", &server),
        "a cluster that is not named is denied"
    );
}

#[test]
fn unknown_fields_have_their_path() {
    for (pointer, path) in [
        ("", "extra"),
        ("/workload", "workload.extra"),
        ("/denyList", "denyList.extra"),
        ("/trust/cluster.local", "trust.cluster.local.extra"),
        (
            "/policies/0/spec/rules/0",
            "policies[0].spec.rules[0].extra",
        ),
    ] {
        let mut config = inbound();
        config.pointer_mut(pointer).unwrap()["extra"] = json!(1);
        assert_eq!(error_path(&config), path);
    }
}

#[test]
fn policy_errors_have_their_path() {
    let mut config = inbound();
    let mut second = config["policies"][0].clone();
    second["metadata"]["name"] = json!("b");
    second["spec"]["rules"][0]["from"][0]["source"]["ipBlocks"] = json!(["10.0.0.1", "x"]);
    config["policies"].as_array_mut().unwrap().push(second);
    assert_eq!(
        errors(&config),
        [(
            "policies[1].spec.rules[0].from[0].source.ipBlocks[1]".to_owned(),
            "policies[1].spec.rules[0].from[0].source.ipBlocks[1]: AuthorizationPolicy default/b: \
             \"x\" is not an IP address or CIDR range"
                .to_owned()
        )]
    );
}

#[test]
fn a_key_that_occurs_twice_is_an_error_even_inside_a_policy() {
    let text = inbound().to_string().replace(
        r#""principals":["*"]"#,
        r#""principals":["*"],"principals":["a"]"#,
    );
    let error = PluginConfig::from_json(text.as_bytes()).unwrap_err();
    assert_eq!(
        error.path,
        "policies[0].spec.rules[0].from[0].source.principals"
    );
}

#[test]
fn values_outside_their_range_have_their_path() {
    for (base, pointer, value, path) in [
        (
            inbound(),
            "/trustDomain",
            json!("not a domain"),
            "trustDomain",
        ),
        (
            inbound(),
            "/trustDomain",
            json!("spiffe://cluster.local"),
            "trustDomain",
        ),
        (
            inbound(),
            "/workload/namespace",
            json!(""),
            "workload.namespace",
        ),
        (inbound(), "/trust", json!({}), "trust"),
        (
            inbound(),
            "/trust",
            json!({"A B": {"issuers": []}}),
            "trust",
        ),
        (
            inbound(),
            "/trust/cluster.local/issuers/0",
            json!("x"),
            "trust.cluster.local.issuers[0]",
        ),
        (inbound(), "/denyList/keys", json!([]), "denyList.keys"),
        (
            inbound(),
            "/denyList/keys",
            json!([KEYS.list, "x"]),
            "denyList.keys[1]",
        ),
        (
            inbound(),
            "/denyList/keys",
            json!(vec![&KEYS.list; 17]),
            "denyList.keys",
        ),
        (
            inbound(),
            "/denyList/cluster",
            json!(""),
            "denyList.cluster",
        ),
        (inbound(), "/direction", json!("sideways"), "direction"),
        (inbound(), "/schemaVersion", json!(2), "schemaVersion"),
        (inbound(), "/policies", json!(null), "policies"),
        (
            outbound(),
            "/secureNaming/clusters/httpbin/0",
            json!("https://x"),
            "secureNaming.clusters.httpbin[0]",
        ),
        (
            outbound(),
            "/secureNaming/clusters/httpbin/0",
            json!("spiffe://Cluster.Local/a"),
            "secureNaming.clusters.httpbin[0]",
        ),
    ] {
        let mut config = base;
        *config.pointer_mut(pointer).unwrap() = value;
        assert_eq!(error_path(&config), path);
    }
    for (field, value) in [
        ("pollMilliseconds", json!(49)),
        ("path", json!("/a?since=1")),
    ] {
        let mut config = inbound();
        config["denyList"][field] = value;
        assert_eq!(error_path(&config), format!("denyList.{field}"));
    }
    for (field, value) in [
        ("milliseconds", 0),
        ("milliseconds", 60_001),
        ("maxHeld", 0),
    ] {
        let mut config = outbound();
        config["secureNaming"]["hold"] = json!({ (field): value });
        assert_eq!(error_path(&config), format!("secureNaming.hold.{field}"));
    }
}

#[test]
fn each_direction_has_its_parts() {
    let mut config = inbound();
    config["secureNaming"] = outbound()["secureNaming"].clone();
    assert_eq!(error_path(&config), "secureNaming");
    let mut config = outbound();
    config["policies"] = inbound()["policies"].clone();
    assert_eq!(error_path(&config), "policies");
    let mut config = outbound();
    config.as_object_mut().unwrap().remove("secureNaming");
    assert_eq!(error_path(&config), "secureNaming");
}

#[test]
fn every_problem_is_reported() {
    let mut config = inbound();
    config["trustDomain"] = json!("");
    config["trust"] = json!({});
    config["denyList"]["pollMilliseconds"] = json!(0);
    let paths: Vec<_> = errors(&config).into_iter().map(|(path, _)| path).collect();
    assert_eq!(paths, ["trustDomain", "trust", "denyList.pollMilliseconds"]);
}

#[test]
fn a_cause_is_part_of_the_message() {
    let mut config = inbound();
    config["trust"]["cluster.local"]["issuers"][0] = json!("x");
    let (_, message) = errors(&config).remove(0);
    assert!(message.matches(": ").count() >= 3, "{message}");
}

#[test]
fn a_configuration_that_is_too_long_is_refused_unread() {
    let text = vec![b' '; MAX_CONFIG_BYTES + 1];
    let error = PluginConfig::from_json(&text).unwrap_err();
    assert!(
        matches!(error.problem, ConfigProblem::TooMany { .. }),
        "{error}"
    );
}

#[cfg(feature = "schema")]
#[test]
fn the_json_schema_names_every_field_and_no_others() {
    let schema = json_schema();
    let mut written = serde_json::to_value(read(&everything()).unwrap()).unwrap();
    written["secureNaming"] = json!({});
    written["policyBundle"] = json!({});
    let mut names: Vec<_> = written.as_object().unwrap().keys().cloned().collect();
    names.sort();
    let mut properties: Vec<_> = schema["properties"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    properties.sort();
    assert_eq!(properties, names);
    assert_eq!(schema["additionalProperties"], json!(false));
    let required = [
        "schemaVersion",
        "direction",
        "workload",
        "trustDomain",
        "trust",
    ];
    assert_eq!(schema["required"], json!(required));
}

mod lean;
