//! Our own bootstraps have none of the weaknesses; each weakness is found when it is put in.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod chains;

use std::fs;
use std::path::Path;

use envoy_config::doctor::{Weakness, inspect};
use serde_json::{Value, json};

fn golden(case: &str) -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let text = fs::read_to_string(root.join(case).join("envoy-1.40.yaml")).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

#[test]
fn our_bootstraps_are_clean() {
    for case in [
        "client-files",
        "client-hold-alone",
        "client-sds-hold",
        "server-custom-grpc",
        "server-custom-http",
        "server-disable",
        "server-files",
        "server-filter-state",
        "server-ip-blocks",
        "server-jwt",
        "server-native-rbac",
        "server-permissive",
        "server-policy-bundle",
        "server-sds-wasm",
        "tcp-client",
        "tcp-client-first",
        "tcp-permissive",
        "tcp-server-first",
    ] {
        assert_eq!(inspect(&golden(case)), [], "{case}");
    }
}

#[test]
fn the_bootstrap_that_asks_for_hedging_is_found_out() {
    let found = inspect(&golden("client-failover"));
    let path = "static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config\
                .virtual_hosts[0].routes[0].route.hedge_policy";
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (found[0].weakness, found[0].path.as_str()),
        (Weakness::Hedging, path)
    );
}

/// The one weakness of `case` after `value` was put at `pointer` (or what was there was taken away).
#[track_caller]
fn weakness(case: &str, pointer: &str, value: Option<Value>) -> Weakness {
    let mut config = golden(case);
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = config.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => parent.insert(name.to_owned(), value),
        None => Some(parent.remove(name).unwrap()),
    };
    let found = inspect(&config);
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].weakness
}

#[test]
fn each_weakness_is_found() {
    let chain = "/static_resources/listeners/0/filter_chains/0";
    let manager = format!("{chain}/filters/0/typed_config");
    let context = format!("{chain}/transport_socket/typed_config");
    let roots = format!("{context}/common_tls_context/validation_context");
    let upstream = "/static_resources/clusters/0/transport_socket/typed_config";
    let wasm = format!("{manager}/http_filters/0/typed_config/config");
    let route = format!("{manager}/route_config/virtual_hosts/0/routes/0");
    let yes = Some(json!(true));
    let (server, client) = ("server-files", "client-files");
    let switched_off = json!({"envoy.filters.http.wasm": {
        "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": true,
    }});
    let own_filters = json!([{"upgrade_type": "websocket", "filters": [{"name": "router"}]}]);
    let quic = json!({"@type": "type.googleapis.com/envoy.extensions.transport_sockets.quic.v3.QuicDownstreamTransport"});
    let cases = [
        (
            server,
            format!("{route}/typed_per_filter_config"),
            Some(switched_off),
            Weakness::FilterDisabled,
        ),
        (
            server,
            format!("{manager}/http_filters/0/disabled"),
            yes.clone(),
            Weakness::FilterDisabled,
        ),
        (
            server,
            format!("{manager}/upgrade_configs"),
            Some(own_filters),
            Weakness::UpgradeFilters,
        ),
        (
            "server-sds-wasm",
            format!("{wasm}/failure_policy"),
            Some(json!("FAIL_OPEN")),
            Weakness::FailOpen,
        ),
        (
            "server-sds-wasm",
            format!("{wasm}/fail_open"),
            yes.clone(),
            Weakness::FailOpen,
        ),
        (
            "server-sds-wasm",
            format!("{wasm}/allow_on_headers_stop_iteration"),
            yes.clone(),
            Weakness::StopIteration,
        ),
        (
            server,
            format!("{roots}/trust_chain_verification"),
            Some(json!("ACCEPT_UNTRUSTED")),
            Weakness::AcceptUntrusted,
        ),
        (
            server,
            format!("{roots}/trusted_ca"),
            None,
            Weakness::NoTrustedCa,
        ),
        (server, roots.clone(), None, Weakness::NoTrustedCa),
        (
            client,
            format!("{upstream}/common_tls_context"),
            None,
            Weakness::NoTrustedCa,
        ),
        (
            server,
            format!("{context}/require_client_certificate"),
            None,
            Weakness::NoClientCertificate,
        ),
        (
            server,
            format!("{context}/disable_stateless_session_resumption"),
            None,
            Weakness::Resumption,
        ),
        (
            server,
            format!("{context}/disable_stateful_session_resumption"),
            Some(json!(false)),
            Weakness::Resumption,
        ),
        (
            client,
            format!("{upstream}/max_session_keys"),
            None,
            Weakness::Resumption,
        ),
        (
            client,
            format!("{route}/route/hedge_policy"),
            Some(json!({"hedge_on_per_try_timeout": true})),
            Weakness::Hedging,
        ),
        (
            client,
            format!("{route}/route/retry_policy"),
            Some(json!({"per_try_timeout": "0.019s"})),
            Weakness::ShortPerTryTimeout,
        ),
        (server, context.clone(), Some(quic), Weakness::Quic),
    ];
    for (case, pointer, value, expected) in cases {
        assert_eq!(
            weakness(case, &pointer, value),
            expected,
            "{case} {pointer}"
        );
    }
}

#[test]
fn more_policies_than_belong_in_a_configuration_are_found() {
    let mut config = golden("server-sds-wasm");
    let manager = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
    let filters = config.pointer_mut(&format!("{manager}/http_filters"));
    let filters = filters.unwrap().as_array_mut().unwrap();
    let ours = filters.iter_mut().find_map(|filter| {
        let text = filter.pointer_mut("/typed_config/config/configuration/value")?;
        text.is_string().then_some(text)
    });
    let text = ours.unwrap();
    let mut plugin: Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
    let one = plugin["policies"][0].clone();
    let many = |count: usize| {
        let named = (0..count).map(|number| {
            let mut policy = one.clone();
            policy["metadata"]["name"] = json!(format!("policy-{number:05}"));
            policy
        });
        Value::Array(named.collect())
    };
    // Long only by the blanks of its lines.
    plugin["policies"] = many(700);
    *text = json!(serde_json::to_string_pretty(&plugin).unwrap());
    let is_long = text.as_str().unwrap().len() > 256 * 1024;
    plugin["policies"] = many(1400);
    let too_many = json!(plugin.to_string());
    let mut with_too_many = config.clone();
    assert!(is_long);
    assert_eq!(inspect(&config), []);
    let path = "http_filters/0/typed_config/config/configuration/value";
    let path = with_too_many.pointer(&format!("{manager}/{path}")).map_or(
        "http_filters/1/typed_config/config/configuration/value",
        |_| path,
    );
    *with_too_many
        .pointer_mut(&format!("{manager}/{path}"))
        .unwrap() = too_many;
    let found = inspect(&with_too_many);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].weakness, Weakness::LargePluginConfig);
}
