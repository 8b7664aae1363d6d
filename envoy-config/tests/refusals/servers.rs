//! Servers, and what both sides share.

use std::collections::BTreeSet;
use std::time::Duration;

use envoy_config::Problem;
use envoy_config::address::{Admin, Endpoint};
use envoy_config::age::ConnectionAge;
use envoy_config::sidecar::{InboundFilter, PathNormalization, Server};
use envoy_config::tls::ClientSans;
use policy::config::{PluginConfig, PolicyBundleConfig};

use crate::support::{client_refused, list, plugin, server, server_refused, upstream_refused};

#[test]
fn an_empty_identity_set_is_refused() {
    let problem = upstream_refused("allowed", |upstream| upstream.allowed.clear());
    assert!(matches!(problem, Problem::NoIdentity), "{problem:?}");
    let problem = server_refused("clients", |server| {
        server.clients = ClientSans::TrustDomains(BTreeSet::new());
    });
    assert!(matches!(problem, Problem::NoIdentity), "{problem:?}");
}

#[test]
fn the_plugin_configuration_has_to_fit_its_place() {
    let problem = client_refused("filter.config.direction", |client| {
        client.filter.as_mut().unwrap().config = plugin("inbound");
    });
    assert!(matches!(problem, Problem::BadText { .. }), "{problem:?}");
    let problem = client_refused("filter.config.secureNaming.clusters", |client| {
        let naming = client
            .filter
            .as_mut()
            .unwrap()
            .config
            .secure_naming
            .as_mut()
            .unwrap();
        naming.clusters.insert("other".to_owned(), BTreeSet::new());
    });
    assert!(
        matches!(problem, Problem::Contradicts { .. }),
        "{problem:?}"
    );
    let problem = client_refused("filter.config.secureNaming", |client| {
        client.filter.as_mut().unwrap().config.secure_naming = None;
    });
    assert!(matches!(problem, Problem::Plugin(_)), "{problem:?}");
}

fn with_config(server: &mut Server, change: impl Fn(&mut PluginConfig)) {
    if let InboundFilter::Wasm { config, .. } = &mut server.filter {
        change(config);
    }
}

#[test]
fn a_configuration_that_the_filter_would_refuse_is_refused_here() {
    let problem = server_refused("filter.config.policies[0].spec.rulez", |server| {
        with_config(server, |config| {
            config.policies = vec![serde_json::json!({
                "apiVersion": "security.istio.io/v1",
                "kind": "AuthorizationPolicy",
                "metadata": {"name": "p", "namespace": "default"},
                "spec": {"rulez": []},
            })];
        });
    });
    assert!(matches!(problem, Problem::Plugin(_)), "{problem:?}");
}

#[test]
fn a_deny_list_needs_the_agents_cluster_and_socket() {
    let problem = server_refused("filter.config.denyList", |server| {
        with_config(server, |config| config.deny_list = Some(list()));
    });
    assert!(
        matches!(problem, Problem::Contradicts { .. }),
        "{problem:?}"
    );
    let problem = server_refused("filter.config.denyList.cluster", |server| {
        server.agent_http = Some("/agent.sock".into());
        with_config(server, |config| {
            let mut list = list();
            list.cluster = "agent".to_owned();
            config.deny_list = Some(list);
        });
    });
    assert!(matches!(problem, Problem::BadText { .. }), "{problem:?}");
}

#[test]
fn paths_are_normalised_as_policies_are_compiled() {
    let problem = server_refused("pathNormalization", |server| {
        server.path_normalization = Some(PathNormalization::Base);
        with_config(server, |config| {
            config.path_normalization = PathNormalization::MergeSlashes
        });
    });
    assert!(
        matches!(problem, Problem::Contradicts { .. }),
        "{problem:?}"
    );
}

#[test]
fn no_header_of_a_gateway_is_read_where_there_is_no_tls() {
    let problem = server_refused("filter.config.forwardedClientCert", |server| {
        with_config(server, |config| {
            let hop = serde_json::json!({"hop": "spiffe://cluster.local/ns/edge/sa/gateway"});
            config.forwarded_client_cert = serde_json::from_value(hop).unwrap();
            config.policies.push(serde_json::json!({
                "apiVersion": "security.istio.io/v1",
                "kind": "PeerAuthentication",
                "metadata": {"name": "plain", "namespace": "default"},
                "spec": {"mtls": {"mode": "DISABLE"}},
            }));
        });
    });
    assert!(
        matches!(problem, Problem::Contradicts { .. }),
        "{problem:?}"
    );
}

