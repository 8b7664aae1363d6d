#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod connections;

use std::collections::{BTreeMap, BTreeSet};

use identity::SpiffeId;
use policy::{AuthorizationPolicy, Protocol, Scope};
use serde_json::{Value, json};

use super::{Custom, CustomFilter, ExtensionProvider, Providers};
use crate::error::Checks;
use crate::rbac;
use crate::tls::TlsSource;

fn tls() -> TlsSource {
    TlsSource::Files {
        certificate: "/leaf.pem".into(),
        key: "/leaf.key".into(),
        root: "/root.pem".into(),
    }
}

fn read(providers: Value) -> Vec<ExtensionProvider> {
    serde_json::from_value(providers).unwrap()
}

fn policy(name: &str, provider: &str, dry_run: bool) -> AuthorizationPolicy {
    serde_json::from_value(json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": "foo", "annotations": {"istio.io/dry-run": dry_run.to_string()}},
        "spec": {
            "action": "CUSTOM",
            "provider": {"name": provider},
            "rules": [{"to": [{"operation": {"paths": [format!("/{name}")]}}]}],
        },
    }))
    .unwrap()
}

fn two() -> Value {
    json!([
        {"name": "opa", "envoyExtAuthzGrpc": {"service": "127.0.0.1", "port": 9000}},
        {"name": "opa-2", "envoyExtAuthzHttp": {"service": "foo/localhost", "port": 9001}},
    ])
}

fn custom(policies: &[AuthorizationPolicy], providers: Value) -> (Custom, Checks) {
    custom_for(Protocol::Http, policies, providers)
}

fn custom_for(
    protocol: Protocol,
    policies: &[AuthorizationPolicy],
    providers: Value,
) -> (Custom, Checks) {
    let mut scope = Scope::new("cluster.local".parse().unwrap(), "foo");
    scope.protocol = protocol;
    scope.custom_providers = ["opa", "opa-2", "unknown"].map(str::to_owned).into();
    let rbac = rbac::translate(policies, &scope).unwrap();
    let (list, identities, tls) = (read(providers), BTreeMap::new(), tls());
    let providers = Providers {
        list: &list,
        identities: &identities,
        tls: &tls,
    };
    let mut checks = Checks::default();
    let custom = Custom::new(&rbac, &providers, protocol, &mut checks);
    (custom, checks)
}

fn json_of(filter: &CustomFilter) -> Value {
    match filter {
        CustomFilter::Rbac(filter) => filter.clone(),
        CustomFilter::Ask(message) => serde_json::to_value(message).unwrap(),
        CustomFilter::AskTcp(message) => serde_json::to_value(message).unwrap(),
    }
}

#[test]
fn rules_pick_and_the_provider_is_asked() {
    let (custom, checks) = custom(&[policy("a", "opa", false)], two());
    checks.done().unwrap();
    let [pick, ask] = custom.filters.as_slice() else {
        panic!("{:?}", custom.filters);
    };
    let pick = json_of(pick);
    let rules = &pick["typed_config"]["shadow_rules"];
    assert!(
        rules["policies"]
            .get("istio-ext-authz-opa-ns[foo]-policy[a]-rule[0]")
            .is_some(),
        "{pick}"
    );
    assert_eq!(
        pick["typed_config"].get("rules"),
        None,
        "nothing is enforced here"
    );
    assert_eq!(
        json_of(ask),
        json!({
            "transport_api_version": "V3",
            "failure_mode_allow": false,
            "filter_enabled_metadata": {
                "filter": "envoy.filters.http.rbac",
                "path": [{"key": "istio_ext_authz_shadow_effective_policy_id"}],
                "value": {"string_match": {"prefix": "istio-ext-authz-opa-ns["}},
            },
            "grpc_service": {
                "envoy_grpc": {"cluster_name": "outbound|9000||127.0.0.1", "authority": "127.0.0.1"},
                "timeout": "600s",
            },
        })
    );
    assert_eq!(custom.clusters.len(), 1);
}

#[test]
fn two_providers_for_one_workload_deny_what_both_would_be_asked() {
    let policies = [policy("a", "opa", false), policy("b", "opa-2", false)];
    let (custom, checks) = custom(&policies, two());
    checks.done().unwrap();
    let ids: Vec<String> = custom
        .filters
        .iter()
        .flat_map(|filter| {
            let filter = json_of(filter);
            let rules = filter["typed_config"]["rules"].clone();
            assert_eq!(rules["action"], "DENY");
            let policies = rules["policies"].as_object().unwrap().clone();
            policies.into_iter().map(|(id, _)| id)
        })
        .collect();
    assert_eq!(
        ids,
        [
            "istio-ext-authz-opa-ns[foo]-policy[a]-rule[0]-deny-due-to-bad-CUSTOM-action",
            "istio-ext-authz-opa-2-ns[foo]-policy[b]-rule[0]-deny-due-to-bad-CUSTOM-action",
        ]
    );
    assert!(custom.clusters.is_empty());
}

