//! Requests to a server: allowed, denied with a reason, refused before HTTP.

use lab::http::{Connection, ServerCheck, Tls, Version};
use serde_json::json;
use wasm_tests::fixtures::ca::{Authority, LeafSpec};
use wasm_tests::fixtures::config::{ConfigSpec, allow_principal, authorization_policy};
use wasm_tests::fixtures::{IMPOSTOR, SLEEP};

use crate::support::{World, assert_forbidden, now};

fn only_sleep(world: &World) -> ConfigSpec {
    ConfigSpec::inbound(&world.authority)
        .policy(allow_principal(
            "only-sleep",
            "cluster.local/ns/default/sa/sleep",
        ))
        .policy(authorization_policy(
            "no-admin",
            "DENY",
            json!([{"to": [{"operation": {"paths": ["/admin*"]}}]}]),
        ))
}

async fn allows_and_denies(world: World) {
    let server = world.server(&only_sleep(&world)).await;
    let sleep = world.tls("sleep", &world.authority.svid(SLEEP));
    let impostor = world.tls("impostor", &world.authority.svid(IMPOSTOR));
    for version in [Version::Http1, Version::Http2] {
        let mut connection = server.connect(&sleep, version).await.expect("a handshake");
        assert_eq!(
            connection.get("/get?a=b").await.expect("an answer").status,
            200
        );
        assert_forbidden(&connection.get("/admin/x").await.expect("an answer"));
        assert_forbidden(&connection.get("/a/../admin").await.expect("an answer"));
        assert_eq!(
            connection
                .post("/post", vec![7; 100_000])
                .await
                .expect("an answer")
                .status,
            200
        );
        let mut connection = server
            .connect(&impostor, version)
            .await
            .expect("a handshake");
        assert_forbidden(&connection.get("/get").await.expect("an answer"));
        assert_forbidden(
            &connection
                .post("/post", vec![7; 100_000])
                .await
                .expect("an answer"),
        );
    }
    assert_eq!(
        server.echo.requests(),
        4,
        "only what was allowed reached the application"
    );

    let decisions = server.decisions();
    let denied: Vec<_> = decisions
        .iter()
        .filter(|record| record["verdict"] == "deny")
        .collect();
    assert_eq!((decisions.len(), denied.len()), (12, 8), "{decisions:?}");
    assert!(
        denied
            .iter()
            .all(|record| record["local"] == wasm_tests::fixtures::HTTPBIN)
    );
    assert_eq!(denied[0]["policy"], "ns[default]-policy[no-admin]-rule[0]");
    assert_eq!(denied[0]["peer"], SLEEP);
    assert!(
        denied
            .iter()
            .any(|record| record["peer"] == IMPOSTOR && record["reason"] == "no_allow_matched")
    );
    let counted = server
        .stat("wasmcustom.countersign_decision_deny_no_allow_matched")
        .await;
    assert_eq!(counted, 4);

    let lines = server.stop().await;
    let details = |line: &&serde_json::Value| line["status"] == 403;
    let forbidden: Vec<_> = lines.iter().filter(details).collect();
    assert_eq!((lines.len(), forbidden.len()), (12, 8));
    let reasons = forbidden
        .iter()
        .map(|line| line["details"].as_str().unwrap_or_default());
    assert!(
        reasons
            .clone()
            .all(|reason| reason.contains("countersign_denied_")),
        "{lines:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn allows_the_named_client_and_denies_others_with_a_reason() {
    allows_and_denies(World::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Envoy 1.36 in .tools/envoy"]
async fn does_the_same_in_the_oldest_supported_envoy() {
    allows_and_denies(World::oldest()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_plaintext_and_clients_without_a_certificate() {
    let world = World::new();
    let server = world.server(&ConfigSpec::inbound(&world.authority)).await;
    let plain = Connection::open(&server.address.into(), None, Version::Http1).await;
    match plain {
        Ok(mut connection) => {
            let answer = connection.get("/get").await;
            assert!(answer.is_err(), "{answer:?}");
        }
        Err(error) => panic!("the port is open: {error}"),
    }
    let server_check = ServerCheck::AnyVerified;
    let nobody = Tls::new(
        &world.root(),
        None,
        server_check,
        lab::http::Resumption::Never,
    )
    .unwrap();
    let answer = server.get(&nobody, "/get").await;
    assert!(answer.is_err(), "{answer:?}");
    assert_eq!(server.echo.requests(), 0);
    assert_eq!(
        server.stop().await,
        Vec::<serde_json::Value>::new(),
        "no request came to be"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn shows_the_reason_in_a_header_only_where_asked_to() {
    let world = World::new();
    let impostor = world.tls("impostor", &world.authority.svid(IMPOSTOR));
    for show in [false, true] {
        let config = only_sleep(&world).with(
            "decisionLog",
            json!({"allowed": "none", "responseHeader": show}),
        );
        let server = world.server(&config).await;
        let answer = server.get(&impostor, "/get").await.expect("an answer");
        assert_forbidden(&answer);
        let expected = show.then_some("deny:no_allow_matched");
        assert_eq!(answer.header("x-countersign-decision"), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_certificates_that_envoy_itself_would_pass() {
    let world = World::new();
    let server = world.server(&ConfigSpec::inbound(&world.authority)).await;
    let two = world
        .authority
        .issue(&LeafSpec::of(SLEEP).and_uri(IMPOSTOR));
    let answer = server
        .get(&world.tls("two", &two), "/get")
        .await
        .expect("Envoy takes it");
    assert_forbidden(&answer);
    assert_eq!(server.decisions().last().unwrap()["reason"], "two_uri_sans");
    assert_eq!(server.echo.requests(), 0);
}

/// Envoy trusts a pool of two roots; the filter knows which of them may speak for a trust domain.
async fn refuses_the_other_authority(world: World) {
    let other = Authority::named(now(), "another");
    let pool = format!("{}{}", world.authority.root_pem, other.root_pem);
    std::fs::write(world.root(), pool).expect("writable");
    let server = world.server(&ConfigSpec::inbound(&world.authority)).await;
    let own = world.tls("own", &world.authority.svid(SLEEP));
    assert_eq!(
        server.get(&own, "/get").await.expect("an answer").status,
        200
    );

    let mut foreign = other.svid(SLEEP);
    let answer = server.get(&world.tls("foreign", &foreign), "/get").await;
    assert_forbidden(&answer.expect("its root is in the pool"));
    foreign
        .chain_pem
        .push_str(&world.authority.intermediate_pem);
    foreign.chain_pem.push_str(&world.authority.svid(SLEEP).pem);
    let answer = server.get(&world.tls("decoy", &foreign), "/get").await;
    assert_forbidden(&answer.expect("its root is in the pool"));
    assert_eq!(
        server.decisions().last().unwrap()["reason"],
        "unknown_issuer"
    );
    assert_eq!(server.echo.requests(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_another_trust_domains_authority_also_with_a_decoy_in_the_chain() {
    refuses_the_other_authority(World::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Envoy 1.36 in .tools/envoy"]
async fn refuses_a_decoy_in_the_oldest_supported_envoy() {
    refuses_the_other_authority(World::oldest()).await;
}

/// What a caller writes about itself does not count: addresses in headers, a dot behind the host.
async fn believes_the_connection(world: World) {
    let rules = json!([{
        "from": [{"source": {"notIpBlocks": ["127.0.0.1"]}}],
    }, {
        "to": [{"operation": {"hosts": ["admin.example", "admin.example:*"]}}],
    }]);
    let config =
        ConfigSpec::inbound(&world.authority).policy(authorization_policy("no", "DENY", rules));
    // Istio's inbound listeners believe x-forwarded-for.
    let believing = |bootstrap: &mut serde_json::Value| {
        bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
            ["use_remote_address"] = json!(false);
    };
    let tls = world.tls("sleep", &world.authority.svid(SLEEP));
    let as_written = |_: &mut serde_json::Value| {};
    let rewrites: [&dyn Fn(&mut serde_json::Value); 2] = [&as_written, &believing];
    for rewrite in rewrites {
        let server = world.server_with(&config, |_| {}, rewrite).await;
        for (host, forged, status) in [
            ("httpbin", "10.0.0.7", 200),
            ("admin.example", "127.0.0.1", 403),
            ("admin.example.", "127.0.0.1", 403),
            ("ADMIN.example.:80", "127.0.0.1", 403),
        ] {
            let mut connection = server
                .connect(&tls, Version::Http1)
                .await
                .expect("a handshake");
            let request = connection
                .request_to(host, "GET", "/get")
                .header("x-forwarded-for", forged);
            let request = request
                .body(http_body_util::Full::default())
                .expect("a request");
            let answer = connection.send(request).await.expect("an answer");
            assert_eq!(answer.status, status, "{host} {forged}");
        }
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn believes_the_connection_and_not_what_the_caller_writes() {
    believes_the_connection(World::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Envoy 1.36 in .tools/envoy"]
async fn believes_the_connection_in_the_oldest_supported_envoy() {
    believes_the_connection(World::oldest()).await;
}
