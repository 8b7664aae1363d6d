//! What a spec may not say: each refusal with its field path.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use envoy_config::address::{Admin, Endpoint};
use envoy_config::age::ConnectionAge;
use envoy_config::error::HoldRule;
use envoy_config::istio::{EnvoyFilter, ImagePullPolicy, Service, WasmPlugin};
use envoy_config::sidecar::{
    Client, Hedge, Hold, HttpVersion, InboundFilter, OutboundFilter, PathNormalization, Retry,
    SanMatchers, Server, Upstream, UpstreamTls,
};
use envoy_config::tls::{ClientSans, TlsSource};
use envoy_config::{Problem, SpecErrors};
use policy::config::PluginConfig;

fn plugin(direction: &str) -> PluginConfig {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let issuer = fs::read_to_string(folder.join("issuer.pem")).unwrap();
    let mut config = serde_json::json!({
        "schemaVersion": 1,
        "direction": direction,
        "workload": {"namespace": "default"},
        "trustDomain": "cluster.local",
        "trust": {"cluster.local": {"issuers": [issuer]}},
    });
    if direction == "outbound" {
        config["secureNaming"] = serde_json::json!({"clusters": {}});
    }
    serde_json::from_value(config).unwrap()
}

fn list() -> policy::config::DenyListConfig {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let key = fs::read_to_string(folder.join("list-key.pem")).unwrap();
    let list = serde_json::json!({"cluster": "countersign_agent_http", "keys": [key]});
    serde_json::from_value(list).unwrap()
}

fn sds(socket: &str) -> TlsSource {
    TlsSource::Sds {
        socket_path: socket.into(),
        certificate: "default".to_owned(),
        validation: "ROOTCA".to_owned(),
    }
}

fn server() -> Server {
    let app = "127.0.0.1:8000".parse().unwrap();
    let mut server = Server::new(
        "s",
        "127.0.0.1:15006".parse().unwrap(),
        app,
        sds("/agent.sock"),
    );
    server.filter = InboundFilter::Wasm {
        module: "/f.wasm".into(),
        config: Box::new(plugin("inbound")),
    };
    server
}

fn upstream() -> Upstream {
    let ids = BTreeSet::from(["spiffe://cluster.local/ns/default/sa/httpbin"
        .parse()
        .unwrap()]);
    let mut upstream = Upstream::new(
        "httpbin",
        "127.0.0.1:15006".parse().unwrap(),
        ids,
        sds("/agent.sock"),
    );
    upstream.hold = Hold::On;
    upstream
}

fn client() -> Client {
    let mut client = Client::new("c", "127.0.0.1:15001".parse().unwrap(), vec![upstream()]);
    client.filter = Some(OutboundFilter {
        module: "/f.wasm".into(),
        config: plugin("outbound"),
    });
    client
}

fn retry() -> Retry {
    Retry {
        on: vec!["connect-failure".to_owned()],
        attempts: 1,
        per_try_timeout: Some(Duration::from_millis(20)),
        hedge: Hedge::Never,
    }
}

fn problems(outcome: Result<impl Sized, SpecErrors>) -> Vec<(String, Problem)> {
    let Err(errors) = outcome else {
        return Vec::new();
    };
    assert!(!errors.problems().is_empty() && !errors.to_string().is_empty());
    errors
        .into_problems()
        .into_iter()
        .map(|error| (error.path, error.problem))
        .collect()
}

/// Exactly one problem, at this path.
#[track_caller]
fn only(outcome: Result<impl Sized, SpecErrors>, path: &str) -> Problem {
    let mut found = problems(outcome);
    assert_eq!(found.len(), 1, "{found:?}");
    let (at, problem) = found.remove(0);
    assert_eq!(at, path, "{problem:?}");
    problem
}

#[track_caller]
fn server_refused(path: &str, change: impl Fn(&mut Server)) -> Problem {
    let mut server = server();
    assert!(server.bootstrap().is_ok());
    change(&mut server);
    only(server.bootstrap(), path)
}

#[track_caller]
fn client_refused(path: &str, change: impl Fn(&mut Client)) -> Problem {
    let mut client = client();
    assert!(client.bootstrap().is_ok());
    change(&mut client);
    only(client.bootstrap(), path)
}

#[track_caller]
fn upstream_refused(path: &str, change: impl Fn(&mut Upstream)) -> Problem {
    client_refused(&format!("upstreams[0].{path}"), |client| {
        change(&mut client.upstreams[0])
    })
}

#[test]
fn the_hold_excludes_hedging() {
    let problem = upstream_refused("retry.hedge", |upstream| {
        upstream.retry = Some(Retry {
            hedge: Hedge::OnPerTryTimeout,
            ..retry()
        });
    });
    assert!(
        matches!(
            problem,
            Problem::Hold {
                rule: HoldRule::NoHedging
            }
        ),
        "{problem:?}"
    );
}

#[test]
fn the_hold_excludes_per_try_timeouts_below_20_ms() {
    let problem = upstream_refused("retry.perTryTimeout", |upstream| {
        let per_try_timeout = Some(Duration::from_millis(19));
        upstream.retry = Some(Retry {
            per_try_timeout,
            ..retry()
        });
    });
    assert!(
        matches!(
            problem,
            Problem::Hold {
                rule: HoldRule::PerTryTimeout
            }
        ),
        "{problem:?}"
    );
    let mut client = client();
    client.upstreams[0].retry = Some(retry());
    assert!(client.bootstrap().is_ok(), "20 ms are accepted");
}

