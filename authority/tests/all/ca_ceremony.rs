//! The ceremony of an offline root, from the first intermediate to the next.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use authority::ca::ceremony::{
    self, CeremonyError, Finished, Plan, PlanOptions, Returned, Signed, StartOptions, Statement,
    Transcript, TranscriptError,
};
use authority::ca::{self, CaError, CaInit, FileKey, KeyAlgorithm, PassphraseSource, PathError};
use authority::{ServeError, Settings};
use identity::TrustDomain;
use tempfile::TempDir;

use crate::support::{AGENT, Authority, real_now, settings};
use crate::verifiers::openssl;

const NONE: PassphraseSource = PassphraseSource::None;

fn trust_domain() -> TrustDomain {
    "cluster.local".parse().unwrap()
}

/// A machine with a root's key and certificate.
struct Offline {
    key: FileKey,
    root: ca::CaCertificate,
}

impl Offline {
    fn new(dir: &Path) -> Self {
        let folder = dir.join("offline");
        let wanted = CaInit {
            trust_domain: trust_domain(),
            key_algorithm: KeyAlgorithm::EcdsaP384,
            generation: 1,
            now: real_now(),
        };
        ca::init(&folder, &wanted).unwrap();
        Self {
            key: FileKey::read(&folder.join("root.key")).unwrap(),
            root: ca::CaCertificate::read(&folder.join("root.pem")).unwrap(),
        }
    }

    fn plan(
        &self,
        csr: &str,
        change: impl FnOnce(&mut PlanOptions),
    ) -> Result<Plan, CeremonyError> {
        let mut options = PlanOptions {
            trust_domain: trust_domain(),
            common_name: None,
            organization: None,
            path_length: 0,
            seconds: 90 * 86_400,
            uri_hosts: Vec::new(),
            witnesses: vec!["Ada".to_owned(), "Grace".to_owned()],
            crl_seconds: 90 * 86_400,
            now: real_now(),
        };
        change(&mut options);
        Plan::new(self.root.clone(), csr, &options)
    }

    async fn sign(&self, csr: &str) -> Signed {
        self.plan(csr, |_| {})
            .unwrap()
            .sign(&self.key)
            .await
            .unwrap()
    }
}

async fn start(data: &Path) -> String {
    let options = StartOptions {
        trust_domain: trust_domain(),
        key_algorithm: KeyAlgorithm::EcdsaP256,
        name: "Mesh".to_owned(),
        token: None,
        passphrase: NONE,
        now: real_now(),
    };
    ceremony::start(data, &options).await.unwrap()
}

fn finish(
    data: &Path,
    signed: &Signed,
    root: &str,
    transcript: &str,
    is_running: bool,
) -> Result<Finished, CeremonyError> {
    let returned = Returned {
        certificate: signed.certificate.pem(),
        root,
        transcript,
        crl: signed.crl.as_deref(),
    };
    ceremony::finish(
        data,
        returned,
        &trust_domain(),
        &NONE,
        is_running,
        real_now(),
    )
}

fn data(dir: &TempDir) -> std::path::PathBuf {
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
    data
}

#[tokio::test]
async fn an_offline_root_signs_the_first_intermediate_and_the_next_without_a_restart() {
    let dir = TempDir::new().unwrap();
    let data = data(&dir);
    let offline = Offline::new(dir.path());
    let csr = start(&data).await;
    assert_eq!(
        start(&data).await,
        csr,
        "a request that waits stays the same"
    );
    // What waits for an offline root must not get a root of its own meanwhile.
    match authority::start(settings(&data)).await {
        Err(ServeError::Ca(CaError::CeremonyPending { .. })) => {}
        other => panic!("{:?}", other.map(|_| ())),
    }
    let plan = offline.plan(&csr, |_| {}).unwrap();
    assert_eq!(
        plan.statement().subject,
        "CN=Mesh Intermediate CA G1,O=cluster.local"
    );
    let signed = plan.sign(&offline.key).await.unwrap();
    let root = offline.root.pem();
    assert_eq!(
        finish(&data, &signed, root, &signed.transcript, false).unwrap(),
        Finished::Made
    );
    assert!(!data.join("ca/root.key").exists() && !data.join("ca-pending").exists());
    // With the root's list from the ceremony there is one for every CA, without the root's key.
    let options = ca::export::ExportOptions {
        with_key: false,
        crl_seconds: 86_400,
    };
    let ca_folder = data.join("ca");
    let export = ca::export::Export::prepare(&ca_folder, &NONE, &options, real_now());
    assert!(export.await.unwrap().without_crl().is_empty());
    openssl_reads_crl(&signed, dir.path());

    let authority = Authority::start_in(dir, |settings: &mut Settings| {
        settings.ca.reload_seconds = 1;
        settings.ca.announce_seconds = 0;
    })
    .await;
    let held = authority.agent(AGENT).await;
    let report = authority.running.ca().borrow().clone();
    assert_eq!(report.root_custody, "not on this machine");
    assert_eq!(
        report.chain[0].subject,
        "CN=Mesh Intermediate CA G1,O=cluster.local"
    );

    // The next generation, while it serves.
    let csr = start(&data).await;
    let next = offline.sign(&csr).await;
    let mut watch = authority.running.ca();
    assert_eq!(
        finish(&data, &next, root, &next.transcript, true).unwrap(),
        Finished::HandedOver
    );
    let taken = watch.wait_for(|report| report.chain[0].sha256 == next.certificate.sha256());
    tokio::time::timeout(std::time::Duration::from_secs(20), taken)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        next.certificate.subject(),
        "CN=Mesh Intermediate CA G2,O=cluster.local"
    );
    let again = authority.agent(crate::support::OTHER_AGENT).await;
    assert_ne!(again.chain[1], held.chain[1]);
    assert_eq!(again.chain[1], next.certificate.pem());
    // It starts again with what it was given.
    let dir = authority.stop().await;
    let authority = Authority::start_in(dir, |_| {}).await;
    assert_eq!(
        authority.running.ca().borrow().chain[0].sha256,
        next.certificate.sha256()
    );
    authority.stop().await;
}

