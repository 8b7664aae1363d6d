//! CUSTOM: Envoy asks a provider in front of the filter, then the filter's DENY and ALLOW decide.

mod failing;
pub(crate) mod over_tls;

use std::net::SocketAddr;

use lab::http::{Connection, Version};
use serde_json::{Value, json};
use wasm_tests::fixtures::SLEEP;
use wasm_tests::fixtures::config::{ConfigSpec, allow_principal, authorization_policy};

use crate::authorizer::Authorizer;
use crate::running::ServerUnderTest;
use crate::support::{World, assert_forbidden};

fn custom(name: &str, provider: &str, path: &str) -> Value {
    let mut policy = authorization_policy(
        name,
        "CUSTOM",
        json!([{"to": [{"operation": {"paths": [path]}}]}]),
    );
    policy["spec"]["provider"] = json!({ "name": provider });
    policy
}

/// CUSTOM on `/ask…`, DENY on `…/denied`, ALLOW for one client and not for `/ask/nobody`.
fn policies(world: &World) -> ConfigSpec {
    let denied = json!([{"to": [{"operation": {"paths": ["*/denied"]}}]}]);
    let mut allow = allow_principal("sleep", "cluster.local/ns/default/sa/sleep");
    allow["spec"]["rules"][0]["to"] = json!([{"operation": {"notPaths": ["*/nobody"]}}]);
    ConfigSpec::inbound(&world.authority)
        .policy(custom("ask", "opa", "/ask*"))
        .policy(authorization_policy("denied", "DENY", denied))
        .policy(allow)
}

fn grpc(address: SocketAddr) -> Value {
    json!({"name": "opa", "envoyExtAuthzGrpc": {"service": address.ip(), "port": address.port(), "timeout": "5s"}})
}

fn http(address: SocketAddr) -> Value {
    json!({"name": "opa", "envoyExtAuthzHttp": {
        "service": address.ip(), "port": address.port(), "timeout": "5s", "pathPrefix": "/check",
        "headersToUpstreamOnAllow": ["x-decided-by"],
    }})
}

async fn server(world: &World, config: &ConfigSpec, providers: &[Value]) -> ServerUnderTest {
    let providers = serde_json::from_value::<Vec<_>>(json!(providers)).expect("providers");
    let set = |spec: &mut envoy_config::sidecar::Server| {
        spec.mesh.extension_providers.clone_from(&providers);
    };
    world.server_with(config, set, |_| {}).await
}

async fn connect(world: &World, server: &ServerUnderTest) -> Connection {
    let sleep = world.tls("sleep", &world.authority.svid(SLEEP));
    server
        .connect(&sleep, Version::Http1)
        .await
        .expect("a handshake")
}

