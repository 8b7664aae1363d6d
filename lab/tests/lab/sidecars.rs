//! Two real Envoys from our bootstraps, mutual TLS between them.

use std::time::Duration;

use envoy_config::address::Admin;
use envoy_config::doctor::inspect;
use envoy_config::sidecar::SanMatchers;
use lab::envoy::{AdminClient, Envoy, Options, Places};
use lab::http::{Connection, Resumption, ServerCheck, Target, Version};
use lab::upstream::Echo;

use crate::support::{Pki, Sidecar, short_age, spiffe_id, upstream};

#[tokio::test]
async fn requests_go_from_client_to_server_over_mutual_tls_on_every_envoy() {
    for binary in Places::of_this_process().all().unwrap() {
        let (pki, echo) = (Pki::new(), Echo::start().await.unwrap());
        let dir = pki.dir();
        let tls = pki.leaf("server", "httpbin");
        let server = Sidecar::server(&binary, dir, "server", echo.address(), tls, |_| {}).await;
        let tls = pki.leaf("client", "sleep");
        let called = vec![upstream(server.address, &["httpbin"], tls)];
        let client = Sidecar::client(&binary, dir, called, |_| {}).await;

        let target = Target::from(client.address);
        let mut connection = Connection::open(&target, None, Version::Http1)
            .await
            .unwrap();
        let answer = connection.get("/headers?secret=1").await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        let headers = &answer.json()["headers"];
        assert!(
            headers.get("x-forwarded-client-cert").is_none(),
            "{headers}"
        );
        let answer = connection
            .post("/post", vec![b'x'; 3_000_000])
            .await
            .unwrap();
        assert_eq!(answer.json()["bytes"], 3_000_000);
        assert_eq!(connection.get("/status/418").await.unwrap().status, 418);
        assert_eq!(echo.requests(), 3);

        let lines = server.access(3).await;
        assert_eq!(lines[0]["peer"], spiffe_id("sleep"));
        assert_eq!(lines[0]["local"], spiffe_id("httpbin"));
        assert_eq!(lines[0]["path"], "/headers", "no query in the log");
        assert_eq!(lines[0]["status"], 200);
        assert_eq!(lines[0]["protocol"], "HTTP/2");
        assert_eq!(
            lines[0]["connection"], lines[2]["connection"],
            "one pooled connection"
        );
        let received = lines[0]["requestId"].clone();
        let lines = client.access(3).await;
        assert_eq!(lines[0]["peer"], spiffe_id("httpbin"));
        assert!(
            received.is_string() && lines[0]["requestId"] == received,
            "one id in both logs"
        );
        assert_eq!(lines[0]["cluster"], "httpbin");
        assert_eq!(
            server
                .envoy
                .admin()
                .stat("ssl.no_certificate")
                .await
                .unwrap(),
            0
        );
        for sidecar in [client, server] {
            let dump = sidecar.envoy.admin().config_dump().await.unwrap();
            assert!(dump["configs"].is_array(), "{dump}");
            assert_eq!(
                inspect(&dump),
                [],
                "as Envoy itself tells its configuration"
            );
            sidecar.envoy.stop().await.unwrap();
        }
    }
}

#[tokio::test]
async fn an_impostor_receives_no_byte_of_a_request() {
    let binary = lab::envoy::find().unwrap();
    let (pki, echo) = (Pki::new(), Echo::start().await.unwrap());
    let dir = pki.dir();
    let tls = pki.leaf("impostor", "impostor");
    let impostor = Sidecar::server(&binary, dir, "impostor", echo.address(), tls, |_| {}).await;
    let called = vec![upstream(
        impostor.address,
        &["httpbin"],
        pki.leaf("client", "sleep"),
    )];
    let client = Sidecar::client(&binary, dir, called.clone(), |_| {}).await;
    let answer = lab::http::get(&client.address.into(), "/get")
        .await
        .unwrap();
    assert_eq!(answer.status, 503, "{}", answer.text());
    let lines = client.access(1).await;
    let failure = lines[0]["upstreamFailure"].as_str().unwrap();
    assert!(failure.contains("CERTIFICATE_VERIFY_FAILED"), "{failure}");
    assert_eq!(echo.requests(), 0);
    assert!(impostor.access(0).await.is_empty());
    client.envoy.stop().await.unwrap();

    // The control: without the matchers the same request reaches it.
    let mut called = called;
    called[0].san_matchers = SanMatchers::Off;
    let client = Sidecar::client(&binary, dir, called, |_| {}).await;
    assert_eq!(
        lab::http::get(&client.address.into(), "/get")
            .await
            .unwrap()
            .status,
        200
    );
    assert_eq!(echo.requests(), 1);
}