#[test]
fn addresses_have_to_be_usable() {
    let problem = server_refused("listen", |server| server.listen.set_port(0));
    assert!(matches!(problem, Problem::NoPort), "{problem:?}");
    let problem = server_refused("app", |server| server.app = Endpoint::Ip(server.listen));
    assert!(matches!(problem, Problem::Duplicate { .. }), "{problem:?}");
    let long = format!("/{}.sock", "x".repeat(103));
    let problem = server_refused("admin", |server| {
        server.admin = Admin::Unix(long.clone().into())
    });
    assert!(matches!(problem, Problem::BadText { .. }), "{problem:?}");
    let problem = server_refused("accessLog", |server| server.access_log = Some("".into()));
    assert!(matches!(problem, Problem::Empty), "{problem:?}");
    let problem = upstream_refused("endpoints[0]", |upstream| {
        upstream.endpoints = vec![Endpoint::Dns {
            name: "a b".to_owned(),
            port: 1,
        }];
    });
    assert!(matches!(problem, Problem::BadText { .. }), "{problem:?}");
    let problem = upstream_refused("endpoints", |upstream| upstream.endpoints.clear());
    assert!(matches!(problem, Problem::Empty), "{problem:?}");
}

#[test]
fn connections_may_not_age_too_fast() {
    let problem = server_refused("connectionAge", |server| {
        server.connection_age = ConnectionAge::quarter_of_leaf_life(Duration::from_secs(4));
    });
    assert!(matches!(problem, Problem::OutOfRange { .. }), "{problem:?}");
}

#[test]
fn every_problem_is_reported_at_once() {
    let mut server = server();
    server.node_id.clear();
    server.listen.set_port(0);
    server.connection_age = ConnectionAge::at_most(Duration::ZERO);
    let text = server.bootstrap().unwrap_err().to_string();
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(
        text.starts_with("nodeId: is empty\nlisten: port 0"),
        "{text}"
    );
}

/// So many policies, each under a name of its own.
fn many(server: &mut Server, count: usize) {
    let policy = |number: usize| {
        serde_json::json!({
            "apiVersion": "security.istio.io/v1",
            "kind": "AuthorizationPolicy",
            "metadata": {"name": format!("policy-{number}"), "namespace": "default"},
            "spec": {"action": "ALLOW", "rules": [{
                "to": [{"operation": {"paths": [format!("/path-{number}")]}}],
            }]},
        })
    };
    with_config(server, |config| {
        config.policies = (0..count).map(policy).collect();
    });
}

#[test]
fn policies_that_are_too_many_belong_in_a_bundle() {
    let problem = server_refused("filter.config.policies", |server| many(server, 2000));
    assert!(
        matches!(problem, Problem::PoliciesTooLarge { limit: 262_144, .. }),
        "{problem:?}"
    );
    let told = problem.to_string();
    for remedy in ["countersign policy publish", "policyBundle"] {
        assert!(told.contains(remedy), "{told}");
    }
    // Where nobody has to take it but Envoy.
    let mut server = server();
    many(&mut server, 2000);
    server.mesh.max_inline_bytes = usize::MAX;
    assert!(server.bootstrap().is_ok());
}

fn take_bundle(server: &mut Server) {
    server.agent_http = Some("/run/agent.sock".into());
    with_config(server, |config| {
        config.deny_list = Some(list());
        config.policy_bundle = Some(PolicyBundleConfig {
            name: "shop".to_owned(),
            at_least: None,
        });
    });
}

#[test]
fn policies_are_in_the_configuration_or_in_a_bundle() {
    let problem = server_refused("filter.config.policyBundle", |server| {
        take_bundle(server);
        many(server, 1);
    });
    assert!(matches!(problem, Problem::Plugin(_)), "{problem:?}");
    // What only the proxy reads is no policy of the filter's.
    let mut server = server();
    take_bundle(&mut server);
    server.mesh.jwks_roots = Some("/roots.pem".into());
    with_config(&mut server, |config| {
        config.policies = vec![serde_json::json!({
            "apiVersion": "security.istio.io/v1",
            "kind": "RequestAuthentication",
            "metadata": {"name": "tokens", "namespace": "default"},
            "spec": {"jwtRules": [
                {"issuer": "https://a.example", "jwksUri": "https://a.example/keys"},
            ]},
        })];
    });
    let bootstrap = server.bootstrap();
    let bootstrap = bootstrap.unwrap_or_else(|errors| panic!("{errors}"));
    assert!(bootstrap.to_yaml().unwrap().contains("jwt_authn"));
}
