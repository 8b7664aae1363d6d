//! Filter chains with our filter in them: what stands in front of it and what behind.

use envoy_config::doctor::{Weakness, inspect};
use serde_json::{Value, json};

use crate::golden;

/// The connection manager of a case's listener.
fn manager(config: &mut Value) -> &mut Value {
    let manager = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
    config.pointer_mut(manager).unwrap()
}

#[track_caller]
fn found_after(case: &str, change: impl Fn(&mut Value)) -> Vec<(Weakness, String)> {
    let mut config = golden(case);
    change(&mut config);
    let found = inspect(&config).into_iter();
    found
        .map(|finding| (finding.weakness, finding.path))
        .collect()
}

/// The last but one, our filter, moved in front of all others.
fn our_filter_first(config: &mut Value) {
    let filters = manager(config)["http_filters"].as_array_mut().unwrap();
    let ours = filters.remove(filters.len() - 2);
    filters.insert(0, ours);
}

const FILTERS: &str = "static_resources.listeners[0].filter_chains[0].filters[0].typed_config";

/// Both what validates tokens and what leaves their claims for our filter come too late.
fn late_tokens() -> Vec<(Weakness, String)> {
    let at = |index: usize| format!("{FILTERS}.http_filters[{index}]");
    vec![
        (Weakness::JwtAfterFilter, at(1)),
        (Weakness::StateAfterFilter, at(2)),
    ]
}

#[test]
fn what_has_to_stand_in_front_of_our_filter_is_missed_there() {
    assert_eq!(found_after("server-jwt", our_filter_first), late_tokens());
    assert_eq!(
        found_after("server-ip-blocks", our_filter_first),
        [(
            Weakness::StateAfterFilter,
            format!("{FILTERS}.http_filters[1]")
        )]
    );
    let asked_late = found_after("server-custom-grpc", our_filter_first);
    assert_eq!(
        asked_late,
        [
            (
                Weakness::AskedAfterFilter,
                format!("{FILTERS}.http_filters[2]")
            ),
            (
                Weakness::CustomNotAsked,
                format!("{FILTERS}.http_filters[0]")
            ),
        ]
    );
}

#[test]
fn a_provider_that_nobody_asks_is_found() {
    let without = |config: &mut Value| {
        let filters = manager(config)["http_filters"].as_array_mut().unwrap();
        filters.retain(|filter| filter["name"] != "envoy.filters.http.ext_authz");
    };
    let expected = [(
        Weakness::CustomNotAsked,
        format!("{FILTERS}.http_filters[1]"),
    )];
    assert_eq!(found_after("server-custom-grpc", without), expected);
    // Another provider than the policy's is asked.
    let other = |config: &mut Value| {
        let matcher =
            &mut manager(config)["http_filters"][1]["typed_config"]["filter_enabled_metadata"];
        matcher["value"]["string_match"]["prefix"] = json!("istio-ext-authz-opa-2-ns[");
    };
    let expected = [(
        Weakness::CustomNotAsked,
        format!("{FILTERS}.http_filters[2]"),
    )];
    assert_eq!(found_after("server-custom-grpc", other), expected);
    // istiod's own matchers, which end with the name, will do.
    let istiod = |config: &mut Value| {
        let matcher =
            &mut manager(config)["http_filters"][1]["typed_config"]["filter_enabled_metadata"];
        matcher["value"]["string_match"]["prefix"] = json!("istio-ext-authz-opa");
    };
    assert_eq!(found_after("server-custom-grpc", istiod), []);
}

#[test]
fn a_provider_that_may_fail_open_is_found() {
    let open = |config: &mut Value| {
        manager(config)["http_filters"][1]["typed_config"]["failure_mode_allow"] = json!(true);
    };
    let path = format!("{FILTERS}.http_filters[1].typed_config");
    assert_eq!(
        found_after("server-custom-grpc", open),
        [(Weakness::FailOpen, path)]
    );
}

