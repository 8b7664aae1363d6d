//! The CA while it serves: renewal, upstreams, files that change.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use authority::ca::keeper::CaReport;
use authority::ca::keeper::report::RenewalState;
use authority::ca::{self, CaInit, KeyAlgorithm, Passphrase, PassphraseSource};
use authority::upstream::UpstreamSettings;
use authority::{ServeError, Settings};
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::support::{AGENT, Ask, Authority, OTHER_AGENT, key, real_now, settings};

const DAY: i64 = 86_400;

fn quick(settings: &mut Settings) {
    settings.ca.reload_seconds = 1;
    settings.ca.announce_seconds = 60;
}

/// As [`quick`], with a renewal ten seconds after the start: clients go by the real time, so a test
/// that talks to the authority moves its clock by less than what certificates are backdated by.
fn soon(settings: &mut Settings) {
    quick(settings);
    settings.ca.intermediate_seconds = 1200;
    settings.ca.renew_before_seconds = Some(1190);
    settings.ca.announce_seconds = 20;
}

/// Waits until the report is as wanted.
async fn until(
    authority: &Authority,
    what: &str,
    wanted: impl FnMut(&Arc<CaReport>) -> bool,
) -> Arc<CaReport> {
    let mut watch = authority.running.ca();
    let found = tokio::time::timeout(Duration::from_secs(30), watch.wait_for(wanted)).await;
    match found {
        Ok(report) => report.unwrap().clone(),
        Err(_) => panic!("{what}: {:?}", authority.running.ca().borrow()),
    }
}

fn folder(dir: &Path) -> PathBuf {
    dir.join("data/ca")
}

#[tokio::test]
async fn the_intermediate_is_renewed_in_time_and_no_request_notices() {
    let passphrase = Passphrase::new(Zeroizing::new(b"words for a test".to_vec())).unwrap();
    let authority = Authority::start_in(TempDir::new().unwrap(), |settings| {
        soon(settings);
        settings.ca.passphrase = PassphraseSource::Typed(passphrase);
    })
    .await;
    let first = authority.running.ca().borrow().clone();
    assert!(matches!(first.renewal, RenewalState::NotDue { .. }));
    assert_eq!(first.custody, "encrypted file");
    let held = authority.agent(AGENT).await;

    // Somebody asks all the time, over one connection.
    let channel = authority.channel(Some(&held)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let asking = tokio::spawn(ask_until(channel, Arc::clone(&stop)));
    tokio::time::sleep(Duration::from_millis(300)).await;
    authority.clock.advance(11);
    let prepared = until(&authority, "prepared", |report| {
        matches!(report.renewal, RenewalState::Prepared { .. })
    })
    .await;
    assert_eq!(
        prepared.chain, first.chain,
        "it does not sign before it was announced"
    );
    tokio::time::sleep(Duration::from_millis(300)).await;
    authority.clock.advance(21);
    let renewed = until(&authority, "renewed", |report| {
        report.chain[0] != first.chain[0]
    })
    .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::SeqCst);
    let (issuers, failures) = asking.await.unwrap();
    assert_eq!(
        (issuers, failures),
        (2, Vec::<String>::new()),
        "leaves of both, and no failure"
    );
    assert_eq!(
        renewed.chain[0].subject,
        "CN=Countersign Intermediate CA G2,O=cluster.local"
    );
    assert_ne!(renewed.chain[0].key_id, first.chain[0].key_id);
    assert_eq!(renewed.chain[1], first.chain[1]);
    assert_eq!(renewed.custody, "encrypted file");
    let names: Vec<String> = fs::read_dir(folder(authority.dir.path()))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        names.iter().any(|name| name.starts_with("retired-")),
        "{names:?}"
    );
    // Who holds a certificate of the old one is still known, and it starts again on the new one.
    authority.ask(&held, &key(), &Ask::default()).await.unwrap();
    let dir = authority.stop().await;
    let passphrase = Passphrase::new(Zeroizing::new(b"words for a test".to_vec())).unwrap();
    let authority = Authority::start_in(dir, |settings| {
        settings.ca.passphrase = PassphraseSource::Typed(passphrase);
        settings.ca.renew_before_seconds = Some(1);
        settings.ca.intermediate_seconds = 1200;
    })
    .await;
    assert_eq!(authority.running.ca().borrow().chain[0], renewed.chain[0]);
    authority.ask(&held, &key(), &Ask::default()).await.unwrap();
    authority.stop().await;
}

