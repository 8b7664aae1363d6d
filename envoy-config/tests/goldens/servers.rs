//! Servers.

use std::time::Duration;

use envoy_config::address::Admin;
use envoy_config::age::ConnectionAge;
use envoy_config::sidecar::{FilterStateRoute, HttpVersion, InboundFilter, Server};
use envoy_config::tls::{ClientSans, TlsSource};
use policy::config::PolicyBundleConfig;

use crate::support::{MODULE, address, bootstraps, endpoint, files, ids, plugin, resource, sds};

fn server(tls: TlsSource) -> Server {
    let mut server = Server::new(
        "httpbin",
        address("127.0.0.1:15006"),
        endpoint("127.0.0.1:8000"),
        tls,
    );
    server.admin = Admin::Unix("/golden/admin.sock".into());
    server.access_log = Some("/golden/access.jsonl".into());
    server.connection_age = ConnectionAge::quarter_of_leaf_life(Duration::from_secs(60));
    server
}

fn inbound() -> InboundFilter {
    InboundFilter::Wasm {
        module: MODULE.into(),
        config: Box::new(plugin("inbound")),
    }
}

#[test]
fn server_with_files() {
    bootstraps("server-files", |envoy| {
        let mut server = server(files());
        server.envoy = envoy;
        server.clients = ClientSans::TrustDomains(["cluster.local".parse().unwrap()].into());
        server.bootstrap().unwrap()
    });
}

#[test]
fn server_with_sds_and_filter() {
    bootstraps("server-sds-wasm", |envoy| {
        let mut server = server(sds());
        server.envoy = envoy;
        server.filter = inbound();
        server.agent_http = Some("/golden/agent.sock".into());
        server.bootstrap().unwrap()
    });
}

#[test]
fn server_with_a_policy_bundle() {
    bootstraps("server-policy-bundle", |envoy| {
        let mut config = plugin("inbound");
        config.policies.clear();
        config.policy_bundle = Some(PolicyBundleConfig {
            name: "shop".to_owned(),
            at_least: Some(7),
        });
        let mut server = server(sds());
        server.envoy = envoy;
        server.filter = InboundFilter::Wasm {
            module: MODULE.into(),
            config: Box::new(config),
        };
        server.agent_http = Some("/golden/agent.sock".into());
        server.bootstrap().unwrap_or_else(|error| panic!("{error}"))
    });
}

#[test]
fn server_with_policies_on_addresses() {
    bootstraps("server-ip-blocks", |envoy| {
        let mut config = plugin("inbound");
        config.policies[0]["spec"]["rules"][0]["from"][0]["source"]["ipBlocks"] =
            serde_json::json!(["10.0.0.0/8"]);
        let mut server = server(files());
        server.envoy = envoy;
        server.filter = InboundFilter::Wasm {
            module: MODULE.into(),
            config: Box::new(config),
        };
        server.agent_http = Some("/golden/agent.sock".into());
        server.bootstrap().unwrap()
    });
}

/// A server with one more resource in its filter's configuration.
fn server_with_resource(case: &str, resource: &serde_json::Value, change: impl Fn(&mut Server)) {
    bootstraps(case, |envoy| {
        let mut config = plugin("inbound");
        config.deny_list = None;
        config.policies.push(resource.clone());
        let mut server = server(files());
        server.envoy = envoy;
        server.filter = InboundFilter::Wasm {
            module: MODULE.into(),
            config: Box::new(config),
        };
        change(&mut server);
        server.bootstrap().unwrap_or_else(|error| panic!("{error}"))
    });
}

#[test]
fn server_with_tokens() {
    let keys = r#"{"keys":[{"kty":"RSA","kid":"1","use":"sig","alg":"RS256","n":"sXchDaQebHnPiGvyDOAT4saGEUetSyo9MKLOoWFsueri23bOdgWp4Dy1WlUzewbgBHod5pcM9H95GQRV3JDXboIRROSBigeC5yjU1hGzHHyXss8UDprecbAYxknTcQkhslANGRUZmdTOQ5qTRsLAt6BTYuyvVRdhS8exSZEy_c4gs_7svlJJQ4H9_NxsiIoLwAEk7-Q3UXERGYw_75IDrGA84-lA_-Ct4eTlXHBIY2EaV7t7LjJaynVJCpkv4LKjTTAumiGUIuQhrNhZLuF_RJLqHpM2kgWFLU7-VTdL1VbC2tejvcI2BlMkEpk1BzBZI0KQB0GaDWFLN-aEAw3vRw","e":"AQAB"}]}"#;
    let jwt = resource(
        "RequestAuthentication",
        serde_json::json!({"jwtRules": [
            {
                "issuer": "https://local.example", "jwks": keys, "audiences": ["httpbin"],
                "fromHeaders": [{"name": "x-token", "prefix": "Token "}], "fromParams": ["token"],
                "fromCookies": ["session"], "outputPayloadToHeader": "x-payload",
                "outputClaimToHeaders": [{"header": "x-group", "claim": "group"}],
                "forwardOriginalToken": true, "spaceDelimitedClaims": ["roles"],
            },
            {"issuer": "https://remote.example", "jwksUri": "https://remote.example/keys.json", "timeout": "1s"},
        ]}),
    );
    server_with_resource("server-jwt", &jwt, |server| {
        server.mesh.jwks_roots = Some("/golden/root.pem".into());
        // A policy that looks at claims and at the client's address.
        if let InboundFilter::Wasm { config, .. } = &mut server.filter {
            config.policies[0]["spec"]["rules"][0]["from"][0]["source"] = serde_json::json!({
                "requestPrincipals": ["https://local.example/*"], "remoteIpBlocks": ["10.0.0.0/8"],
            });
        }
    });
}

