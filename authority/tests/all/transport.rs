//! TLS of the listener, and health.

use std::process::{Command, Stdio};

use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::{AGENT, Ask, Authority, channel, key};

#[tokio::test(flavor = "multi_thread")]
async fn only_tls_1_3_is_spoken_and_nothing_can_be_resumed() {
    let authority = Authority::start().await;
    let (worked, said) = s_client(&authority, "-tls1_3");
    assert!(worked, "{said}");
    assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
    assert!(said.contains("TLSv1.3"), "{said}");
    assert!(
        !said.contains("Post-Handshake New Session Ticket"),
        "{said}"
    );
    let (worked, said) = s_client(&authority, "-tls1_2");
    assert!(!worked, "{said}");
}

/// What `openssl s_client` says, given the root and the server's name.
fn s_client(authority: &Authority, version: &str) -> (bool, String) {
    let bundle = authority.dir.path().join("data/bundle.pem");
    let output = Command::new("openssl")
        .args([
            "s_client",
            "-connect",
            &authority.running.ready().address.to_string(),
            version,
        ])
        .args(["-CAfile", bundle.to_str().unwrap(), "-verify_return_error"])
        .args(["-verify_hostname", "localhost", "-alpn", "h2"])
        .stdin(Stdio::null())
        .output()
        .expect("openssl is needed");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[tokio::test]
async fn a_certificate_of_another_root_opens_no_connection() {
    let ours = Authority::start().await;
    let theirs = Authority::start().await;
    let foreign = theirs.agent(AGENT).await;
    let address = ours.running.ready().address.to_string();
    // The client learns of the refusal at the handshake or at its first request.
    if let Ok(channel) = channel(&address, &ours.root_pem(), Some(&foreign)).await {
        let mut client = HealthClient::new(channel);
        client
            .check(HealthCheckRequest::default())
            .await
            .unwrap_err();
    }
    assert!(
        ours.ask(&ours.agent(AGENT).await, &key(), &Ask::default())
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn the_server_is_the_names_it_is_reached_by() {
    let authority = Authority::start().await;
    let record = authority.certificates().await;
    let own = record.iter().find(|c| c.proof == "authority").unwrap();
    assert_eq!(
        own.spiffe_id,
        "spiffe://cluster.local/countersign/authority"
    );
    let request = api::admin::GetCertificateRequest {
        serial: own.serial.clone(),
    };
    let pem = authority
        .admin()
        .await
        .get_certificate(request)
        .await
        .unwrap()
        .into_inner()
        .pem;
    let file = authority.dir.path().join("own.pem");
    std::fs::write(&file, pem).unwrap();
    let text =
        crate::verifiers::openssl(&["x509", "-noout", "-text", "-in", file.to_str().unwrap()]);
    let names = "URI:spiffe://cluster.local/countersign/authority, DNS:localhost, \
                 DNS:countersign-authority, IP Address:127.0.0.1";
    assert!(text.contains(names), "{text}");
}

#[tokio::test]
async fn health_is_told_without_a_certificate() {
    let authority = Authority::start().await;
    let mut client = HealthClient::new(authority.channel(None).await);
    for service in [
        "",
        "istio.v1.auth.IstioCertificateService",
        "countersign.agent.v1.AgentService",
    ] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let reply = client.check(request).await.unwrap().into_inner();
        assert_eq!(reply.status(), ServingStatus::Serving);
    }
}
