//! What Envoy gets over SDS, and what it does not.

use std::time::Duration;

use agent::KeyAlgorithm;
use envoy_types::pb::{
    envoy::service::{
        discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest},
        secret::v3::secret_discovery_service_client::SecretDiscoveryServiceClient,
    },
    google::rpc::Status as RpcStatus,
};
use identity::x509::{SvidProfile, X509Svid};
use rcgen::{KeyPair, PublicKeyData};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use tonic::{Code, Status};

use crate::{
    authority::Authority,
    harness::{
        Agent, HTTPBIN, Home, SLEEP, certificate, channel, entry, entry_with, request, secrets,
        trusted_ca, within,
    },
};

async fn agent_with(entries: Vec<api::agent::Entry>) -> (Authority, Home, Agent) {
    let authority = Authority::up().await;
    authority.entries.send_replace(entries);
    let home = Home::new(&authority);
    let agent = home.started().await;
    (authority, home, agent)
}

/// Checks that chain and key belong together and returns the leaf.
pub(crate) fn leaf(chain: &str, key: &str) -> X509Svid {
    let ders: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(chain.as_bytes())
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(ders.len(), 2, "leaf and intermediate, no root");
    let leaf = X509Svid::parse(&ders[0], SvidProfile::Strict).unwrap();
    assert!(key.starts_with("-----BEGIN PRIVATE KEY-----"));
    let key = KeyPair::from_pem(key).unwrap();
    assert_eq!(leaf.spki_der(), key.subject_public_key_info());
    leaf
}

fn refused(result: Result<impl std::fmt::Debug, Status>, parts: &[&str]) {
    let status = result.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    for part in parts {
        assert!(status.message().contains(part), "{}", status.message());
    }
}

#[tokio::test]
async fn serves_the_certificate_and_the_bundle() {
    let (authority, _home, agent) = agent_with(vec![entry(HTTPBIN)]).await;
    for name in ["default", HTTPBIN] {
        let secret = agent.secret(name).await.unwrap();
        assert_eq!(secret.name, name);
        let (chain, key) = certificate(&secret);
        assert_eq!(leaf(&chain, &key).id().to_string(), HTTPBIN);
        assert!(chain.ends_with(&authority.ca.intermediate_pem));
    }
    let bundle = agent.secret("ROOTCA").await.unwrap();
    assert_eq!(trusted_ca(&bundle), authority.ca.root_pem);
}

#[tokio::test]
async fn serves_rsa_keys_when_told_to() {
    let authority = Authority::up().await;
    authority.entries.send_replace(vec![entry(HTTPBIN)]);
    let mut home = Home::new(&authority);
    home.settings.key_algorithm = KeyAlgorithm::Rsa2048;
    let agent = home.started().await;
    let (chain, key) = certificate(&agent.secret("default").await.unwrap());
    let leaf = leaf(&chain, &key);
    // rsaEncryption, 1.2.840.113549.1.1.1.
    let oid = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    assert!(leaf.spki_der().windows(oid.len()).any(|part| part == oid));
}

#[tokio::test]
async fn asks_for_the_lifetime_of_the_entry() {
    let mut short = entry(HTTPBIN);
    short.ttl_seconds = 90;
    let (authority, _home, agent) = agent_with(vec![short]).await;
    agent.secret("default").await.unwrap();
    assert_eq!(authority.state().asked_ttl[HTTPBIN], 90);
}

#[tokio::test]
async fn refuses_names_the_process_may_not_have() {
    let nobody = entry_with(SLEEP, &["unix:uid:4294967294"]);
    let (_authority, _home, agent) = agent_with(vec![entry(HTTPBIN), nobody]).await;
    refused(agent.secret(SLEEP).await, &[SLEEP, "no registration entry"]);
    refused(agent.secret("nonsense").await, &["\"nonsense\"", "ROOTCA"]);
    refused(agent.secret("").await, &["\"\""]);
    // The one it may have is still `default`.
    agent.secret("default").await.unwrap();
}

#[tokio::test]
async fn gives_nothing_to_a_process_without_an_entry() {
    let (_authority, _home, agent) = agent_with(vec![
        entry_with(HTTPBIN, &["unix:uid:4294967294"]),
        entry_with(SLEEP, &[]),
    ])
    .await;
    for name in ["default", "ROOTCA", HTTPBIN, SLEEP] {
        refused(
            agent.secret(name).await,
            &[name, "no registration entry fits"],
        );
    }
    let status = agent.status().await;
    assert_eq!(status.refused_entries.len(), 1);
    assert!(status.refused_entries[0].reason.contains("no selectors"));
}

#[tokio::test]
async fn default_is_refused_when_it_could_be_either_of_two() {
    let (_authority, _home, agent) = agent_with(vec![entry(HTTPBIN), entry(SLEEP)]).await;
    refused(agent.secret("default").await, &["2 identities"]);
    for id in [HTTPBIN, SLEEP] {
        let (chain, key) = certificate(&agent.secret(id).await.unwrap());
        assert_eq!(leaf(&chain, &key).id().to_string(), id);
    }
}

#[tokio::test]
async fn knows_a_process_by_the_path_and_digest_of_its_executable() {
    let executable = std::env::current_exe().unwrap();
    let content = std::fs::read(&executable).unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &content);
    let path = format!("unix:path:{}", executable.display());
    let sha256 = format!("unix:sha256:{}", hex::encode(digest));
    let other = format!("unix:sha256:{}", "00".repeat(32));
    let (_authority, _home, agent) = agent_with(vec![
        entry_with(HTTPBIN, &[&path, &sha256]),
        entry_with(SLEEP, &[&path, &other]),
    ])
    .await;
    agent.secret(HTTPBIN).await.unwrap();
    refused(agent.secret(SLEEP).await, &[SLEEP]);
}

