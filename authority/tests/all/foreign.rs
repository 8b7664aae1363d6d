//! Certificates of foreign CAs as a proof.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};
use serde_json::json;
use tempfile::TempDir;
use tonic::transport::{Certificate as TlsRoot, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};

use crate::support::{AGENT, Ask, Authority, Held, create, key};
use crate::tokens::proofs;

type Ca = CertifiedIssuer<'static, KeyPair>;

fn ca(name: &str) -> Ca {
    CertifiedIssuer::self_signed(ca_params(name), key()).unwrap()
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    params
}

fn leaf(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![format!("{name}.example")]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

/// An authority that takes the certificates of `ca`.
async fn authority(ca: &Ca) -> Authority {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("old.pem");
    std::fs::write(&file, ca.pem()).unwrap();
    let section = json!({"x509pop": [
        {"name": "old", "caFile": file, "spiffeId": "spiffe://cluster.local/old/{subject:cn}"},
    ]});
    Authority::start_in(dir, |settings| settings.proofs = proofs(section)).await
}

async fn ask(
    authority: &Authority,
    params: &CertificateParams,
    by: &Ca,
    above: &[&Ca],
) -> Result<Held, Status> {
    let theirs = key();
    let certificate = params.signed_by(&theirs, by).unwrap();
    let chain: String = above.iter().map(|ca| ca.pem()).collect();
    let identity = Identity::from_pem(
        format!("{}{chain}", certificate.pem()),
        theirs.serialize_pem(),
    );
    let channel = connect(authority, identity).await?;
    create(channel, None, &key(), &Ask::default()).await
}

async fn connect(authority: &Authority, identity: Identity) -> Result<Channel, Status> {
    let tls = ClientTlsConfig::new()
        .ca_certificate(TlsRoot::from_pem(authority.root_pem()))
        .domain_name("countersign-authority")
        .identity(identity);
    let address = format!("https://{}", authority.running.ready().address);
    let endpoint = Endpoint::from_shared(address)
        .unwrap()
        .tls_config(tls)
        .unwrap();
    endpoint
        .connect()
        .await
        .map_err(|error| Status::unknown(error.to_string()))
}

#[tokio::test]
async fn possession_of_a_foreign_certificate_is_worth_the_identity_of_its_template() {
    let root = ca("old root");
    let authority = authority(&root).await;
    let held = ask(&authority, &leaf("db-1"), &root, &[]).await.unwrap();
    assert_eq!(
        held.svid.id().to_string(),
        "spiffe://cluster.local/old/db-1"
    );
    assert_eq!(authority.certificates().await[0].caller, "CN=db-1 of old");
    // With it the next ones are had as with any other of ours.
    authority.ask(&held, &key(), &Ask::default()).await.unwrap();
    // Below an intermediate, which has to be sent along.
    let middle = CertifiedIssuer::signed_by(ca_params("middle"), key(), &root).unwrap();
    ask(&authority, &leaf("db-2"), &middle, &[&middle])
        .await
        .unwrap();
    ask(&authority, &leaf("db-2"), &middle, &[])
        .await
        .unwrap_err();
    // Our own agents come in as ever.
    authority.agent(AGENT).await;
}

#[tokio::test]
async fn no_other_certificate_is_a_proof() {
    let root = ca("old root");
    let authority = authority(&root).await;
    authority.agent(AGENT).await;
    let before = authority.certificates().await.len();
    // The same name on another key, a server's certificate, one that has expired: no connection.
    ask(&authority, &leaf("db-1"), &ca("old root"), &[])
        .await
        .unwrap_err();
    let mut server = leaf("db-1");
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    ask(&authority, &server, &root, &[]).await.unwrap_err();
    let mut expired = leaf("db-1");
    expired.not_after = rcgen::date_time_ymd(2020, 1, 1);
    ask(&authority, &expired, &root, &[]).await.unwrap_err();
    // No identity can be made of it.
    let refused = |code, rule: &'static str, params: CertificateParams| {
        let (authority, root) = (&authority, &root);
        async move {
            let refused = ask(authority, &params, root, &[]).await.unwrap_err();
            assert_eq!((refused.code(), rule), (code, rule), "{refused}");
            assert_eq!(authority.refusal().await.code, rule);
        }
    };
    for name in ["../ns/a/sa/b", "a/b", ".", "..", "two words"] {
        let mut params = leaf("x");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        refused(Code::PermissionDenied, "no_identity", params).await;
    }
    let mut crowded = leaf("db-1");
    for number in 0..65 {
        let name = format!("n{number}.example").try_into().unwrap();
        crowded.subject_alt_names.push(SanType::DnsName(name));
    }
    refused(Code::Unauthenticated, "foreign_certificate", crowded).await;
    // It may not ask for another's.
    let theirs = key();
    let certificate = leaf("db-1").signed_by(&theirs, &root).unwrap();
    let channel = connect(
        &authority,
        Identity::from_pem(certificate.pem(), theirs.serialize_pem()),
    )
    .await
    .unwrap();
    let other = create(channel, None, &key(), &Ask::id(AGENT))
        .await
        .unwrap_err();
    assert_eq!(other.code(), Code::PermissionDenied, "{other}");
    assert_eq!(authority.refusal().await.code, "impersonation_denied");
    // Nor does it expire only when its connection ends.
    let theirs = key();
    let mut short = leaf("db-1");
    short.not_after = rcgen::date_time_ymd(2099, 1, 1);
    let certificate = short.signed_by(&theirs, &root).unwrap();
    let channel = connect(
        &authority,
        Identity::from_pem(certificate.pem(), theirs.serialize_pem()),
    )
    .await
    .unwrap();
    authority.clock.advance(80 * 365 * 86_400);
    let late = create(channel, None, &key(), &Ask::default())
        .await
        .unwrap_err();
    assert_eq!(late.code(), Code::Unauthenticated, "{late}");
    assert_eq!(authority.refusal().await.code, "certificate_expired");
    assert_eq!(authority.certificates().await.len(), before);
}

#[tokio::test]
async fn our_own_root_is_no_foreign_one() {
    let first = Authority::start().await;
    let dir = first.stop().await;
    let bundle = dir.path().join("data/bundle.pem");
    let mut settings = crate::support::settings(&dir.path().join("data"));
    settings.proofs = proofs(json!({"x509pop": [{"name": "us", "caFile": bundle}]}));
    let refused = authority::start(settings).await.unwrap_err();
    assert!(
        matches!(
            refused,
            authority::ServeError::Tls(authority::TlsError::ForeignIsOurs)
        ),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_maze_of_intermediates_costs_no_more_than_a_moment() {
    let root = ca("old root");
    let authority = authority(&root).await;
    // All of one name, so that each could be above each, and none below the root.
    let maze: Vec<Ca> = (0..40).map(|_| ca("maze")).collect();
    let above: Vec<&Ca> = maze.iter().collect();
    // Nobody searches for the way through it: that took seconds for each.
    let began = std::time::Instant::now();
    for _ in 0..10 {
        ask(&authority, &leaf("db-1"), &maze[0], &above)
            .await
            .unwrap_err();
    }
    assert!(
        began.elapsed() < std::time::Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    // Also of a chain that would hold, with decoys beside what is needed.
    ask(&authority, &leaf("db-1"), &root, &above[..6])
        .await
        .unwrap_err();
    ask(&authority, &leaf("db-1"), &root, &above[..5])
        .await
        .unwrap();
}
