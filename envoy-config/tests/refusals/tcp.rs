//! TCP servers and clients.

use std::collections::BTreeSet;

use envoy_config::sidecar::{
    Hold, InboundFilter, OutboundFilter, SanMatchers, SpeaksFirst, TcpClient, TcpServer,
    TcpUpstream,
};
use envoy_config::{EnvoyVersion, Problem};
use policy::Protocol;
use policy::config::PluginConfig;

use crate::support::{list, only, plugin, sds};

fn tcp_plugin(direction: &str) -> PluginConfig {
    let mut config = plugin(direction);
    config.protocol = Protocol::Tcp;
    config
}

fn server() -> TcpServer {
    let mut server = TcpServer::new(
        "s",
        "127.0.0.1:15006".parse().unwrap(),
        "127.0.0.1:3306".parse().unwrap(),
        sds("/agent.sock"),
    );
    server.speaks_first = SpeaksFirst::Server;
    server.filter = InboundFilter::Wasm {
        module: "/f.wasm".into(),
        config: Box::new(tcp_plugin("inbound")),
    };
    server
}

fn client() -> TcpClient {
    let upstream = |name: &str, listen: &str| {
        let ids = BTreeSet::from(["spiffe://cluster.local/ns/default/sa/db".parse().unwrap()]);
        TcpUpstream::new(
            name,
            listen.parse().unwrap(),
            "10.0.0.1:15006".parse().unwrap(),
            ids,
            sds("/agent.sock"),
        )
    };
    let mut client = TcpClient::new(
        "c",
        vec![
            upstream("db", "127.0.0.1:3306"),
            upstream("db2", "127.0.0.1:3307"),
        ],
    );
    client.filter = Some(OutboundFilter {
        module: "/f.wasm".into(),
        config: tcp_plugin("outbound"),
    });
    client
}

#[track_caller]
fn server_refused(path: &str, change: impl Fn(&mut TcpServer)) -> Problem {
    let mut server = server();
    server.bootstrap().unwrap();
    change(&mut server);
    only(server.bootstrap(), path)
}

#[track_caller]
fn client_refused(path: &str, change: impl Fn(&mut TcpClient)) -> Problem {
    let mut client = client();
    client.bootstrap().unwrap();
    change(&mut client);
    only(client.bootstrap(), path)
}

#[track_caller]
fn contradicts(problem: &Problem) {
    assert!(matches!(problem, Problem::Contradicts { .. }), "{problem}");
}

fn native() -> InboundFilter {
    InboundFilter::NativeRbac {
        rules: serde_json::json!({"action": "DENY", "policies": {}}),
    }
}

#[test]
fn what_would_leak_the_servers_first_bytes_is_refused() {
    contradicts(&server_refused("filter", |server| server.filter = native()));
    let mut client_first = server();
    client_first.filter = native();
    client_first.speaks_first = SpeaksFirst::Client;
    client_first.bootstrap().unwrap();
}

#[test]
fn an_envoy_that_cannot_wait_is_refused() {
    contradicts(&server_refused("filter", |server| {
        server.envoy = EnvoyVersion::OLDEST;
    }));
    contradicts(&server_refused("filter", |server| {
        server.envoy = EnvoyVersion::OLDEST;
        server.speaks_first = SpeaksFirst::Client;
    }));
    let mut least = server();
    least.envoy = EnvoyVersion::new(1, 37);
    least.bootstrap().unwrap();
}

fn spoil(filter: &mut InboundFilter, change: impl Fn(&mut PluginConfig)) {
    if let InboundFilter::Wasm { config, .. } = filter {
        change(config);
    }
}

#[test]
fn the_plugin_configuration_has_to_be_for_tcp_and_this_side() {
    let problem = server_refused("filter.config.protocol", |server| {
        spoil(&mut server.filter, |config| {
            config.protocol = Protocol::Http
        });
    });
    assert!(matches!(problem, Problem::BadText { .. }), "{problem}");
    let problem = client_refused("filter.config.protocol", |client| {
        client.filter.as_mut().unwrap().config.protocol = Protocol::Http;
    });
    assert!(matches!(problem, Problem::BadText { .. }), "{problem}");
    let problem = client_refused("filter.config.direction", |client| {
        client.filter.as_mut().unwrap().config = tcp_plugin("inbound");
    });
    assert!(matches!(problem, Problem::BadText { .. }), "{problem}");
}

#[test]
fn a_deny_list_needs_an_agent() {
    contradicts(&server_refused("filter.config.denyList", |server| {
        spoil(&mut server.filter, |config| config.deny_list = Some(list()));
    }));
}