fn openssl_reads_crl(signed: &Signed, dir: &Path) {
    let path = dir.join("root-crl.pem");
    fs::write(&path, signed.crl.as_ref().unwrap()).unwrap();
    let root = dir.join("offline/root.pem").display().to_string();
    let path = path.display().to_string();
    openssl(&["crl", "-noout", "-verify", "-CAfile", &root, "-in", &path]);
}

#[tokio::test]
async fn nothing_is_signed_that_was_not_asked_for_or_would_not_validate() {
    let dir = TempDir::new().unwrap();
    let data = data(&dir);
    let offline = Offline::new(dir.path());
    let csr = start(&data).await;
    let other = offline.plan(&csr, |options| {
        options.trust_domain = "example.org".parse().unwrap()
    });
    assert!(
        matches!(other, Err(CeremonyError::OtherTrustDomain { .. })),
        "{other:?}"
    );
    let long = offline.plan(&csr, |options| options.path_length = 1);
    assert!(matches!(
        long,
        Err(CeremonyError::Ca(CaError::Path(
            PathError::PathLengthWidened { limit: 0, .. }
        )))
    ));
    let late = offline.plan(&csr, |options| {
        options.now = options.now.plus_secs(4000 * 86_400).unwrap()
    });
    assert!(
        matches!(late, Err(CeremonyError::Ca(CaError::Path(_)))),
        "{late:?}"
    );
    for bad in [
        "",
        "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
    ] {
        let refused = offline.plan(bad, |_| {});
        assert!(
            matches!(refused, Err(CeremonyError::Request(_))),
            "{refused:?}"
        );
    }
    // No longer than the root, whatever is asked for.
    let plan = offline
        .plan(&csr, |options| options.seconds = 100 * 365 * 86_400)
        .unwrap();
    assert_eq!(plan.statement().not_after, offline.root.not_after());
    let stranger = FileKey::generate(KeyAlgorithm::EcdsaP384).unwrap();
    assert!(matches!(
        plan.sign(&stranger).await,
        Err(CeremonyError::Root { .. })
    ));
    // A request of somebody else's key: its signature does not hold.
    let mut lines: Vec<&str> = csr.lines().collect();
    let flipped = lines[2].replace('A', "B");
    lines[2] = &flipped;
    assert!(offline.plan(&lines.join("\n"), |_| {}).is_err());
}

#[tokio::test]
async fn what_comes_back_must_fit_to_the_byte() {
    let dir = TempDir::new().unwrap();
    let data = data(&dir);
    let offline = Offline::new(dir.path());
    let csr = start(&data).await;
    let signed = offline.sign(&csr).await;
    let root = offline.root.pem();

    // Each byte of the statement counts.
    let changed = signed.transcript.replace("Grace", "Mallory");
    assert!(matches!(
        finish(&data, &signed, root, &changed, false),
        Err(CeremonyError::Transcript(
            TranscriptError::BadSignature { .. }
        ))
    ));
    for at in [0, signed.transcript.len() / 3] {
        let mut bytes = signed.transcript.clone().into_bytes();
        bytes[at] ^= 1;
        let text = String::from_utf8(bytes).unwrap();
        let verified = Transcript::parse(&text).and_then(|t| t.verify(&offline.root));
        assert!(
            matches!(verified, Err(TranscriptError::BadSignature { .. })),
            "{at}"
        );
    }
    for bad in ["", "{}", &signed.transcript[..200]] {
        assert!(matches!(
            Transcript::parse(bad),
            Err(TranscriptError::Malformed { .. })
        ));
    }
    // A transcript of another signature for the same request.
    let twice = offline.sign(&csr).await;
    assert!(matches!(
        finish(&data, &signed, root, &twice.transcript, false),
        Err(CeremonyError::Transcript(TranscriptError::Differs {
            field: "certificate"
        }))
    ));
    // A certificate for another key, and one of another root.
    let elsewhere = TempDir::new().unwrap();
    let foreign_csr = start(elsewhere.path()).await;
    let foreign = offline.sign(&foreign_csr).await;
    assert!(matches!(
        finish(&data, &foreign, root, &foreign.transcript, false),
        Err(CeremonyError::Certificate(_))
    ));
    let other = Offline::new(elsewhere.path());
    let theirs = other.sign(&csr).await;
    assert!(matches!(
        finish(&data, &theirs, root, &theirs.transcript, false),
        Err(CeremonyError::Certificate(_))
    ));
    assert!(!data.join("ca").exists());
    assert_eq!(
        finish(&data, &signed, root, &signed.transcript, false).unwrap(),
        Finished::Made
    );
    // Once there is a CA, its root stays; and nothing is finished that was not started.
    assert!(matches!(
        finish(&data, &theirs, other.root.pem(), &theirs.transcript, false),
        Err(CeremonyError::Root { .. })
    ));
    assert!(matches!(
        finish(&data, &signed, root, &signed.transcript, false),
        Err(CeremonyError::NotStarted { .. })
    ));
    let statement: Statement = Transcript::parse(&signed.transcript)
        .unwrap()
        .verify(&offline.root)
        .unwrap();
    assert_eq!(statement.witnesses, ["Ada", "Grace"]);
    assert_eq!(statement.certificate_sha256, signed.certificate.sha256());
}