#[test]
fn a_policy_on_trial_asks_nobody() {
    let policies = [policy("a", "opa", false), policy("b", "opa-2", true)];
    let (custom, checks) = custom(&policies, two());
    checks.done().unwrap();
    assert_eq!(custom.filters.len(), 2, "only the one in force");
}

#[test]
fn an_unknown_provider_is_refused() {
    let (_, checks) = custom(&[policy("a", "unknown", false)], two());
    let refused = checks.done().unwrap_err();
    assert_eq!(refused.problems()[0].path, "mesh.extensionProviders");
}

#[test]
fn an_http_provider_with_every_field() {
    let provider = json!([{"name": "opa", "envoyExtAuthzHttp": {
        "service": "my-ns/localhost", "port": 8000, "timeout": "250ms", "pathPrefix": "/check",
        "failOpen": true, "statusOnError": "503",
        "includeHeadersInCheck": ["old"],
        "includeRequestHeadersInCheck": ["x-id", "x-pre-*", "*-suf"],
        "includeAdditionalHeadersInCheck": {"x-b": "2", "x-a": "1"},
        "includeRequestBodyInCheck": {"maxRequestBytes": 2048, "allowPartialMessage": true, "packAsBytes": true},
        "headersToUpstreamOnAllow": ["authorization"],
        "headersToDownstreamOnDeny": ["set-cookie"],
        "headersToDownstreamOnAllow": ["x-ok"],
    }}]);
    let (custom, checks) = custom(&[policy("a", "opa", false)], provider);
    checks.done().unwrap();
    let names = |tests: Value| json!({"patterns": tests});
    let exact = |name: &str| names(json!([{"exact": name, "ignore_case": true}]));
    assert_eq!(
        json_of(&custom.filters[1]),
        json!({
            "transport_api_version": "V3",
            "failure_mode_allow": true,
            "status_on_error": {"code": 503},
            "filter_enabled_metadata": {
                "filter": "envoy.filters.http.rbac",
                "path": [{"key": "istio_ext_authz_shadow_effective_policy_id"}],
                "value": {"string_match": {"prefix": "istio-ext-authz-opa-ns["}},
            },
            "allowed_headers": names(json!([
                {"exact": "x-id", "ignore_case": true},
                {"prefix": "x-pre-", "ignore_case": true},
                {"suffix": "-suf", "ignore_case": true},
            ])),
            "with_request_body": {"max_request_bytes": 2048, "allow_partial_message": true, "pack_as_bytes": true},
            "http_service": {
                "server_uri": {"uri": "http://localhost", "cluster": "outbound|8000||localhost", "timeout": "0.250s"},
                "path_prefix": "/check",
                "authorization_request": {"headers_to_add": [
                    {"key": "x-a", "value": "1"}, {"key": "x-b", "value": "2"},
                ]},
                "authorization_response": {
                    "allowed_upstream_headers": exact("authorization"),
                    "allowed_client_headers": exact("set-cookie"),
                    "allowed_client_headers_on_success": exact("x-ok"),
                },
            },
        })
    );
}

#[track_caller]
fn problems(list: Value, identities: &[(&str, &[&str])]) -> Vec<String> {
    let list = read(list);
    let ids = |ids: &[&str]| {
        ids.iter()
            .map(|id| id.parse::<SpiffeId>().unwrap())
            .collect()
    };
    let identities: BTreeMap<String, BTreeSet<SpiffeId>> = identities
        .iter()
        .map(|(name, all)| ((*name).to_owned(), ids(all)))
        .collect();
    let tls = tls();
    let mut checks = Checks::default();
    Providers {
        list: &list,
        identities: &identities,
        tls: &tls,
    }
    .check("mesh", &mut checks);
    let refused = checks.done().err().map(|errors| errors.into_problems());
    let refused = refused.into_iter().flatten().map(|error| error.path);
    refused.map(|path| path.replacen("mesh.", "", 1)).collect()
}

