//! `PeerAuthentication`: which connections a port takes, by the listener and by the filter.

use envoy_config::sidecar::{InboundFilter, Server};
use lab::http::{Answer, Connection, HttpError, Resumption, ServerCheck, Tls, Version};
use serde_json::{Value, json};
use wasm_tests::fixtures::SLEEP;
use wasm_tests::fixtures::config::{ConfigSpec, authorization_policy};

use crate::running::ServerUnderTest;
use crate::support::{World, assert_forbidden};

fn resource(name: &str, namespace: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    })
}

fn mesh(mode: &str) -> Value {
    resource("mesh", "istio-system", json!({"mtls": {"mode": mode}}))
}

/// With a policy that tells plaintext from mutual TLS by the path.
fn config(world: &World, resources: &[Value]) -> ConfigSpec {
    let nobody = json!([{
        "from": [{"source": {"notPrincipals": ["*"]}}],
        "to": [{"operation": {"paths": ["/identified"]}}],
    }]);
    let config = ConfigSpec::inbound(&world.authority);
    let config = config.policy(authorization_policy("identified", "DENY", nobody));
    resources.iter().cloned().fold(config, ConfigSpec::policy)
}

async fn plaintext(server: &ServerUnderTest, path: &str) -> Result<Answer, HttpError> {
    let target = server.address.into();
    let mut connection = Connection::open(&target, None, Version::Http1).await?;
    connection.get(path).await
}

async fn mutual(world: &World, server: &ServerUnderTest, path: &str) -> Result<Answer, HttpError> {
    let sleep = world.tls("sleep", &world.authority.svid(SLEEP));
    server.get(&sleep, path).await
}

/// TLS without a certificate of the client.
async fn one_sided(world: &World, server: &ServerUnderTest) -> Result<Answer, HttpError> {
    let check = ServerCheck::AnyVerified;
    let nobody = Tls::new(&world.root(), None, check, Resumption::Never).expect("TLS settings");
    server.get(&nobody, "/get").await
}

#[track_caller]
fn assert_open(answer: Result<Answer, HttpError>) {
    let answer = answer.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
}

async fn each_mode(world: World) {
    let strict = world.server(&config(&world, &[mesh("STRICT")])).await;
    assert_open(mutual(&world, &strict, "/identified").await);
    let refused = plaintext(&strict, "/get").await;
    assert!(refused.is_err(), "{refused:?}");
    let refused = one_sided(&world, &strict).await;
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(strict.echo.requests(), 1);
    strict.stop().await;

    let permissive = world.server(&config(&world, &[mesh("PERMISSIVE")])).await;
    assert_open(mutual(&world, &permissive, "/identified").await);
    assert_open(plaintext(&permissive, "/get").await);
    assert_forbidden(
        &plaintext(&permissive, "/identified")
            .await
            .expect("an answer"),
    );
    let refused = one_sided(&world, &permissive).await;
    assert!(
        refused.is_err(),
        "TLS without a certificate is neither: {refused:?}"
    );
    assert_eq!(permissive.echo.requests(), 2);
    permissive.stop().await;

    let disabled = world.server(&config(&world, &[mesh("DISABLE")])).await;
    assert_open(plaintext(&disabled, "/get").await);
    assert_forbidden(
        &plaintext(&disabled, "/identified")
            .await
            .expect("an answer"),
    );
    let refused = mutual(&world, &disabled, "/get").await;
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(disabled.echo.requests(), 1);
    disabled.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mode_takes_the_connections_it_should() {
    each_mode(World::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Envoy 1.36 in .tools/envoy"]
async fn each_mode_takes_the_connections_it_should_in_the_oldest_supported_envoy() {
    each_mode(World::oldest()).await;
}

/// A mode for the port that the server happens to listen on.
fn for_its_port(spec: &mut Server, mode: &str) {
    let port = spec.listen.port().to_string();
    let workload = json!({
        "selector": {"matchLabels": {"app": "httpbin"}},
        "mtls": {"mode": "STRICT"},
        "portLevelMtls": {port: {"mode": mode}},
    });
    if let InboundFilter::Wasm { config, .. } = &mut spec.filter {
        config
            .policies
            .push(resource("workload", "default", workload));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_has_its_own_mode() {
    let world = World::new();
    let config = config(&world, &[mesh("STRICT")]);
    let open = |spec: &mut Server| for_its_port(spec, "PERMISSIVE");
    let server = world.server_with(&config, open, |_| {}).await;
    assert_open(plaintext(&server, "/get").await);
    assert_open(mutual(&world, &server, "/identified").await);
    server.stop().await;

    // UNSET is the workload's mode.
    let unset = |spec: &mut Server| for_its_port(spec, "UNSET");
    let server = world.server_with(&config, unset, |_| {}).await;
    let refused = plaintext(&server, "/get").await;
    assert!(refused.is_err(), "{refused:?}");
    server.stop().await;
}

/// The second lock: a listener that takes plaintext all the same, say by somebody's patch.
async fn the_filter_itself_is_strict(world: World) {
    let takes_plaintext = |bootstrap: &mut Value| {
        let chain = &mut bootstrap["static_resources"]["listeners"][0]["filter_chains"][0];
        let chain = chain.as_object_mut().expect("a chain");
        chain.remove("transport_socket");
        chain.remove("transport_socket_connect_timeout");
    };
    let config = config(&world, &[mesh("STRICT")]);
    let server = world.server_with(&config, |_| {}, takes_plaintext).await;
    assert_forbidden(&plaintext(&server, "/get").await.expect("an answer"));
    assert_eq!(server.decisions()[0]["reason"], "mtls_required");
    assert_eq!(server.echo.requests(), 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plaintext_that_gets_past_the_listener_is_denied_by_the_filter() {
    the_filter_itself_is_strict(World::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Envoy 1.36 in .tools/envoy"]
async fn plaintext_is_denied_by_the_filter_in_the_oldest_supported_envoy() {
    the_filter_itself_is_strict(World::oldest()).await;
}
