//! CUSTOM on TCP.

use policy::Protocol;
use serde_json::json;

use super::{custom_for, json_of, policy, two};

/// What istiod writes (`custom-both-http-tcp-out2`), but for the end of the matcher's prefix.
#[test]
fn about_connections_a_grpc_provider_is_asked_by_a_network_filter() {
    let policies = [policy("a", "opa", false)];
    let (custom, checks) = custom_for(Protocol::Tcp, &policies, two());
    checks.done().unwrap();
    let [pick, ask] = custom.filters.as_slice() else {
        panic!("{:?}", custom.filters);
    };
    let pick = json_of(pick);
    assert_eq!(pick["name"], "envoy.filters.network.rbac");
    let rule = "istio-ext-authz-opa-ns[foo]-policy[a]-rule[0]";
    let rules = &pick["typed_config"]["shadow_rules"]["policies"];
    assert!(rules.get(rule).is_some(), "{pick}");
    assert_eq!(
        json_of(ask),
        json!({
            "stat_prefix": "tcp.",
            "transport_api_version": "V3",
            "failure_mode_allow": false,
            "filter_enabled_metadata": {
                "filter": "envoy.filters.network.rbac",
                "path": [{"key": "istio_ext_authz_shadow_effective_policy_id"}],
                "value": {"string_match": {"prefix": "istio-ext-authz-opa-ns["}},
            },
            "grpc_service": {
                "envoy_grpc": {"cluster_name": "outbound|9000||127.0.0.1", "authority": "127.0.0.1"},
                "timeout": "600s",
            },
        })
    );
}

#[test]
fn connections_that_nobody_can_be_asked_about_are_denied() {
    let one = [policy("a", "opa-2", false)];
    let both = [policy("a", "opa", false), policy("b", "opa-2", false)];
    for (policies, filters) in [(one.as_slice(), 1), (both.as_slice(), 2)] {
        let (custom, checks) = custom_for(Protocol::Tcp, policies, two());
        checks.done().unwrap();
        assert_eq!(custom.filters.len(), filters);
        for filter in custom.filters.iter().map(json_of) {
            assert_eq!(filter["name"], "envoy.filters.network.rbac");
            let config = &filter["typed_config"];
            assert_eq!(
                (&config["rules"]["action"], &config["stat_prefix"]),
                (&json!("DENY"), &json!("tcp."))
            );
        }
        assert!(custom.clusters.is_empty());
    }
}
