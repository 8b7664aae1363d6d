//! Our bootstraps with the built filter in them: it loads, it decides, and each lock of secure naming holds.

use std::fs;

use envoy_config::sidecar::{Hold, InboundFilter, OutboundFilter, SanMatchers};
use lab::envoy::{Binary, Places};
use lab::http::{Connection, Target, Version};
use lab::upstream::Echo;
use policy::config::PluginConfig;

use crate::support::{Pki, Sidecar, upstream, wasm_module};

fn plugin(pki: &Pki, direction: &str) -> PluginConfig {
    let issuer = fs::read_to_string(pki.dir().join("root.pem")).unwrap();
    let mut config = serde_json::json!({
        "schemaVersion": 1,
        "direction": direction,
        "workload": {"namespace": "default"},
        "trustDomain": "cluster.local",
        "trust": {"cluster.local": {"issuers": [issuer]}},
        "decisionLog": {"allowed": "all", "responseHeader": true},
    });
    if direction == "outbound" {
        config["secureNaming"] = serde_json::json!({"clusters": {}});
    } else {
        config["policies"] = serde_json::json!([{
            "apiVersion": "security.istio.io/v1",
            "kind": "AuthorizationPolicy",
            "metadata": {"name": "sleep-reads", "namespace": "default"},
            "spec": {"rules": [{
                "from": [{"source": {"principals": ["cluster.local/ns/default/sa/sleep"]}}],
                "to": [{"operation": {"methods": ["GET"], "paths": ["/get", "/headers"]}}],
            }]},
        }]);
    }
    serde_json::from_value(config).unwrap()
}

async fn server(binary: &Binary, pki: &Pki, file: &str, name: &str, echo: &Echo) -> Sidecar {
    let tls = pki.leaf(file, name);
    Sidecar::server(binary, pki.dir(), file, echo.address(), tls, |server| {
        let config = Box::new(plugin(pki, "inbound"));
        server.filter = InboundFilter::Wasm {
            module: wasm_module(),
            config,
        };
    })
    .await
}

#[tokio::test]
async fn the_filter_decides_on_every_envoy() {
    for binary in Places::of_this_process().all().unwrap() {
        let (pki, echo) = (Pki::new(), Echo::start().await.unwrap());
        let server = server(&binary, &pki, "server", "httpbin", &echo).await;
        for (name, path, status) in [
            ("sleep", "/get", 200),
            ("sleep", "/admin", 403),
            ("other", "/get", 403),
        ] {
            let called = vec![upstream(
                server.address,
                &["httpbin"],
                pki.leaf("client", name),
            )];
            let client = Sidecar::client(&binary, pki.dir(), called, |_| {}).await;
            let answer = lab::http::get(&client.address.into(), path).await.unwrap();
            let log = server.envoy.log().unwrap();
            assert_eq!(
                answer.status,
                status,
                "{name} {path}: {}\n{log}",
                answer.text()
            );
            assert!(log.contains("countersign-decision "), "{log}");
            client.envoy.stop().await.unwrap();
        }
        assert_eq!(echo.requests(), 1);
    }
}

/// The second lock alone: with Envoy's matchers off, the hold keeps every byte from an impostor and lets
/// requests to the right server through.
#[tokio::test]
async fn the_hold_alone_keeps_requests_from_an_impostor() {
    for binary in Places::of_this_process().all().unwrap() {
        let (pki, echo) = (Pki::new(), Echo::start().await.unwrap());
        for (name, status, seen) in [("httpbin", 200, 1), ("impostor", 503, 1)] {
            let tls = pki.leaf("server", name);
            let server =
                Sidecar::server(&binary, pki.dir(), name, echo.address(), tls, |_| {}).await;
            let mut called = upstream(server.address, &["httpbin"], pki.leaf("client", "sleep"));
            called.hold = Hold::On;
            called.san_matchers = SanMatchers::Off;
            let client = Sidecar::client(&binary, pki.dir(), vec![called], |client| {
                let config = plugin(&pki, "outbound");
                client.filter = Some(OutboundFilter {
                    module: wasm_module(),
                    config,
                });
            })
            .await;
            let target = Target::from(client.address);
            let mut connection = Connection::open(&target, None, Version::Http1)
                .await
                .unwrap();
            let answer = connection.post("/post", "secret").await.unwrap();
            let log = client.envoy.log().unwrap();
            assert_eq!(answer.status, status, "{name}: {}\n{log}", answer.text());
            assert_eq!(echo.requests(), seen);
            client.envoy.stop().await.unwrap();
            server.envoy.stop().await.unwrap();
            let lines = fs::read_to_string(&server.access_log)
                .unwrap()
                .lines()
                .count();
            assert_eq!(
                lines,
                usize::from(status == 200),
                "requests that {name} saw"
            );
        }
    }
}
