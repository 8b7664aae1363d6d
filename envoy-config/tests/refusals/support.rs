//! Good specs to be spoiled, and looking at what is said about them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use envoy_config::sidecar::{
    Client, Hedge, Hold, InboundFilter, OutboundFilter, Retry, Server, Upstream,
};
use envoy_config::tls::TlsSource;
use envoy_config::{Problem, SpecErrors};
use policy::config::PluginConfig;

pub(crate) fn plugin(direction: &str) -> PluginConfig {
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

pub(crate) fn list() -> policy::config::DenyListConfig {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let key = fs::read_to_string(folder.join("list-key.pem")).unwrap();
    let list = serde_json::json!({"cluster": "countersign_agent_http", "keys": [key]});
    serde_json::from_value(list).unwrap()
}

pub(crate) fn sds(socket: &str) -> TlsSource {
    TlsSource::Sds {
        socket_path: socket.into(),
        certificate: "default".to_owned(),
        validation: "ROOTCA".to_owned(),
    }
}

pub(crate) fn server() -> Server {
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

pub(crate) fn upstream() -> Upstream {
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

pub(crate) fn client() -> Client {
    let mut client = Client::new("c", "127.0.0.1:15001".parse().unwrap(), vec![upstream()]);
    client.filter = Some(OutboundFilter {
        module: "/f.wasm".into(),
        config: plugin("outbound"),
    });
    client
}

pub(crate) fn retry() -> Retry {
    Retry {
        on: vec!["connect-failure".to_owned()],
        attempts: 1,
        per_try_timeout: Some(Duration::from_millis(20)),
        hedge: Hedge::Never,
    }
}

pub(crate) fn problems(outcome: Result<impl Sized, SpecErrors>) -> Vec<(String, Problem)> {
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
pub(crate) fn only(outcome: Result<impl Sized, SpecErrors>, path: &str) -> Problem {
    let mut found = problems(outcome);
    assert_eq!(found.len(), 1, "{found:?}");
    let (at, problem) = found.remove(0);
    assert_eq!(at, path, "{problem:?}");
    problem
}

#[track_caller]
pub(crate) fn server_refused(path: &str, change: impl Fn(&mut Server)) -> Problem {
    let mut server = server();
    assert!(server.bootstrap().is_ok());
    change(&mut server);
    only(server.bootstrap(), path)
}

#[track_caller]
pub(crate) fn client_refused(path: &str, change: impl Fn(&mut Client)) -> Problem {
    let mut client = client();
    assert!(client.bootstrap().is_ok());
    change(&mut client);
    only(client.bootstrap(), path)
}

#[track_caller]
pub(crate) fn upstream_refused(path: &str, change: impl Fn(&mut Upstream)) -> Problem {
    client_refused(&format!("upstreams[0].{path}"), |client| {
        change(&mut client.upstreams[0])
    })
}
