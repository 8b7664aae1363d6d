//! Istio resources in a server's configuration, and the mesh settings they refer to.

use envoy_config::Problem;
use envoy_config::sidecar::{InboundFilter, Server};
use serde_json::{Value, json};

use crate::support::{problems, server, server_refused};

fn resource(kind: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1",
        "kind": kind,
        "metadata": {"name": "one", "namespace": "default"},
        "spec": spec,
    })
}

fn add(server: &mut Server, resource: Value) {
    if let InboundFilter::Wasm { config, .. } = &mut server.filter {
        config.policies.push(resource);
    }
}

fn custom(provider: &str) -> Value {
    resource(
        "AuthorizationPolicy",
        &json!({"action": "CUSTOM", "provider": {"name": provider}, "rules": [{}]}),
    )
}

fn providers(written: Value) -> Vec<envoy_config::ext_authz::ExtensionProvider> {
    serde_json::from_value(written).unwrap()
}

#[test]
fn rules_for_tokens_are_checked_though_the_filter_never_gets_them() {
    let broken = resource(
        "RequestAuthentication",
        &json!({"jwtRules": [{"issuer": "i"}]}),
    );
    let problem = server_refused("filter.config.policies", |server| {
        add(server, broken.clone());
    });
    let Problem::Policy(error) = problem else {
        panic!("{problem:?}");
    };
    assert_eq!(error.path, "spec.jwtRules[0].jwks");
}

#[test]
fn keys_over_https_need_roots() {
    let keys = json!({"jwtRules": [{"issuer": "i", "jwksUri": "https://i.example/keys"}]});
    let problem = server_refused("mesh.jwksRoots", |server| {
        add(server, resource("RequestAuthentication", &keys));
    });
    let said = problem.to_string();
    assert!(said.contains("https://i.example:443"), "{said}");
}

#[test]
fn a_policy_names_a_provider_that_there_is() {
    let mut server = server();
    add(&mut server, custom("opa"));
    let found = problems(server.bootstrap());
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].0.starts_with("filter.config.policies[0]"),
        "{found:?}"
    );
    server.mesh.extension_providers =
        providers(json!([{"name": "opa", "envoyExtAuthzGrpc": {"service": "::1", "port": 9000}}]));
    assert!(server.bootstrap().is_ok());
}

#[test]
fn what_the_configuration_says_of_providers_is_not_believed() {
    let mut server = server();
    add(&mut server, custom("opa"));
    if let InboundFilter::Wasm { config, .. } = &mut server.filter {
        config.custom_providers.insert("opa".to_owned());
    }
    let found = problems(server.bootstrap());
    assert_eq!(
        found.len(),
        1,
        "nobody would ask, so the filter must not rely on it: {found:?}"
    );
}

#[test]
fn providers_are_checked_also_where_no_policy_names_them() {
    let far = json!([{"name": "far", "envoyExtAuthzHttp": {"service": "opa.example", "port": 80}}]);
    server_refused(
        "mesh.extensionProviders[0].envoyExtAuthzHttp.service",
        |server| server.mesh.extension_providers = providers(far.clone()),
    );
}

#[test]
fn a_bad_peer_authentication_is_refused_with_its_path() {
    let broken = resource("PeerAuthentication", &json!({"portLevelMtls": {"80": {}}}));
    let mut server = server();
    add(&mut server, broken);
    let found = problems(server.bootstrap());
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].0.contains("portLevelMtls"), "{found:?}");
}
