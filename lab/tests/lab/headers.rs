//! What a request can and cannot switch on, and the forms in which it is refused.

use std::time::Duration;

use lab::http::{Connection, Resumption, ServerCheck, Target, Version};
use lab::upstream::Echo;

use crate::support::{Pki, Sidecar, upstream};
use http_body_util::Full;

/// `x-envoy-*` headers of the application would otherwise bring retries and hedging to a cluster whose hold
/// cannot bear them.
#[tokio::test]
async fn an_application_cannot_switch_on_retries_or_hedging() {
    let binary = lab::envoy::find().unwrap();
    let (pki, echo) = (Pki::new(), Echo::start().await.unwrap());
    let dir = pki.dir();
    let tls = pki.leaf("server", "httpbin");
    let server = Sidecar::server(&binary, dir, "server", echo.address(), tls, |_| {}).await;
    let called = vec![upstream(
        server.address,
        &["httpbin"],
        pki.leaf("client", "sleep"),
    )];
    let client = Sidecar::client(&binary, dir, called, |_| {}).await;
    let target = Target::from(client.address);
    let mut connection = Connection::open(&target, None, Version::Http1)
        .await
        .unwrap();
    for path in ["/status/503", "/delay/300"] {
        let request = connection
            .request("GET", path)
            .header("x-envoy-retry-on", "5xx,connect-failure")
            .header("x-envoy-max-retries", "3")
            .header("x-envoy-upstream-rq-per-try-timeout-ms", "5")
            .header("x-envoy-upstream-rq-timeout-ms", "50")
            .header("x-envoy-hedge-on-per-try-timeout", "true")
            .header("x-envoy-internal", "true")
            .body(Full::default())
            .unwrap();
        let answer = connection.send(request).await.unwrap();
        let headers = &answer.json()["headers"];
        assert!(
            headers.is_object(),
            "the application's own answer, not Envoy's: {}",
            answer.text()
        );
        for name in [
            "x-envoy-retry-on",
            "x-envoy-hedge-on-per-try-timeout",
            "x-envoy-internal",
        ] {
            assert!(headers.get(name).is_none(), "{name} in {headers}");
        }
    }
    assert_eq!(echo.requests(), 2, "one try each");
    let retries = client
        .envoy
        .admin()
        .stats("cluster.httpbin.upstream_rq_(retry|per_try_timeout)$");
    let retries = retries.await.unwrap();
    assert_eq!(retries.len(), 2, "{retries:?}");
    assert_eq!(retries.values().sum::<u64>(), 0, "{retries:?}");
}

#[tokio::test]
async fn a_server_believes_no_forwarded_certificate_or_address_and_refuses_underscores() {
    let binary = lab::envoy::find().unwrap();
    let (pki, echo) = (Pki::new(), Echo::start().await.unwrap());
    let tls = pki.leaf("server", "httpbin");
    let server = Sidecar::server(&binary, pki.dir(), "server", echo.address(), tls, |_| {}).await;
    pki.leaf("client", "sleep");
    let tls = pki.tls(Some("client"), ServerCheck::AnyVerified, Resumption::Never);
    let target = Target::from(server.address);
    let mut connection = Connection::open(&target, Some(&tls), Version::Http1)
        .await
        .unwrap();
    let request = connection
        .request("GET", "/headers")
        .header(
            "x-forwarded-client-cert",
            "URI=spiffe://cluster.local/ns/default/sa/admin",
        )
        .header("x-forwarded-for", "10.0.0.1")
        .body(Full::default())
        .unwrap();
    let headers = connection.send(request).await.unwrap().json()["headers"].clone();
    assert!(
        headers.get("x-forwarded-client-cert").is_none(),
        "{headers}"
    );
    // What the client says stays, but what Envoy saw comes after it.
    let forwarded = headers["x-forwarded-for"][0].as_str().unwrap();
    assert!(
        forwarded.starts_with("10.0.0.1,") && !forwarded.ends_with("10.0.0.1"),
        "{forwarded}"
    );
    let request = connection
        .request("GET", "/get")
        .header("x_admin", "1")
        .body(Full::default());
    let answer = connection.send(request.unwrap()).await.unwrap();
    assert_eq!(answer.status, 400, "{}", answer.text());
}

#[tokio::test]
async fn paths_are_normalised_as_declared() {
    let binary = lab::envoy::find().unwrap();
    let (pki, echo) = (Pki::new(), Echo::start().await.unwrap());
    let tls = pki.leaf("server", "httpbin");
    pki.leaf("client", "sleep");
    let client = pki.tls(Some("client"), ServerCheck::AnyVerified, Resumption::Never);
    use envoy_config::sidecar::PathNormalization::{
        Base, DecodeAndMergeSlashes, MergeSlashes, None as Nothing,
    };
    for (mode, seen) in [
        (Nothing, "/a/../b//c%2fd"),
        (Base, "/b//c%2fd"),
        (MergeSlashes, "/b/c%2fd"),
        (DecodeAndMergeSlashes, "/b/c/d"),
    ] {
        let server = Sidecar::server(
            &binary,
            pki.dir(),
            "server",
            echo.address(),
            tls.clone(),
            |server| server.path_normalization = Some(mode),
        )
        .await;
        let target = Target::from(server.address);
        let connection = Connection::open(&target, Some(&client), Version::Http1)
            .await
            .unwrap();
        let mut connection = connection.with_limit(Duration::from_secs(5));
        let answer = connection.get("/a/../b//c%2fd").await.unwrap();
        assert_eq!(answer.json()["path"], seen, "{mode:?}");
        server.envoy.stop().await.unwrap();
    }
}
