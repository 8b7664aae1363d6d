//! A provider that is known by its SPIFFE ID (`providerIdentities`): nobody else is asked, and nobody else's answer
//! counts.

use std::net::SocketAddr;

use envoy_config::sidecar::Server;
use serde_json::{Value, json};
use wasm_tests::fixtures::ca::{Authority, Leaf, LeafSpec};
use wasm_tests::fixtures::{HTTPBIN, IMPOSTOR};

use super::{connect, grpc, http, policies};
use crate::authorizer::Authorizer;
use crate::running::ServerUnderTest;
use crate::support::{World, assert_forbidden, ids, loopback, now};
use crate::tls_front::{Arrival, TlsFront};

/// How a provider at an address is written.
type Form = fn(SocketAddr) -> Value;

/// Who the provider is.
pub(crate) const PROVIDER: &str = "spiffe://cluster.local/ns/policy/sa/opa";

/// Asks `written`, which has to be [`PROVIDER`].
async fn server(world: &World, written: &Value) -> ServerUnderTest {
    let set = |spec: &mut Server| {
        spec.mesh.extension_providers =
            serde_json::from_value(json!([written])).expect("a provider");
        spec.mesh.provider_identities = [("opa".to_owned(), ids(&[PROVIDER]))].into();
    };
    world.server_with(&policies(world), set, |_| {}).await
}

/// Who else could sit at the provider's address. Each holds a key to a certificate of some kind.
pub(crate) fn others(world: &World) -> Vec<(&'static str, Leaf)> {
    let stranger = Authority::new(now());
    let by_name = LeafSpec::of(PROVIDER).without_uri().and_dns("127.0.0.1");
    vec![
        ("another workload", world.authority.svid(IMPOSTOR)),
        (
            "a longer name",
            world.authority.svid(&format!("{PROVIDER}-2")),
        ),
        (
            "a name below it",
            world.authority.svid(&format!("{PROVIDER}/x")),
        ),
        ("another authority's", stranger.svid(PROVIDER)),
        ("a name and no ID", world.authority.issue(&by_name)),
        (
            "expired",
            world
                .authority
                .issue(&LeafSpec::of(PROVIDER).valid(-600, -300)),
        ),
    ]
}

async fn known_by_its_id(world: World, provider: Authorizer, form: Form) {
    let roots = world.authority.root_pem.clone();
    let good = world.authority.svid(PROVIDER);
    let front = TlsFront::start(provider.address, &good, Some(&roots)).await;
    let server = server(&world, &form(front.address)).await;
    let mut connection = connect(&world, &server).await;
    for (who, leaf) in others(&world) {
        front.show(&leaf, Some(&roots));
        assert_forbidden_by_envoy(&mut connection, "/ask/x", who).await;
    }
    assert_eq!(front.arrivals(), [], "no handshake was finished");
    assert_eq!(provider.asked(), Vec::<String>::new());
    assert_eq!(server.echo.requests(), 0);
    assert_eq!(
        connection.get("/open").await.expect("an answer").status,
        200
    );

    front.show(&good, Some(&roots));
    let answer = connection.get("/ask/x").await.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let arrival = Arrival {
        server_name: None,
        client: Some(HTTPBIN.to_owned()),
    };
    assert_eq!(front.arrivals(), [arrival], "the workload's own identity");
    assert_eq!(provider.asked().len(), 1);
    let answer = connection.get("/ask/refuse").await.expect("an answer");
    assert_eq!((answer.status, provider.asked().len()), (403, 1));
    // Consent does not overrule the filter.
    assert_forbidden(&connection.get("/ask/denied").await.expect("an answer"));
    assert_eq!(provider.asked().len(), 1);
    assert_eq!(server.echo.requests(), 2);

    drop(front);
    assert_forbidden_by_envoy(&mut connection, "/ask/x", "nobody").await;
    assert_eq!(server.echo.requests(), 2);
}