async fn custom_then_deny_then_allow(
    world: World,
    provider: Authorizer,
    written: Value,
    prefix: &str,
) {
    let server = server(&world, &policies(&world), &[written]).await;
    let mut connection = connect(&world, &server).await;
    let asked = |path: &str| vec![format!("{prefix}{path}")];

    let answer = connection.get("/open").await.expect("an answer");
    assert_eq!((answer.status, provider.asked()), (200, vec![]));
    assert_forbidden(&connection.get("/denied").await.expect("an answer"));
    assert_eq!(
        provider.asked(),
        Vec::<String>::new(),
        "no CUSTOM rule matched"
    );

    let answer = connection.get("/ask/x").await.expect("an answer");
    assert_eq!((answer.status, provider.asked()), (200, asked("/ask/x")));
    let decisions = server.decisions().len();
    let answer = connection
        .get("/ask/refuse/denied")
        .await
        .expect("an answer");
    assert_eq!(answer.status, 403);
    assert_eq!(provider.asked(), asked("/ask/refuse/denied"));
    assert_eq!(
        server.decisions().len(),
        decisions,
        "what the provider refuses never comes to the filter"
    );

    // The provider's consent does not overrule DENY, and does not stand in for ALLOW.
    for path in ["/ask/denied", "/ask/nobody"] {
        assert_forbidden(&connection.get(path).await.expect("an answer"));
        assert_eq!(provider.asked(), asked(path));
    }
    let reasons: Vec<_> = server
        .decisions()
        .iter()
        .filter(|record| record["verdict"] == "deny")
        .map(|record| record["reason"].clone())
        .collect();
    assert_eq!(
        reasons,
        ["matched_deny", "matched_deny", "no_allow_matched"]
    );
    assert_eq!(server.echo.requests(), 2, "the two that were allowed");

    provider.stop().await;
    let answer = connection.get("/ask/x").await.expect("an answer");
    assert_eq!(
        answer.status,
        403,
        "a provider that is away denies: {}",
        answer.text()
    );
    let answer = connection.get("/open").await.expect("an answer");
    assert_eq!(answer.status, 200, "and nothing else");
    assert_eq!(server.echo.requests(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_provider_comes_before_deny_and_allow() {
    let provider = Authorizer::grpc().await;
    let written = grpc(provider.address);
    custom_then_deny_then_allow(World::new(), provider, written, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_provider_comes_before_deny_and_allow() {
    let provider = Authorizer::http().await;
    let written = http(provider.address);
    custom_then_deny_then_allow(World::new(), provider, written, "/check").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Envoy 1.36 in .tools/envoy"]
async fn a_grpc_provider_comes_first_in_the_oldest_supported_envoy() {
    let provider = Authorizer::grpc().await;
    let written = grpc(provider.address);
    custom_then_deny_then_allow(World::oldest(), provider, written, "").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Envoy 1.36 in .tools/envoy"]
async fn an_http_provider_comes_first_in_the_oldest_supported_envoy() {
    let provider = Authorizer::http().await;
    let written = http(provider.address);
    custom_then_deny_then_allow(World::oldest(), provider, written, "/check").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_the_answer_reach_the_application_where_asked_for_and_forged_ones_do_not() {
    let world = World::new();
    let provider = Authorizer::http().await;
    let server = server(&world, &policies(&world), &[http(provider.address)]).await;
    let mut connection = connect(&world, &server).await;
    let request = connection
        .request("GET", "/ask/x")
        .header("x-decided-by", "myself")
        .body(http_body_util::Full::default())
        .expect("a request");
    let answer = connection.send(request).await.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        answer.json()["headers"]["x-decided-by"],
        json!(["the-provider"])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_about_a_provider_that_is_away_is_done() {
    let world = World::new();
    let gone = Authorizer::grpc().await;
    let address = gone.address;
    gone.stop().await;
    for (field, value, status) in [
        ("statusOnError", json!("503"), 503),
        ("failOpen", json!(true), 200),
        ("failOpen", json!(false), 403),
    ] {
        let mut written = grpc(address);
        written["envoyExtAuthzGrpc"][field] = value.clone();
        let server = server(&world, &policies(&world), &[written]).await;
        let mut connection = connect(&world, &server).await;
        let answer = connection.get("/ask/x").await.expect("an answer");
        assert_eq!(answer.status, status, "{field} {value}");
        // Also where the provider's absence lets requests pass, DENY and ALLOW hold.
        let answer = connection.get("/ask/denied").await.expect("an answer");
        assert_ne!(answer.status, 200, "{field} {value}");
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_providers_for_one_workload_deny_what_they_would_be_asked() {
    let world = World::new();
    let provider = Authorizer::grpc().await;
    let mut other = grpc(provider.address);
    other["name"] = json!("other");
    let config = policies(&world).policy(custom("other", "other", "/other*"));
    let server = server(&world, &config, &[grpc(provider.address), other]).await;
    let mut connection = connect(&world, &server).await;
    for path in ["/ask/x", "/other/x"] {
        let answer = connection.get(path).await.expect("an answer");
        assert_eq!(answer.status, 403, "{path}");
    }
    assert_eq!(
        provider.asked(),
        Vec::<String>::new(),
        "neither can be picked"
    );
    let answer = connection.get("/open").await.expect("an answer");
    assert_eq!(answer.status, 200);
}
