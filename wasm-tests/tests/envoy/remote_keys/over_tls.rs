//! Keys that are fetched over TLS: from whom.

use std::net::IpAddr;
use std::path::PathBuf;

use envoy_config::sidecar::Server;
use serde_json::json;
use wasm_tests::fixtures::SLEEP;
use wasm_tests::fixtures::ca::{Authority, Leaf, LeafSpec, self_signed};

use super::{assert_unauthorized, config, connect, get};
use crate::key_server::{KeyServer, Says};
use crate::support::{World, now};
use crate::tls_front::TlsFront;
use crate::tokens::TokenIssuer;

/// Who verifies servers of keys, other than the mesh's authority.
struct Web {
    authority: Authority,
    roots: PathBuf,
}

impl Web {
    fn new(world: &World) -> Self {
        let authority = Authority::named(now(), "web");
        let roots = world.path("web-roots.pem");
        std::fs::write(&roots, &authority.root_pem).expect("writable");
        Self { authority, roots }
    }

    fn named(&self, name: &str) -> Leaf {
        self.authority.issue(&server_of(name))
    }
}

/// A certificate of the web, without a SPIFFE ID.
fn server_of(name: &str) -> LeafSpec {
    let spec = LeafSpec::of(SLEEP).without_uri();
    match name.parse::<IpAddr>() {
        Ok(address) => spec.and_ip(address),
        Err(_) => spec.and_dns(name),
    }
}

/// Host in the URI, and the certificate of whoever answers there.
type Case = (&'static str, &'static str, Leaf);

fn trusted(web: &Web) -> Vec<Case> {
    vec![
        ("an address", "127.0.0.1", web.named("127.0.0.1")),
        ("a name", "localhost", web.named("localhost")),
        ("a name in capitals", "LOCALHOST", web.named("localhost")),
        ("a wildcard", "keys.localhost", web.named("*.localhost")),
    ]
}

fn distrusted(world: &World, web: &Web) -> Vec<Case> {
    let localhost = || server_of("localhost");
    let only_id = LeafSpec::of("spiffe://cluster.local/ns/default/sa/keys");
    let address_as_name = LeafSpec::of(SLEEP).without_uri().and_dns("127.0.0.1");
    vec![
        ("another name", "localhost", web.named("elsewhere.example")),
        (
            "a name that ends alike",
            "localhost",
            web.named("x.localhost"),
        ),
        ("another address", "127.0.0.1", web.named("127.0.0.2")),
        (
            "an address as a name",
            "127.0.0.1",
            web.authority.issue(&address_as_name),
        ),
        ("no name", "localhost", web.authority.issue(&only_id)),
        (
            "the mesh's authority",
            "localhost",
            world.authority.issue(&localhost()),
        ),
        ("nobody's", "localhost", self_signed(now(), &localhost())),
        (
            "expired",
            "localhost",
            web.authority.issue(&localhost().valid(-600, -300)),
        ),
        (
            "not yet valid",
            "localhost",
            web.authority.issue(&localhost().valid(300, 600)),
        ),
    ]
}

/// One issuer a case, all with the same key, so that one Envoy tells them apart.
async fn over_tls(world: World) {
    let web = Web::new(&world);
    let issuer = TokenIssuer::new("all");
    let keys = KeyServer::start(Says::keys(issuer.jwks())).await;
    let (trusted, distrusted) = (trusted(&web), distrusted(&world, &web));
    let mut fronts = Vec::new();
    let mut rules = Vec::new();
    for (what, host, leaf) in trusted.iter().chain(&distrusted) {
        let front = TlsFront::start(keys.address, leaf, None).await;
        let uri = format!("https://{host}:{}/{}", front.address.port(), fronts.len());
        rules.push(json!({"issuer": what, "jwksUri": uri}));
        fronts.push((*what, *host, front));
    }
    // TLS is spoken by both or by none.
    let plain_front = TlsFront::start(keys.address, &web.named("localhost"), None).await;
    rules.extend([
        json!({"issuer": "no TLS there", "jwksUri": format!("https://{}/", keys.address)}),
        json!({"issuer": "TLS there", "jwksUri": format!("http://{}/", plain_front.address)}),
    ]);

    let config = config(&world, &rules);
    let with_roots = |spec: &mut Server| spec.mesh.jwks_roots = Some(web.roots.clone());
    let server = world.server_with(&config, with_roots, |_| {}).await;
    let mut connection = connect(&world, &server).await;
    let token = |what: &str| issuer.token(&json!({ "iss": what }));

    let bad = fronts.split_off(trusted.len());
    let plain = ["no TLS there", "TLS there"];
    for what in bad.iter().map(|(what, ..)| *what).chain(plain) {
        let answer = get(&mut connection, "/token", Some(&token(what))).await;
        assert_unauthorized(&answer, what);
    }
    assert_eq!(
        keys.asked(),
        Vec::<String>::new(),
        "no handshake ended well"
    );
    assert_eq!(server.echo.requests(), 0);

    for (what, host, front) in &fronts {
        let answer = get(&mut connection, "/token", Some(&token(what))).await;
        assert_eq!(answer.status, 200, "{what}: {}", answer.text());
        let name = host.parse::<IpAddr>().is_err().then(|| host.to_lowercase());
        let seen = front.arrivals();
        assert!(!seen.is_empty(), "{what}");
        for arrival in seen {
            assert_eq!((arrival.server_name, arrival.client), (name.clone(), None));
        }
    }
    // The same places with the certificates they should have had.
    for (what, host, front) in &bad {
        assert_eq!(front.arrivals(), [], "{what}");
        front.show(&web.named(host), None);
        let answer = get(&mut connection, "/token", Some(&token(what))).await;
        assert_eq!(answer.status, 200, "{what}: {}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_come_from_whom_the_roots_verify_under_the_name_in_the_uri() {
    over_tls(World::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Envoy 1.36 in .tools/envoy"]
async fn keys_come_from_whom_the_roots_verify_in_the_oldest_supported_envoy() {
    over_tls(World::oldest()).await;
}