#[test]
fn settings_of_the_connection_manager_that_undo_path_and_header_rules_are_found() {
    let set = |pointer: &'static str, value: Value| {
        move |config: &mut Value| *manager(config).pointer_mut(pointer).unwrap() = value.clone()
    };
    let cases = [
        (
            found_after(
                "server-sds-wasm",
                set(
                    "/common_http_protocol_options/headers_with_underscores_action",
                    json!("ALLOW"),
                ),
            ),
            Weakness::HeadersWithUnderscores,
        ),
        (
            found_after("server-sds-wasm", set("/normalize_path", json!(false))),
            Weakness::PathNormalization,
        ),
        (
            found_after("server-sds-wasm", set("/merge_slashes", json!(false))),
            Weakness::PathNormalization,
        ),
        (
            found_after(
                "server-sds-wasm",
                set("/path_with_escaped_slashes_action", json!("REJECT_REQUEST")),
            ),
            Weakness::PathNormalization,
        ),
        (
            found_after(
                "server-sds-wasm",
                set("/early_header_mutation_extensions", json!([])),
            ),
            Weakness::EnvoyHeaders,
        ),
        // A client's: the way in to the hold.
        (
            found_after(
                "client-sds-hold",
                set("/early_header_mutation_extensions", json!([])),
            ),
            Weakness::EnvoyHeaders,
        ),
    ];
    for (found, expected) in cases {
        assert_eq!(found, [(expected, FILTERS.to_owned())]);
    }
    // Where there is neither our filter nor a hold, these headers are nobody's concern.
    let strip = set("/early_header_mutation_extensions", json!([]));
    assert_eq!(found_after("client-files", strip), []);
}

#[test]
fn plaintext_that_no_resource_asks_for_is_found() {
    let plain = |config: &mut Value| {
        let chain = &mut config["static_resources"]["listeners"][0]["filter_chains"][0];
        chain.as_object_mut().unwrap().remove("transport_socket");
    };
    let chain = "static_resources.listeners[0].filter_chains[0]".to_owned();
    assert_eq!(
        found_after("server-sds-wasm", plain),
        [(Weakness::PlaintextChain, chain)]
    );
    assert_eq!(found_after("server-disable", |_| {}), []);
}

#[test]
fn clients_without_a_certificate_are_found_in_permissive_mode_too() {
    let context = "static_resources.listeners[0].filter_chains[0].transport_socket.typed_config";
    let optional = |config: &mut Value| {
        let chain = &mut config["static_resources"]["listeners"][0]["filter_chains"][0];
        chain["transport_socket"]["typed_config"]["require_client_certificate"] = json!(false);
    };
    assert_eq!(
        found_after("server-permissive", optional),
        [(Weakness::NoClientCertificate, context.to_owned())]
    );
}

/// A listener of a network filter chain: our filter, then `tcp_proxy` in this mode.
fn tcp(mode: Option<&str>) -> Value {
    let mut http = golden("server-sds-wasm");
    let chain = "/static_resources/listeners/0/filter_chains/0";
    let mut wasm = manager(&mut http)["http_filters"][0]["typed_config"].take();
    wasm["@type"] = json!("type.googleapis.com/envoy.extensions.filters.network.wasm.v3.Wasm");
    let mut proxy = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "tcp", "cluster": "app",
    });
    if let Some(mode) = mode {
        proxy["upstream_connect_mode"] = json!(mode);
    }
    http.pointer_mut(chain).unwrap()["filters"] = json!([
        {"name": "envoy.filters.network.wasm", "typed_config": wasm},
        {"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy},
    ]);
    http
}

#[test]
fn connections_that_are_opened_before_the_decision_are_found() {
    let path = "static_resources.listeners[0].filter_chains[0].filters[1]";
    for mode in [None, Some("IMMEDIATE")] {
        let found = inspect(&tcp(mode));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(
            (found[0].weakness, found[0].path.as_str()),
            (Weakness::ImmediateConnect, path)
        );
    }
    for mode in ["ON_DOWNSTREAM_DATA", "ON_DOWNSTREAM_TLS_HANDSHAKE"] {
        assert_eq!(inspect(&tcp(Some(mode))), [], "{mode}");
    }
}

#[test]
fn a_hold_of_the_connection_needs_its_mark_and_early_data() {
    let without = |field: &'static str| {
        move |config: &mut Value| {
            let filters = "/static_resources/listeners/0/filter_chains/0/filters";
            for filter in config.pointer_mut(filters).unwrap().as_array_mut().unwrap() {
                let config = filter["typed_config"].as_object_mut().unwrap();
                config.remove(field);
            }
        }
    };
    for field in ["on_new_connection", "max_early_data_bytes"] {
        let found = found_after("tcp-server-first", without(field));
        assert_eq!(found.len(), 1, "{field}: {found:?}");
        assert_eq!(found[0].0, Weakness::ImmediateConnect, "{field}");
    }
}