#[tokio::test]
async fn a_server_refuses_plaintext_and_clients_without_certificate() {
    let binary = lab::envoy::find().unwrap();
    let (pki, echo) = (Pki::new(), Echo::start().await.unwrap());
    let tls = pki.leaf("server", "httpbin");
    let server = Sidecar::server(&binary, pki.dir(), "server", echo.address(), tls, |_| {}).await;
    let target = Target::from(server.address);
    lab::http::get(&target, "/get")
        .await
        .expect_err("plaintext");
    for version in [Version::Http1, Version::Http2] {
        let tls = pki.tls(None, ServerCheck::AnyVerified, Resumption::Never);
        // TLS 1.3 lets a client think that it is connected before the server has looked at its certificate.
        if let Ok(mut connection) = Connection::open(&target, Some(&tls), version).await {
            connection.get("/get").await.expect_err("no certificate");
        }
    }
    assert_eq!(echo.requests(), 0);
    let refused = server
        .envoy
        .admin()
        .stats("ssl.fail_verify_no_cert$")
        .await
        .unwrap();
    assert_eq!(refused.values().sum::<u64>(), 2, "{refused:?}");
}

/// Full handshakes and resumed ones at the server after three connections of a client that would resume.
async fn handshakes(admin: &AdminClient, pki: &Pki, target: &Target) -> (u64, u64) {
    pki.leaf("client", "sleep");
    let check = ServerCheck::SpiffeId(spiffe_id("httpbin"));
    let tls = pki.tls(Some("client"), check, Resumption::WhenOffered);
    for _ in 0..3 {
        let mut connection = Connection::open(target, Some(&tls), Version::Http1)
            .await
            .unwrap();
        assert_eq!(connection.get("/get").await.unwrap().status, 200);
    }
    let sessions = admin
        .stats("^listener.*ssl.(handshake|session_reused)$")
        .await
        .unwrap();
    let sum = |end: &str| {
        sessions
            .iter()
            .filter(|(name, _)| name.ends_with(end))
            .map(|(_, value)| value)
            .sum()
    };
    (sum("ssl.handshake"), sum("ssl.session_reused"))
}

#[tokio::test]
async fn sessions_are_not_resumed() {
    for binary in Places::of_this_process().all().unwrap() {
        let (pki, echo) = (Pki::new(), Echo::start().await.unwrap());
        let dir = pki.dir();
        let tls = pki.leaf("server", "httpbin");
        let server = Sidecar::server(&binary, dir, "server", echo.address(), tls, |_| {}).await;
        let target = Target::from(server.address);
        assert_eq!(
            handshakes(server.envoy.admin(), &pki, &target).await,
            (3, 0)
        );

        // The control: the same bootstrap with Envoy's defaults resumes.
        let yaml = std::fs::read_to_string(server.envoy.config()).unwrap();
        let defaults = yaml.replace("session_resumption: true", "session_resumption: false");
        assert_ne!(yaml, defaults);
        server.envoy.stop().await.unwrap();
        let (admin, options) = (
            Admin::Unix(dir.join("server.sock")),
            Options::new("control", dir),
        );
        let mut control = Envoy::launch_yaml(&binary, &defaults, &admin, &options).unwrap();
        control.wait_ready(Duration::from_secs(30)).await.unwrap();
        assert_eq!(handshakes(control.admin(), &pki, &target).await, (3, 2));
    }
}

/// Both ends retire connections, under a trickle over both of them and directly to the server: no request
/// fails, and several connections were used.
#[tokio::test]
async fn ageing_connections_lose_no_request() {
    for binary in Places::of_this_process().all().unwrap() {
        let (pki, echo) = (Pki::new(), Echo::start().await.unwrap());
        let dir = pki.dir();
        let tls = pki.leaf("server", "httpbin");
        let server = Sidecar::server(&binary, dir, "server", echo.address(), tls, |server| {
            server.connection_age = short_age();
        })
        .await;
        let called = vec![upstream(
            server.address,
            &["httpbin"],
            pki.leaf("client", "sleep"),
        )];
        let client = Sidecar::client(&binary, dir, called, |client| {
            client.connection_age = short_age();
        })
        .await;
        let tls = pki.tls(Some("client"), ServerCheck::AnyVerified, Resumption::Never);
        let (app, direct) = (Target::from(client.address), Target::from(server.address));
        let mut through = Connection::open(&app, None, Version::Http1).await.unwrap();
        let mut straight = Connection::open(&direct, Some(&tls), Version::Http1)
            .await
            .unwrap();
        let mut opened = 1;
        let begun = std::time::Instant::now();
        for _ in 0..300 {
            assert_eq!(through.get("/get").await.unwrap().status, 200);
            let answer = straight.get("/get").await.unwrap();
            assert_eq!(answer.status, 200);
            if answer.header("connection") == Some("close") {
                straight = Connection::open(&direct, Some(&tls), Version::Http1)
                    .await
                    .unwrap();
                opened += 1;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Not one a request: how many there may be is a matter of how long this machine took.
        let most = begun.elapsed().as_secs() + 2;
        assert!(
            (3..=most).contains(&opened),
            "{opened} connections straight to the server, at most {most} expected"
        );
        assert_eq!(echo.requests(), 600);
        let aged = client
            .envoy
            .admin()
            .stat("cluster.httpbin.upstream_cx_max_duration_reached");
        assert!(aged.await.unwrap() >= 3);
        let lines = server.access(600).await;
        assert!(lines.iter().all(|line| line["status"] == 200));
    }
}
