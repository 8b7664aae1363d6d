//! Probe.
use std::time::Duration;
use envoy_config::sidecar::{Hold, InboundFilter, Retry, SanMatchers, Upstream};
use serde_json::json;
use wasm_tests::fixtures::config::{ConfigSpec, authorization_policy};
use wasm_tests::fixtures::{HTTPBIN, IMPOSTOR, SLEEP};
use crate::list_server::ListServer;
use crate::support::{World, ids};

#[tokio::test(flavor = "multi_thread")]
async fn probe_refused_poll() {
    let world = World::new();
    let list = ListServer::start(&world.path("agent.sock"));
    let config = ConfigSpec::inbound(&world.authority).with(
        "denyList",
        json!({"cluster": envoy_config::AGENT_HTTP_CLUSTER, "keys": [list.public_key_pem()], "stale": "allow"}),
    );
    let socket = list.socket().to_owned();
    for mode in ["empty", "breaker"] {
        let rewrite = |json: &mut serde_json::Value| {
            for cluster in json["static_resources"]["clusters"].as_array_mut().unwrap() {
                if cluster["name"] == "countersign_agent_http" {
                    if mode == "empty" {
                        cluster["load_assignment"]["endpoints"] = json!([]);
                    } else {
                        cluster["circuit_breakers"] = json!({"thresholds": [{"max_pending_requests": 0, "max_requests": 0, "max_connections": 0}]});
                    }
                }
            }
        };
        let server = world.server_with(&config, |spec| spec.agent_http = Some(socket.clone()), rewrite).await;
        let tls = world.tls("sleep", &world.authority.svid(SLEEP));
        for _ in 0..10 {
            let answer = server.get(&tls, "/get").await;
            eprintln!("{mode}: {:?}", answer.map(|a| a.status));
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        let log = match &server.envoy { crate::running::Running::Rewritten(child) => String::from_utf8_lossy(&std::fs::read(child.stderr()).unwrap()).into_owned(), _ => String::new() };
        for line in log.lines().filter(|l| l.contains("countersign") || l.contains("wasm") || l.contains("critical")) { eprintln!("{line}"); }
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn probe_retry_from_good_to_impostor() {
  for world in [World::new(), World::oldest()] {
    for version in [envoy_config::sidecar::HttpVersion::Http1, envoy_config::sidecar::HttpVersion::Http2] {
    let leaf = world.authority.svid(HTTPBIN);
    let dead = crate::support::loopback(lab::ports::free().unwrap());
    let good = world.envoy_server("good", &leaf, InboundFilter::None, |s| s.app = dead.into(), |_| {}).await;
    let leaf = world.authority.svid(IMPOSTOR);
    let impostor = world.envoy_server("impostor", &leaf, InboundFilter::None, |_| {}, |_| {}).await;
    let source = world.files("sleep", &world.authority.svid(SLEEP));
    let mut upstream = Upstream::new("both", good.address.into(), ids(&[HTTPBIN]), source.clone());
    upstream.endpoints.push(impostor.address.into());
    upstream.hold = Hold::On;
    upstream.version = version;
    upstream.san_matchers = SanMatchers::Off;
    upstream.retry = Some(Retry { on: vec!["5xx".to_owned()], attempts: 3, per_try_timeout: Some(Duration::from_millis(500)), hedge: envoy_config::sidecar::Hedge::Never });
    let config = ConfigSpec::outbound(&world.authority).with("secureNaming", json!({"clusters": {}, "hold": {"milliseconds": 1500}}));
    let client = world.client(Some(&config), vec![upstream], |_| {}).await;
    for i in 0..20 {
        let answer = if i % 2 == 0 { client.get("x").await } else { client.send("x", "POST", "/post", vec![7; 100_000]).await };
        if i < 3 { eprintln!("{} {}", answer.status, answer.text()); }
    }
    let cx = impostor.stat("http.inbound.downstream_cx_total").await;
    let rq = impostor.stat("http.inbound.downstream_rq_total").await;
    eprintln!("impostor cx {cx} rq {rq}, good rq {}", good.stat("http.inbound.downstream_rq_total").await);
    assert_eq!(rq, 0);
    drop((good, impostor, client));
    }
  }
}

#[tokio::test(flavor = "multi_thread")]
async fn probe_paths() {
    for mode in ["base", "mergeSlashes", "decodeAndMergeSlashes"] {
    let world = World::new();
    let config = ConfigSpec::inbound(&world.authority).with("pathNormalization", json!(mode))
        .policy(authorization_policy("no-admin", "DENY", json!([{"to": [{"operation": {"paths": ["/admin*"]}}]}])))
        .policy(authorization_policy("all", "ALLOW", json!([{}])));
    let server = world.server(&config).await;
    let _tls = world.tls("sleep", &world.authority.svid(SLEEP));
    let out = std::process::Command::new("python3").arg("/tmp/probe.py").arg(mode)
        .arg(world.path("sleep.pem")).arg(world.path("sleep.key")).arg(server.address.port().to_string()).output().unwrap();
    eprintln!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    }
}