#[test]
fn server_that_asks_a_provider() {
    let custom = resource(
        "AuthorizationPolicy",
        serde_json::json!({
            "action": "CUSTOM",
            "provider": {"name": "opa"},
            "rules": [{"to": [{"operation": {"paths": ["/admin*"]}}]}],
        }),
    );
    let grpc = serde_json::json!([{"name": "opa", "envoyExtAuthzGrpc": {
        "service": "opa.policy.svc.cluster.local", "port": 9191, "timeout": "0.5s",
        "includeRequestBodyInCheck": {"maxRequestBytes": 1024, "allowPartialMessage": true},
    }}]);
    server_with_resource("server-custom-grpc", &custom, |server| {
        server.mesh.extension_providers = serde_json::from_value(grpc.clone()).unwrap();
        server.mesh.provider_identities = [("opa".to_owned(), ids(&["opa"]))].into();
    });
    let http = serde_json::json!([{"name": "opa", "envoyExtAuthzHttp": {
        "service": "127.0.0.1", "port": 8181, "pathPrefix": "/check", "statusOnError": "503",
        "includeRequestHeadersInCheck": ["authorization", "x-team-*"],
        "headersToUpstreamOnAllow": ["x-decided-by"],
    }}]);
    server_with_resource("server-custom-http", &custom, |server| {
        server.mesh.extension_providers = serde_json::from_value(http.clone()).unwrap();
    });
}

/// A header of a gateway is kept for the filter, on chains with client certificates alone, and goes no further.
#[test]
fn server_behind_a_gateway() {
    let custom = resource(
        "AuthorizationPolicy",
        serde_json::json!({"action": "CUSTOM", "provider": {"name": "opa"}, "rules": [{}]}),
    );
    let permissive = resource(
        "PeerAuthentication",
        serde_json::json!({"mtls": {"mode": "PERMISSIVE"}}),
    );
    let opa = serde_json::json!([{"name": "opa", "envoyExtAuthzGrpc": {
        "service": "127.0.0.1", "port": 9191, "timeout": "0.5s",
    }}]);
    let behind = |server: &mut Server| {
        server.mesh.extension_providers = serde_json::from_value(opa.clone()).unwrap();
        if let InboundFilter::Wasm { config, .. } = &mut server.filter {
            config.forwarded_client_cert = serde_json::from_value(serde_json::json!({
                "hop": "spiffe://cluster.local/ns/edge/sa/gateway",
            }))
            .unwrap();
        }
    };
    server_with_resource("server-forwarded", &custom, behind);
    server_with_resource("server-forwarded-permissive", &permissive, behind);
}

#[test]
fn server_in_each_mode_of_peer_authentication() {
    for mode in ["PERMISSIVE", "DISABLE"] {
        let mode_of_all = resource(
            "PeerAuthentication",
            serde_json::json!({"mtls": {"mode": mode}}),
        );
        let case = format!("server-{}", mode.to_lowercase());
        server_with_resource(&case, &mode_of_all, |_| {});
    }
}

#[test]
fn server_with_native_rbac() {
    let rules = serde_json::json!({
        "action": "ALLOW",
        "policies": {"sleep-reads": {
            "permissions": [{"url_path": {"path": {"exact": "/get"}}}],
            "principals": [{"authenticated": {"principal_name": {
                "exact": "spiffe://cluster.local/ns/default/sa/sleep",
            }}}],
        }},
    });
    bootstraps("server-native-rbac", |envoy| {
        let mut server = server(files());
        server.envoy = envoy;
        server.app_version = HttpVersion::Http2;
        server.filter = InboundFilter::NativeRbac {
            rules: rules.clone(),
        };
        server.bootstrap().unwrap()
    });
}

#[test]
fn server_with_the_filter_state_route_everywhere() {
    bootstraps("server-filter-state", |envoy| {
        let mut server = server(files());
        server.envoy = envoy;
        server.filter = inbound();
        server.filter_state_route = FilterStateRoute::Always;
        server.agent_http = Some("/golden/agent.sock".into());
        server.admin = Admin::Loopback(19000);
        server.bootstrap().unwrap()
    });
}