#[tokio::test]
async fn several_names_on_a_stream_and_a_change_of_names() {
    let (_authority, _home, agent) = agent_with(vec![entry(HTTPBIN), entry(SLEEP)]).await;
    agent
        .until(|status| status.identities.iter().all(|one| one.serial.is_some()))
        .await;
    let mut stream = agent.sds().await;
    stream.ask(&[HTTPBIN, "ROOTCA"]).await;
    let first = stream.next().await.unwrap();
    let names: Vec<String> = secrets(&first).into_iter().map(|one| one.name).collect();
    assert_eq!(names, ["ROOTCA", HTTPBIN]);
    stream.ack(&[HTTPBIN, "ROOTCA"], &first).await;
    stream.silent().await;
    stream.ack(&[SLEEP], &first).await;
    let second = stream.next().await.unwrap();
    let names: Vec<String> = secrets(&second).into_iter().map(|one| one.name).collect();
    assert_eq!(names, [SLEEP]);
    stream.ack(&[], &second).await;
    stream.silent().await;
    stream.ack(&[SLEEP], &second).await;
    assert_eq!(secrets(&stream.next().await.unwrap())[0].name, SLEEP);
}

#[tokio::test]
async fn what_envoy_rejects_is_not_sent_again() {
    let (_authority, _home, agent) = agent_with(vec![entry(HTTPBIN)]).await;
    let mut stream = agent.sds().await;
    stream.ask(&["ROOTCA"]).await;
    let response = stream.next().await.unwrap();
    stream
        .send(DiscoveryRequest {
            response_nonce: response.nonce.clone(),
            error_detail: Some(RpcStatus {
                message: "cannot load".to_owned(),
                ..RpcStatus::default()
            }),
            ..request(&["ROOTCA"])
        })
        .await;
    stream.silent().await;
    let rejection = agent.status().await.rejection.unwrap();
    assert_eq!(rejection.names, ["ROOTCA"]);
    assert_eq!(rejection.message, "cannot load");
    assert_eq!(rejection.pid, i32::try_from(std::process::id()).unwrap());
}

#[tokio::test]
async fn a_changed_bundle_is_pushed() {
    let (authority, _home, agent) = agent_with(vec![entry(HTTPBIN)]).await;
    let mut stream = agent.sds().await;
    stream.ask(&["ROOTCA"]).await;
    let first = stream.next().await.unwrap();
    stream.ack(&["ROOTCA"], &first).await;
    let other = Authority::down().await;
    let both = format!("{}{}", authority.ca.root_pem, other.ca.root_pem);
    authority
        .bundle
        .send_modify(|bundle| bundle.root_pem.clone_from(&both));
    let second = stream.next().await.unwrap();
    assert_eq!(trusted_ca(&secrets(&second)[0]), both);
    assert_ne!(second.version_info, first.version_info);
    // A bundle without a root would cut everybody off: the one before it stays.
    authority
        .bundle
        .send_modify(|bundle| bundle.root_pem.clear());
    stream.ack(&["ROOTCA"], &second).await;
    stream.silent().await;
    authority.bundle.send_modify(|bundle| {
        bundle.trust_domain = "example.org".to_owned();
        bundle.root_pem.clone_from(&other.ca.root_pem);
    });
    stream.silent().await;
    assert_eq!(agent.status().await.trust_bundle.unwrap().roots, 2);
}

#[tokio::test]
async fn a_withdrawn_identity_ends_its_streams_and_a_new_entry_starts_one() {
    let (authority, _home, agent) = agent_with(vec![entry(HTTPBIN)]).await;
    let mut stream = agent.sds().await;
    stream.ask(&[HTTPBIN]).await;
    let response = stream.next().await.unwrap();
    stream.ack(&[HTTPBIN], &response).await;
    authority.entries.send_replace(vec![entry(SLEEP)]);
    refused(stream.next().await, &[HTTPBIN]);
    agent.secret(SLEEP).await.unwrap();
    let status = agent.status().await;
    assert_eq!(status.identities.len(), 1);
    assert_eq!(status.identities[0].spiffe_id, SLEEP);
}

#[tokio::test]
async fn a_certificate_that_takes_its_time_is_sent_when_it_is_there() {
    let authority = Authority::up().await;
    let home = Home::new(&authority);
    let agent = home.started().await;
    authority.state().delay = Duration::from_millis(700);
    authority.entries.send_replace(vec![entry(HTTPBIN)]);
    agent.until(|status| !status.identities.is_empty()).await;
    let mut stream = agent.sds().await;
    stream.ask(&["default"]).await;
    stream.silent().await;
    stream.next().await.unwrap();
}

#[tokio::test]
async fn streams_end_when_the_agent_stops() {
    let (_authority, _home, agent) = agent_with(vec![entry(HTTPBIN)]).await;
    let mut stream = agent.sds().await;
    stream.ask(&["default"]).await;
    stream.next().await.unwrap();
    agent.stop().await;
    assert_eq!(stream.next().await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn only_stream_secrets_is_served() {
    let (_authority, _home, agent) = agent_with(vec![entry(HTTPBIN)]).await;
    let mut client = SecretDiscoveryServiceClient::new(channel(&agent.socket));
    let fetched = within(client.fetch_secrets(request(&["default"]))).await;
    assert_eq!(fetched.unwrap_err().code(), Code::Unimplemented);
    let delta = tokio_stream::iter([DeltaDiscoveryRequest::default()]);
    let delta = within(client.delta_secrets(delta)).await;
    assert_eq!(delta.unwrap_err().code(), Code::Unimplemented);
}