/// In a dump of a proxy whose plug-ins come by discovery, as in Istio, the chain has only the filter's name.
#[test]
fn a_plugin_that_comes_by_discovery_is_known_by_its_name() {
    let discovered = |config: &mut Value| {
        our_filter_first(config);
        let ours = manager(config)["http_filters"][0]["typed_config"].take();
        manager(config)["http_filters"][0] = json!({
            "name": "default.countersign",
            "config_discovery": {"type_urls": ["type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"]},
        });
        config["ecds_filters"] = json!([by_discovery(ours)]);
    };
    assert_eq!(found_after("server-jwt", discovered), late_tokens());
}

/// Our plug-in as a dump has it that came by discovery.
fn by_discovery(ours: Value) -> Value {
    json!({"ecds_filter": {
        "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
        "name": "default.countersign",
        "typed_config": ours,
    }})
}

/// Such a plug-in may hold a cluster's requests, and a dump may have it behind the cluster that names it.
#[test]
fn a_hold_that_comes_by_discovery_is_known_wherever_in_the_dump_it_is() {
    for place in ["ecds_filters", "xds_filters"] {
        let discovered = |config: &mut Value| {
            let mut ours = Value::Null;
            for cluster in config["static_resources"]["clusters"]
                .as_array_mut()
                .unwrap()
            {
                let options = "/typed_extension_protocol_options/\
                               envoy.extensions.upstreams.http.v3.HttpProtocolOptions/http_filters/0";
                if let Some(filter) = cluster.pointer_mut(options) {
                    ours = filter["typed_config"].take();
                    *filter = json!({"name": "default.countersign"});
                }
            }
            assert!(ours.is_object(), "a cluster that holds");
            config[place] = json!([by_discovery(ours)]);
            manager(config)["early_header_mutation_extensions"] = json!([]);
        };
        let found = found_after("client-sds-hold", discovered);
        assert_eq!(found, [(Weakness::EnvoyHeaders, FILTERS.to_owned())]);
    }
}

#[test]
fn a_configuration_our_filter_would_refuse_hides_only_what_it_would_say() {
    let garbled = |config: &mut Value| {
        our_filter_first(config);
        manager(config)["http_filters"][0]["typed_config"]["config"]["configuration"]["value"] =
            json!("{");
    };
    let found = found_after("server-jwt", garbled);
    assert_eq!(found, late_tokens());
}

#[test]
fn every_weakness_says_what_to_do() {
    let found = found_after("server-jwt", our_filter_first);
    let remedy = found[0].0.remedy();
    assert!(remedy.contains("in front of our filter"), "{remedy}");
}

/// Network filters of the first filter chain.
fn network_filters(config: &mut Value) -> &mut Vec<Value> {
    let filters = "/static_resources/listeners/0/filter_chains/0/filters";
    config.pointer_mut(filters).unwrap().as_array_mut().unwrap()
}

const CHAIN: &str = "static_resources.listeners[0].filter_chains[0]";

#[test]
fn a_provider_for_connections_has_to_be_asked_and_behind_the_hold() {
    // The mark, our filter, what picks, what asks, the proxy.
    let missing = |config: &mut Value| {
        network_filters(config).remove(3);
    };
    let nobody = (Weakness::CustomNotAsked, format!("{CHAIN}.filters[1]"));
    assert_eq!(found_after("tcp-custom", missing), [nobody]);
    let in_front = |config: &mut Value| network_filters(config)[1..4].rotate_left(1);
    let early = (Weakness::AskedBeforeHold, format!("{CHAIN}.filters[2]"));
    assert_eq!(found_after("tcp-custom", in_front), [early]);
    // As in Istio: without the mark our filter holds bytes only, and those come after the answer.
    let unmarked = |config: &mut Value| {
        in_front(config);
        network_filters(config).remove(0);
    };
    assert_eq!(found_after("tcp-custom", unmarked), []);
}