/// Asks for certificates until told to stop; how many issuers signed them, and what failed.
async fn ask_until(
    channel: tonic::transport::Channel,
    stop: Arc<AtomicBool>,
) -> (usize, Vec<String>) {
    use api::istio::istio_certificate_service_client::IstioCertificateServiceClient;
    let mut issuers = std::collections::BTreeSet::new();
    let mut failures = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let request = api::istio::IstioCertificateRequest {
            csr: crate::support::csr(&key()),
            ..Default::default()
        };
        let mut client = IstioCertificateServiceClient::new(channel.clone());
        match client.create_certificate(request).await {
            Ok(answer) => drop(issuers.insert(answer.into_inner().cert_chain[1].clone())),
            Err(status) => failures.push(status.to_string()),
        }
    }
    (issuers.len(), failures)
}

#[tokio::test]
async fn a_failing_upstream_is_reported_long_before_it_hurts() {
    let authority = Authority::start_in(TempDir::new().unwrap(), soon).await;
    fs::remove_file(folder(authority.dir.path()).join("root.key")).unwrap();
    authority.clock.advance(11);
    let failing = until(&authority, "failing", |report| {
        matches!(report.renewal, RenewalState::Failing { .. })
    })
    .await;
    let RenewalState::Failing {
        error,
        attempts,
        next_try,
        since,
    } = &failing.renewal
    else {
        panic!()
    };
    assert!(error.contains("ceremony"), "{error}");
    assert_eq!(*attempts, 1);
    assert!(next_try.secs_since(*since) <= 10);
    assert!(failing.chain[0].not_after.secs_since(authority.now()) > 1000);
    let status = authority.status().await.ca.unwrap();
    assert_eq!(status.renewal, "failing");
    assert_eq!(status.renewal_detail, *error);
    // It still issues, tries again, and the pauses grow.
    authority.agent(AGENT).await;
    authority.clock.advance(11);
    until(&authority, "a second try", |report| {
        matches!(report.renewal, RenewalState::Failing { attempts: 2, .. })
    })
    .await;
    authority.stop().await;
}

#[tokio::test]
async fn files_go_out_to_whoever_signs_and_come_back() {
    let exchange = TempDir::new().unwrap();
    let out = exchange.path().to_owned();
    let authority = Authority::start_in(TempDir::new().unwrap(), |settings| {
        quick(settings);
        settings.ca.upstream = UpstreamSettings::File {
            folder: out.clone(),
        };
    })
    .await;
    authority.clock.advance(300 * DAY);
    until(&authority, "waiting", |report| {
        matches!(report.renewal, RenewalState::Waiting { .. })
    })
    .await;
    let csr = fs::read_to_string(out.join("request.csr")).unwrap();
    // Something else than was asked for is refused and the request stays.
    let ca_folder = folder(authority.dir.path());
    fs::copy(
        ca_folder.join("intermediate.pem"),
        out.join("certificate.pem"),
    )
    .unwrap();
    authority.clock.advance(2);
    let failing = until(&authority, "refused", |report| {
        matches!(report.renewal, RenewalState::Failing { .. })
    })
    .await;
    let RenewalState::Failing { error, .. } = &failing.renewal else {
        panic!()
    };
    assert!(error.contains("another one than was asked for"), "{error}");
    assert_eq!(fs::read_to_string(out.join("request.csr")).unwrap(), csr);
    // OpenSSL is somebody else.
    let text = |path: PathBuf| path.display().to_string();
    fs::write(
        out.join("ext"),
        "basicConstraints=critical,CA:true,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n",
    )
    .unwrap();
    crate::verifiers::openssl(&[
        "x509",
        "-req",
        "-in",
        &text(out.join("request.csr")),
        "-CA",
        &text(ca_folder.join("root.pem")),
        "-CAkey",
        &text(ca_folder.join("root.key")),
        "-CAcreateserial",
        "-days",
        "3000",
        "-extfile",
        &text(out.join("ext")),
        "-out",
        &text(out.join("certificate.pem")),
    ]);
    authority.clock.advance(7200);
    until(&authority, "prepared", |report| {
        matches!(report.renewal, RenewalState::Prepared { .. })
    })
    .await;
    authority.clock.advance(61);
    let renewed = until(&authority, "renewed", |report| {
        report.chain[0].subject.contains("G2")
    })
    .await;
    assert!(renewed.chain[0].not_after.secs_since(authority.now()) > 2000 * DAY);
    authority.stop().await;
}