#[test]
fn addresses_have_to_be_usable() {
    let problem = server_refused("listen", |server| server.listen.set_port(0));
    assert!(matches!(problem, Problem::NoPort), "{problem}");
    let problem = server_refused("app", |server| server.app = server.listen.into());
    assert!(matches!(problem, Problem::Duplicate { .. }), "{problem}");
    let problem = client_refused("upstreams[0].listen", |client| {
        client.upstreams[0].listen = "0.0.0.0:3306".parse().unwrap();
    });
    assert!(matches!(problem, Problem::NotLoopback { .. }), "{problem}");
    let problem = client_refused("upstreams[1].listen", |client| {
        client.upstreams[1].listen = client.upstreams[0].listen;
    });
    assert!(matches!(problem, Problem::Duplicate { .. }), "{problem}");
    let problem = client_refused("upstreams[1].name", |client| {
        client.upstreams[1].name = "db".to_owned();
    });
    assert!(matches!(problem, Problem::Duplicate { .. }), "{problem}");
    let problem = client_refused("upstreams[0].endpoints", |client| {
        client.upstreams[0].endpoints.clear();
    });
    assert!(matches!(problem, Problem::Empty), "{problem}");
}

#[test]
fn both_locks_need_what_they_stand_on() {
    let problem = client_refused("upstreams[0].allowed", |client| {
        client.upstreams[0].allowed.clear();
    });
    assert!(matches!(problem, Problem::NoIdentity), "{problem}");
    let problem = client_refused("upstreams[1].hold", |client| {
        client.filter = None;
        client.upstreams[0].hold = Hold::Off;
    });
    assert!(matches!(problem, Problem::Hold { .. }), "{problem}");
    contradicts(&client_refused("filter", |client| {
        for upstream in &mut client.upstreams {
            upstream.hold = Hold::Off;
        }
    }));
    contradicts(&client_refused("upstreams[1].tls.socketPath", |client| {
        client.upstreams[1].tls = sds("/other.sock");
    }));
    let mut hold_alone = client();
    hold_alone.upstreams[0].san_matchers = SanMatchers::Off;
    hold_alone.bootstrap().unwrap();
}

fn asks(server: &mut TcpServer, name: &str, dry_run: bool) {
    server.mesh.extension_providers = serde_json::from_value(serde_json::json!([
        {"name": "grpc", "envoyExtAuthzGrpc": {"service": "127.0.0.1", "port": 9191}},
        {"name": "http", "envoyExtAuthzHttp": {"service": "127.0.0.1", "port": 9192}},
    ]))
    .unwrap();
    spoil(&mut server.filter, |config| {
        config.policies.push(serde_json::json!({
            "apiVersion": "security.istio.io/v1",
            "kind": "AuthorizationPolicy",
            "metadata": {
                "name": "ask",
                "namespace": "default",
                "annotations": {"istio.io/dry-run": dry_run.to_string()},
            },
            "spec": {"action": "CUSTOM", "provider": {"name": name}, "rules": [{}]},
        }));
    });
}

#[test]
fn a_provider_that_cannot_be_asked_in_time_is_refused_by_the_name_of_its_policy() {
    let path = "filter.config.policies";
    let problem = server_refused(path, |server| asks(server, "grpc", false));
    let text = format!("{:?}", problem);
    assert!(
        text.contains("default/ask") && text.contains("speaksFirst"),
        "{text}"
    );
    let mut client_first = server();
    client_first.speaks_first = SpeaksFirst::Client;
    let mut http = client_first.clone();
    asks(&mut http, "http", false);
    let text = format!("{:?}", only(http.bootstrap(), path));
    assert!(
        text.contains("default/ask") && text.contains("envoyExtAuthzGrpc"),
        "{text}"
    );
    asks(&mut client_first, "grpc", false);
    client_first.bootstrap().unwrap();
    // One on trial asks nobody.
    let mut on_trial = server();
    asks(&mut on_trial, "http", true);
    on_trial.bootstrap().unwrap();
}

/// What the configuration says of providers does not count: only those are asked that the spec has.
#[test]
fn a_provider_that_nobody_asks_is_refused() {
    server_refused("filter.config.policies[0].spec.provider.name", |server| {
        server.speaks_first = SpeaksFirst::Client;
        asks(server, "grpc", false);
        server.mesh.extension_providers.clear();
        spoil(&mut server.filter, |config| {
            config.custom_providers = ["grpc".to_owned()].into();
        });
    });
}