#[test]
fn without_the_hold_both_are_accepted() {
    let mut client = client();
    client.filter = None;
    client.upstreams[0].hold = Hold::Off;
    let per_try_timeout = Some(Duration::from_millis(1));
    client.upstreams[0].retry = Some(Retry {
        hedge: Hedge::OnPerTryTimeout,
        per_try_timeout,
        ..retry()
    });
    assert!(client.bootstrap().is_ok());
}

#[test]
fn the_hold_needs_tls() {
    let problem = upstream_refused("tls", |upstream| {
        upstream.tls = UpstreamTls::Plaintext;
        upstream.san_matchers = SanMatchers::Off;
    });
    assert!(
        matches!(
            problem,
            Problem::Hold {
                rule: HoldRule::NeedsTls
            }
        ),
        "{problem:?}"
    );
}

#[test]
fn the_hold_needs_the_filter_and_the_filter_the_hold() {
    let problem = client_refused("upstreams[0].hold", |client| client.filter = None);
    assert!(
        matches!(
            problem,
            Problem::Hold {
                rule: HoldRule::NeedsFilter
            }
        ),
        "{problem:?}"
    );
    let problem = client_refused("filter", |client| client.upstreams[0].hold = Hold::Off);
    assert!(
        matches!(problem, Problem::Contradicts { .. }),
        "{problem:?}"
    );
}

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
fn matchers_without_tls_are_refused() {
    let problem = client_refused("upstreams[0].sanMatchers", |client| {
        client.filter = None;
        client.upstreams[0].hold = Hold::Off;
        client.upstreams[0].tls = UpstreamTls::Plaintext;
    });
    assert!(
        matches!(problem, Problem::Contradicts { .. }),
        "{problem:?}"
    );
}

#[test]
fn a_plaintext_listener_beyond_loopback_is_refused() {
    let problem = client_refused("listen", |client| {
        client.listen = "0.0.0.0:80".parse().unwrap()
    });
    assert!(
        matches!(problem, Problem::NotLoopback { .. }),
        "{problem:?}"
    );
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
fn names_are_not_the_agents_and_not_twice() {
    let problem = upstream_refused("name", |upstream| {
        upstream.name = "countersign_agent_http".to_owned();
    });
    assert!(matches!(problem, Problem::BadText { .. }), "{problem:?}");
    let found = problems({
        let mut client = client();
        client.upstreams.push(upstream());
        client.bootstrap()
    });
    let paths: Vec<_> = found.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["upstreams[1].name", "upstreams[1].hosts[0]"]);
    assert!(
        found
            .iter()
            .all(|(_, problem)| matches!(problem, Problem::Duplicate { .. }))
    );
}

#[test]
fn one_envoy_has_one_agent() {
    let problem = client_refused("upstreams[1].tls.socketPath", |client| {
        let mut second = upstream();
        second.name = "second".to_owned();
        second.hosts = vec!["second".to_owned()];
        second.tls = UpstreamTls::Mutual(sds("/other.sock"));
        client.upstreams.push(second);
    });
    assert!(
        matches!(problem, Problem::Contradicts { .. }),
        "{problem:?}"
    );
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

#[test]
fn istio_resources_are_checked() {
    let plugin_spec = |change: &dyn Fn(&mut WasmPlugin)| {
        let mut spec = WasmPlugin {
            name: "countersign".to_owned(),
            namespace: "default".to_owned(),
            labels: Default::default(),
            url: "oci://registry.example/filter:1".to_owned(),
            sha256: None,
            image_pull_policy: ImagePullPolicy::default(),
            config: plugin("inbound"),
        };
        assert!(spec.resource().is_ok());
        change(&mut spec);
        spec.resource()
    };
    only(plugin_spec(&|spec| spec.name = "Upper".to_owned()), "name");
    only(
        plugin_spec(&|spec| spec.url = "http://plain.example/f.wasm".to_owned()),
        "url",
    );
    only(
        plugin_spec(&|spec| spec.sha256 = Some("ff".to_owned())),
        "sha256",
    );
    only(
        plugin_spec(&|spec| spec.config = plugin("outbound")),
        "config.direction",
    );
    let filter_spec = |change: &dyn Fn(&mut EnvoyFilter)| {
        let mut spec = EnvoyFilter {
            name: "countersign".to_owned(),
            namespace: "default".to_owned(),
            labels: Default::default(),
            agent_http: None,
            services: vec![Service {
                host: "httpbin.default.svc.cluster.local".to_owned(),
                port: 8000,
                version: HttpVersion::Http1,
                allowed: upstream().allowed,
            }],
            filter: Some(("/f.wasm".into(), plugin("outbound"))),
            connection_age: ConnectionAge::default(),
        };
        assert!(spec.resource().is_ok());
        change(&mut spec);
        spec.resource()
    };
    only(
        filter_spec(&|spec| spec.services[0].allowed.clear()),
        "services[0].allowed",
    );
    only(filter_spec(&|spec| spec.services.clear()), "services");
    only(filter_spec(&|spec| spec.filter = None), "filter");
}