#[test]
fn each_bad_field_is_refused_with_its_path() {
    assert_eq!(problems(two(), &[]), Vec::<String>::new());
    let grpc = |field: &str, value: Value| {
        let mut grpc = json!({"service": "localhost", "port": 9000});
        grpc[field] = value;
        json!([{"name": "p", "envoyExtAuthzGrpc": grpc}])
    };
    let http = |field: &str, value: Value| {
        let mut http = json!({"service": "localhost", "port": 9000});
        http[field] = value;
        json!([{"name": "p", "envoyExtAuthzHttp": http}])
    };
    let cases = [
        (grpc("service", json!("")), "envoyExtAuthzGrpc.service"),
        (
            grpc("service", json!("ns/opa.example")),
            "envoyExtAuthzGrpc.service",
        ),
        (
            grpc("service", json!("10.0.0.1")),
            "envoyExtAuthzGrpc.service",
        ),
        (grpc("port", json!(0)), "envoyExtAuthzGrpc.port"),
        (grpc("timeout", json!("0s")), "envoyExtAuthzGrpc.timeout"),
        (grpc("timeout", json!("soon")), "envoyExtAuthzGrpc.timeout"),
        (
            grpc("statusOnError", json!("200")),
            "envoyExtAuthzGrpc.statusOnError",
        ),
        (
            grpc("statusOnError", json!("999")),
            "envoyExtAuthzGrpc.statusOnError",
        ),
        (
            grpc("includeRequestBodyInCheck", json!({"maxRequestBytes": 0})),
            "envoyExtAuthzGrpc.includeRequestBodyInCheck.maxRequestBytes",
        ),
        (
            http("pathPrefix", json!("check")),
            "envoyExtAuthzHttp.pathPrefix",
        ),
        (
            http("pathPrefix", json!("/a b")),
            "envoyExtAuthzHttp.pathPrefix",
        ),
        (
            http("headersToUpstreamOnAllow", json!(["*"])),
            "envoyExtAuthzHttp.headersToUpstreamOnAllow[0]",
        ),
        (
            http("includeRequestHeadersInCheck", json!(["a", ""])),
            "envoyExtAuthzHttp.includeRequestHeadersInCheck[1]",
        ),
        (
            http(
                "includeAdditionalHeadersInCheck",
                json!({"x": "%REQ(:path)%"}),
            ),
            "envoyExtAuthzHttp.includeAdditionalHeadersInCheck.x",
        ),
    ];
    for (list, path) in cases {
        assert_eq!(
            problems(list, &[]),
            [format!("extensionProviders[0].{path}")]
        );
    }
    let both =
        json!([{"name": "p", "envoyExtAuthzHttp": {}, "envoyExtAuthzGrpc": {}}, {"name": "q"}]);
    assert_eq!(
        problems(both, &[]),
        ["extensionProviders[0]", "extensionProviders[1]"]
    );
    let names = json!([
        {"name": "P", "envoyExtAuthzHttp": {"service": "localhost", "port": 1}},
        {"name": "P", "envoyExtAuthzHttp": {"service": "localhost", "port": 1}},
    ]);
    let twice = [
        "extensionProviders[0].name",
        "extensionProviders[1].name",
        "extensionProviders[1].name",
    ];
    assert_eq!(problems(names, &[]), twice);
}

#[test]
fn a_provider_in_the_network_needs_identities() {
    let far =
        json!([{"name": "far", "envoyExtAuthzGrpc": {"service": "opa.example", "port": 9000}}]);
    let id: &[&str] = &["spiffe://cluster.local/ns/opa/sa/opa"];
    assert_eq!(problems(far.clone(), &[("far", id)]), Vec::<String>::new());
    assert_eq!(
        problems(far.clone(), &[("far", &[])]),
        ["providerIdentities.far"]
    );
    assert_eq!(
        problems(far, &[("fra", id)]),
        [
            "extensionProviders[0].envoyExtAuthzGrpc.service",
            "providerIdentities.fra"
        ]
    );
}

#[test]
fn unknown_fields_and_kinds_of_providers_are_refused() {
    for list in [
        json!([{"name": "p", "zipkin": {}}]),
        json!([{"name": "p", "envoyExtAuthzGrpc": {"service": "s", "port": 1, "failopen": true}}]),
        json!([{"name": "p", "envoyExtAuthzGrpc": {"service": "s", "port": 65_536}}]),
    ] {
        assert!(
            serde_json::from_value::<Vec<ExtensionProvider>>(list.clone()).is_err(),
            "{list}"
        );
    }
}