#[tokio::test]
async fn files_that_change_are_taken_over_or_refused_with_both_fingerprints() {
    let authority = Authority::start_in(TempDir::new().unwrap(), quick).await;
    let first = authority.running.ca().borrow().clone();
    let before = authority.agent(AGENT).await;
    let ca_folder = folder(authority.dir.path());

    // As Kubernetes publishes a secret: a new folder, and one link that swings over.
    let root_key = fs::read(ca_folder.join("root.key")).unwrap();
    let root_pem = fs::read(ca_folder.join("root.pem")).unwrap();
    let publish = |name: &str, files: &[(&str, Vec<u8>)]| {
        let target = ca_folder.join(name);
        fs::create_dir(&target).unwrap();
        for (file, bytes) in files {
            fs::write(target.join(file), bytes).unwrap();
        }
        let link = ca_folder.join("..data_tmp");
        std::os::unix::fs::symlink(name, &link).unwrap();
        fs::rename(&link, ca_folder.join("..data")).unwrap();
    };
    let read = |name: &str| fs::read(ca_folder.join(name)).unwrap();
    publish(
        "..one",
        &[
            ("intermediate.pem", read("intermediate.pem")),
            ("intermediate.key", read("intermediate.key")),
            ("root.pem", root_pem.clone()),
        ],
    );
    for name in ["intermediate.pem", "intermediate.key", "root.pem"] {
        let path = ca_folder.join(name);
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(format!("..data/{name}"), &path).unwrap();
    }
    // Another intermediate below the same root.
    let made = TempDir::new().unwrap();
    fs::write(made.path().join("root.pem"), &root_pem).unwrap();
    fs::write(made.path().join("root.key"), &root_key).unwrap();
    let path = |name: &str| made.path().join(name).display().to_string();
    fs::write(
        made.path().join("ext"),
        "basicConstraints=critical,CA:true,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n",
    )
    .unwrap();
    let openssl = crate::verifiers::openssl;
    openssl(&[
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-out",
        &path("new.key"),
    ]);
    openssl(&[
        "req",
        "-new",
        "-key",
        &path("new.key"),
        "-subj",
        "/CN=Swapped",
        "-out",
        &path("new.csr"),
    ]);
    openssl(&[
        "x509",
        "-req",
        "-in",
        &path("new.csr"),
        "-CA",
        &path("root.pem"),
        "-CAkey",
        &path("root.key"),
        "-CAcreateserial",
        "-days",
        "200",
        "-extfile",
        &path("ext"),
        "-out",
        &path("new.pem"),
    ]);
    let new = |name: &str| fs::read(made.path().join(name)).unwrap();
    publish(
        "..two",
        &[
            ("intermediate.pem", new("new.pem")),
            ("intermediate.key", new("new.key")),
            ("root.pem", root_pem.clone()),
        ],
    );
    // A second too early by our clock is no fault for ever.
    tokio::time::sleep(Duration::from_secs(2)).await;
    authority.clock.advance(60);
    let swapped = until(&authority, "swapped", |report| {
        report.chain[0].subject == "CN=Swapped"
    })
    .await;
    assert_eq!(swapped.reload.as_ref().unwrap().refused, None);
    let after = authority.agent(OTHER_AGENT).await;
    assert_ne!(after.chain[1], before.chain[1]);
    assert_eq!(after.chain[2], before.chain[2]);

    // A key that does not fit, an empty file, another root: refused, and the one before stays.
    let foreign = TempDir::new().unwrap();
    let wanted = CaInit {
        trust_domain: "cluster.local".parse().unwrap(),
        key_algorithm: KeyAlgorithm::EcdsaP256,
        generation: 7,
        now: real_now(),
    };
    ca::init(&foreign.path().join("ca"), &wanted).unwrap();
    let theirs = |name: &str| fs::read(foreign.path().join("ca").join(name)).unwrap();
    type Case = (&'static str, &'static str, Vec<(&'static str, Vec<u8>)>);
    let cases: Vec<Case> = vec![
        (
            "..bad-key",
            "does not belong",
            vec![
                ("intermediate.pem", new("new.pem")),
                ("intermediate.key", theirs("intermediate.key")),
                ("root.pem", root_pem.clone()),
            ],
        ),
        (
            "..empty",
            "is not a CA certificate",
            vec![
                ("intermediate.pem", Vec::new()),
                ("intermediate.key", new("new.key")),
                ("root.pem", root_pem.clone()),
            ],
        ),
        (
            "..other-root",
            "the root is another one",
            vec![
                ("intermediate.pem", theirs("intermediate.pem")),
                ("intermediate.key", theirs("intermediate.key")),
                ("root.pem", theirs("root.pem")),
            ],
        ),
    ];
    for (name, reason, files) in cases {
        publish(name, &files);
        let refused = until(&authority, name, |report| {
            let reload = report.reload.as_ref();
            reload
                .and_then(|reload| reload.refused.as_ref())
                .is_some_and(|why| why.contains(reason))
        })
        .await;
        assert_eq!(refused.chain, swapped.chain);
        if name == "..other-root" {
            let why = refused.reload.as_ref().unwrap().refused.clone().unwrap();
            assert!(why.contains(&first.chain[1].sha256), "{why}");
        }
        authority.agent(AGENT).await;
    }
    // Back to what is good.
    publish(
        "..three",
        &[
            ("intermediate.pem", new("new.pem")),
            ("intermediate.key", new("new.key")),
            ("root.pem", root_pem),
        ],
    );
    tokio::time::sleep(Duration::from_secs(2)).await;
    authority.agent(OTHER_AGENT).await;
    authority.stop().await;
}

#[tokio::test]
async fn a_wrong_or_missing_passphrase_is_its_own_error() {
    let typed = |text: &str| {
        PassphraseSource::Typed(Passphrase::new(Zeroizing::new(text.as_bytes().to_vec())).unwrap())
    };
    let authority = Authority::start_in(TempDir::new().unwrap(), |settings| {
        settings.ca.passphrase = typed("the right words");
    })
    .await;
    let dir = authority.stop().await;
    for (source, reason) in [
        (
            typed("the wrong words"),
            "the passphrase does not open the key",
        ),
        (PassphraseSource::None, "no passphrase is given"),
        (
            PassphraseSource::File(dir.path().join("none")),
            "cannot read the passphrase file",
        ),
    ] {
        let mut settings = settings(&dir.path().join("data"));
        settings.ca.passphrase = source;
        let error = authority::start(settings).await.unwrap_err();
        let text = identity::chain(&error);
        assert!(
            text.contains(reason) && text.contains("intermediate.key"),
            "{text}"
        );
        assert!(matches!(error, ServeError::Ca(ca::CaError::BadKey { .. })));
    }
    Authority::start_in(dir, |settings| {
        settings.ca.passphrase = typed("the right words");
    })
    .await
    .stop()
    .await;
}

#[tokio::test]
async fn two_that_start_at_once_on_one_folder_end_with_one_root() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let start = || authority::start(settings(&data));
    let (one, other) = tokio::join!(start(), start());
    // One serves; the other one found it there and made nothing.
    let (running, refused) = match (one, other) {
        (Ok(running), Err(refused)) | (Err(refused), Ok(running)) => (running, refused),
        (Ok(_), Ok(_)) => panic!("two authorities on one folder"),
        (Err(one), Err(other)) => panic!("{one} and {other}"),
    };
    assert!(matches!(refused, ServeError::DataDir(_)), "{refused}");
    let root = running.ca().borrow().chain[1].sha256.clone();
    running.stop().await;
    let running = start().await.unwrap();
    assert_eq!(running.ca().borrow().chain[1].sha256, root);
    running.stop().await;
}