#[test]
fn a_header_of_a_gateway_that_is_thrown_away_is_found() {
    let path = format!("{CHAIN}.filters[0]");
    for details in [json!("SANITIZE"), json!("SANITIZE_SET"), Value::Null] {
        let throw_away = |config: &mut Value| {
            manager(config)["forward_client_cert_details"] = details.clone();
        };
        let expected = [(Weakness::ForwardedCertificateRemoved, path.clone())];
        for case in ["server-forwarded", "server-forwarded-permissive"] {
            assert_eq!(found_after(case, throw_away), expected, "{details}");
        }
        assert_eq!(found_after("server-sds-wasm", throw_away), [], "no hop");
    }
    for details in ["APPEND_FORWARD", "ALWAYS_FORWARD_ONLY"] {
        let keep = |config: &mut Value| {
            manager(config)["forward_client_cert_details"] = details.into();
        };
        assert_eq!(found_after("server-forwarded", keep), []);
    }
}

/// The listeners of two bootstraps in one.
fn together(first: &str, second: &str, change: impl Fn(&mut Value)) -> Vec<Weakness> {
    let (mut config, mut more) = (golden(first), golden(second));
    change(&mut more);
    let added = more["static_resources"]["listeners"][0].take();
    let listeners = config["static_resources"]["listeners"].as_array_mut();
    listeners.unwrap().push(added);
    let found = inspect(&config).into_iter();
    found.map(|finding| finding.weakness).collect()
}

#[test]
fn filters_that_would_take_one_another_for_a_version_of_themselves_are_found() {
    // Of one listener, at one address: the names are the same, the configurations are not.
    let shared = [Weakness::SharedPluginName];
    assert_eq!(together("server-jwt", "server-ip-blocks", |_| {}), shared);
    assert_eq!(together("server-jwt", "server-jwt", |_| {}), []);
    let renamed = |config: &mut Value| {
        for filter in manager(config)["http_filters"].as_array_mut().unwrap() {
            if filter["name"] == "envoy.filters.http.wasm" {
                filter["typed_config"]["config"]["name"] = json!("another");
            }
        }
    };
    assert_eq!(together("server-jwt", "server-ip-blocks", renamed), []);
    // In a dump, a listener that takes over is beside the one that it takes over from.
    let old = golden("server-jwt")["static_resources"]["listeners"][0].take();
    let new = golden("server-ip-blocks")["static_resources"]["listeners"][0].take();
    let dump = json!({"dynamic_listeners": [{
        "active_state": {"listener": new}, "draining_state": {"listener": old},
    }]});
    assert_eq!(inspect(&dump), []);
}

#[test]
fn keys_that_come_in_plaintext_are_found_out() {
    let with_keys = |uri: &str, cluster: Value| {
        let provider = json!({"issuer": "i", "remote_jwks": {"http_uri": {
            "uri": uri, "cluster": "keys", "timeout": "5s",
        }}});
        inspect(&json!({"clusters": [cluster], "typed_config": {"providers": {"p": provider}}}))
    };
    let plain = json!({"name": "keys", "connect_timeout": "1s"});
    for uri in [
        "http://keys.example/jwks",
        "HTTP://10.0.0.1",
        "http://[2001:db8::1]:80/jwks",
        "http://127.0.0.1.example/jwks",
        "http://localhost.example:80/jwks",
        "http://localhost:80@keys.example/jwks",
        "http://",
    ] {
        let found = with_keys(uri, plain.clone());
        assert_eq!(found.len(), 1, "{uri}: {found:?}");
        let path = "typed_config.providers.p.remote_jwks";
        let first = (found[0].weakness, found[0].path.as_str());
        assert_eq!(first, (Weakness::KeysOverPlaintext, path), "{uri}");
    }
    for uri in [
        "https://keys.example/jwks",
        "http://127.0.0.1:8080/jwks",
        "http://[::1]/jwks",
        "http://localhost/jwks",
    ] {
        assert_eq!(with_keys(uri, plain.clone()), [], "{uri}");
    }
    let mut tls = plain;
    tls["transport_socket"] = json!({"name": "envoy.transport_sockets.tls"});
    assert_eq!(with_keys("http://keys.example/jwks", tls.clone()), []);
    tls["name"] = json!("another");
    assert_eq!(with_keys("http://keys.example/jwks", tls).len(), 1);
}
