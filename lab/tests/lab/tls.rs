//! The test client's own TLS checks: a client that accepts everything would prove nothing.

use lab::http::{Connection, HttpError, Resumption, ServerCheck, Target, Version};
use lab::upstream::Echo;

use crate::support::{Pki, Sidecar, spiffe_id};

#[tokio::test]
async fn the_client_accepts_the_right_server_only() {
    let binary = lab::envoy::find().unwrap();
    let (pki, echo) = (Pki::new(), Echo::start().await.unwrap());
    let tls = pki.leaf("server", "httpbin");
    let server = Sidecar::server(&binary, pki.dir(), "server", echo.address(), tls, |_| {}).await;
    let target = Target::from(server.address);
    pki.leaf("client", "sleep");
    let open = async |pki: &Pki, check| {
        let tls = pki.tls(Some("client"), check, Resumption::Never);
        Connection::open(&target, Some(&tls), Version::Http2).await
    };
    open(&pki, ServerCheck::AnyVerified).await.unwrap();
    let mut right = open(&pki, ServerCheck::SpiffeId(spiffe_id("httpbin")))
        .await
        .unwrap();
    assert_eq!(right.get("/get").await.unwrap().status, 200);
    let wrong = open(&pki, ServerCheck::SpiffeId(spiffe_id("other")))
        .await
        .unwrap_err();
    assert!(matches!(wrong, HttpError::Handshake { .. }), "{wrong}");
    let elsewhere = Pki::new();
    elsewhere.leaf("client", "sleep");
    let wrong = open(&elsewhere, ServerCheck::AnyVerified)
        .await
        .unwrap_err();
    assert!(matches!(wrong, HttpError::Handshake { .. }), "{wrong}");
}