/// What the provider's absence gives: denied before it comes to the filter.
async fn assert_forbidden_by_envoy(connection: &mut lab::http::Connection, path: &str, what: &str) {
    let answer = connection.get(path).await.expect("an answer");
    assert_eq!(
        (answer.status, answer.text()),
        (403, String::new()),
        "{what}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_provider_is_who_it_says_it_is() {
    let provider = Authorizer::grpc().await;
    known_by_its_id(World::new(), provider, grpc).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_provider_is_who_it_says_it_is() {
    let provider = Authorizer::http().await;
    known_by_its_id(World::new(), provider, http).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Envoy 1.36 in .tools/envoy"]
async fn a_grpc_provider_is_who_it_says_it_is_in_the_oldest_supported_envoy() {
    let provider = Authorizer::grpc().await;
    known_by_its_id(World::oldest(), provider, grpc).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Envoy 1.36 in .tools/envoy"]
async fn an_http_provider_is_who_it_says_it_is_in_the_oldest_supported_envoy() {
    let provider = Authorizer::http().await;
    known_by_its_id(World::oldest(), provider, http).await;
}

/// TLS is spoken by both or by none; a provider may do without the client's certificate.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_without_tls_is_not_asked_where_it_should_have_an_identity() {
    let world = World::new();
    let forms: [(_, Form); 2] = [
        (Authorizer::grpc().await, grpc),
        (Authorizer::http().await, http),
    ];
    for (provider, form) in forms {
        let server = server(&world, &form(provider.address)).await;
        let mut connection = connect(&world, &server).await;
        assert_forbidden_by_envoy(&mut connection, "/ask/x", "no TLS").await;
        assert_eq!(provider.asked(), Vec::<String>::new());
        server.stop().await;

        let good = world.authority.svid(PROVIDER);
        let front = TlsFront::start(provider.address, &good, None).await;
        let server = self::server(&world, &form(front.address)).await;
        let mut connection = connect(&world, &server).await;
        let answer = connection.get("/ask/x").await.expect("an answer");
        assert_eq!((answer.status, provider.asked().len()), (200, 1));
        server.stop().await;
    }
}

/// What is let pass where a provider cannot be asked is let pass also where somebody else sits in its place; he
/// is not asked, and DENY and ALLOW hold.
#[tokio::test(flavor = "multi_thread")]
async fn somebody_else_is_no_answer_to_a_provider_that_is_fail_open() {
    let world = World::new();
    let provider = Authorizer::grpc().await;
    let front = TlsFront::start(provider.address, &world.authority.svid(IMPOSTOR), None).await;
    let mut written = grpc(front.address);
    written["envoyExtAuthzGrpc"]["failOpen"] = json!(true);
    let server = server(&world, &written).await;
    let mut connection = connect(&world, &server).await;
    for (path, status) in [("/ask/x", 200), ("/ask/refuse", 200), ("/ask/denied", 403)] {
        let answer = connection.get(path).await.expect("an answer");
        assert_eq!(answer.status, status, "{path}");
    }
    assert_eq!((front.arrivals(), provider.asked()), (vec![], vec![]));
}

/// In the network a provider needs an identity, and `envoy-config` says so.
#[tokio::test]
async fn a_provider_in_the_network_without_an_identity_is_refused() {
    let world = World::new();
    let tls = world.files("refused", &world.authority.svid(HTTPBIN));
    let mut spec = Server::new("refused", loopback(1), loopback(2).into(), tls);
    spec.filter = envoy_config::sidecar::InboundFilter::Wasm {
        module: world.module.clone(),
        config: Box::new(crate::support::plugin_config(&policies(&world))),
    };
    let far = json!([{"name": "opa", "envoyExtAuthzGrpc": {"service": "10.0.0.1", "port": 9000}}]);
    spec.mesh.extension_providers = serde_json::from_value(far).expect("a provider");
    let said = identity::chain(&spec.bootstrap().expect_err("anybody could answer"));
    assert!(said.contains("providerIdentities"), "{said}");
    spec.mesh.provider_identities = [("opa".to_owned(), ids(&[PROVIDER]))].into();
    spec.bootstrap().unwrap_or_else(|error| panic!("{error}"));
}
