//! Data folders that an authority cannot work with: the file at fault is named and nothing is repaired
//! silently.

use std::fs;
use std::path::Path;

use authority::ca::{self, CaInit, KeyAlgorithm};
use identity::{TrustDomain, UnixTime};

use crate::random::Random;
use crate::world::{HTTPBIN, Home, Outcome, any_port};

/// A folder an authority ran in, with a certificate on record.
async fn used() -> Home {
    let home = Home::new();
    let authority = home.authority().await;
    let out = home.path("out");
    let issue = ["cert", "issue", HTTPBIN, "--out", out.to_str().unwrap()];
    home.run(issue).await.done();
    home.line(&format!("cert suspend --id {HTTPBIN}"))
        .await
        .done();
    authority.stop().await;
    home
}

async fn start(home: &Home) -> Outcome {
    home.finish(home.serve(any_port())).await
}

/// The file at fault is named; once it is what it was, the authority starts again.
async fn refuses_until_restored(home: &Home, name: &str, bad: &[u8], parts: &[&str]) {
    let path = home.data().join(name);
    let good = fs::read(&path).unwrap();
    fs::write(&path, bad).unwrap();
    let outcome = start(home).await;
    outcome.fails(&[&["authority", path.to_str().unwrap()], parts].concat());
    assert_eq!(fs::read(&path).unwrap(), bad, "{name} was written to");
    fs::write(&path, good).unwrap();
}

#[tokio::test]
async fn folders_that_are_none_or_cannot_be_made() {
    let home = Home::new();
    let file = home.write("file", "");
    let outcome = home.finish(home.serve_in(&file, any_port())).await;
    outcome.fails(&[file.to_str().unwrap(), "is not a folder"]);
    let below = file.join("data");
    let outcome = home.finish(home.serve_in(&below, any_port())).await;
    outcome.fails(&[below.to_str().unwrap(), "Not a directory"]);
    let outcome = home
        .finish(home.serve_in(Path::new("/proc/nowhere"), any_port()))
        .await;
    outcome.fails(&["/proc/nowhere"]);
}

#[tokio::test]
async fn a_folder_whose_path_is_too_long_for_its_socket() {
    let home = Home::new();
    let long = home.path(&"d".repeat(100));
    let outcome = home.finish(home.serve_in(&long, any_port())).await;
    outcome.fails(&["admin.sock", "limit is 106", "shorter path"]);
}

#[tokio::test]
async fn a_second_authority_on_the_same_folder() {
    let home = Home::new();
    let first = home.authority().await;
    let data = home.data();
    start(&home)
        .await
        .fails(&["another authority is running", data.to_str().unwrap()]);
    // The first one is none the worse for it.
    home.line("ca status").await.done();
    first.stop().await;
    home.authority().await.stop().await;
}

#[tokio::test]
async fn a_database_that_is_damaged() {
    let home = used().await;
    let name = "countersign.db";
    let good = fs::read(home.data().join(name)).unwrap();
    let mut random = Random::new(7);
    let mut garbage = || {
        (0..8192)
            .map(|_| random.below(256).to_le_bytes()[0])
            .collect::<Vec<_>>()
    };

    let all = [garbage(), garbage()].concat();
    refuses_until_restored(&home, name, &all, &["damaged", "restore it from a backup"]).await;
    let mut middle = good.clone();
    middle[4096..12_288].copy_from_slice(&garbage());
    refuses_until_restored(&home, name, &middle, &["damaged"]).await;
    for length in [100, 4096, good.len() / 2] {
        refuses_until_restored(&home, name, &good[..length], &["damaged"]).await;
    }
    home.authority().await.stop().await;
}

/// An empty record would forget every suspension and count the deny list from one again.
#[tokio::test]
async fn a_database_that_is_gone_or_empty() {
    let home = used().await;
    refuses_until_restored(&home, "countersign.db", b"", &["empty", "backup"]).await;
    let path = home.data().join("countersign.db");
    let away = home.path("away.db");
    fs::rename(&path, &away).unwrap();
    let outcome = start(&home).await;
    outcome.fails(&["authority", path.to_str().unwrap(), "missing", "backup"]);
    fs::rename(&away, &path).unwrap();

    let authority = home.authority().await;
    let suspended = home.json("cert list --state suspended").await;
    assert_eq!(suspended[0]["spiffeId"], HTTPBIN);
    authority.stop().await;
}

#[tokio::test]
async fn ca_files_that_are_truncated_or_garbage() {
    let home = used().await;
    for (name, complaint) in [
        ("ca/root.pem", "is not a CA certificate"),
        ("ca/intermediate.pem", "is not a CA certificate"),
        ("ca/root.key", "does not hold a usable private key"),
        ("ca/intermediate.key", "does not hold a usable private key"),
        ("deny-list.key", "does not hold an ECDSA P-256 key"),
    ] {
        let good = fs::read(home.data().join(name)).unwrap();
        refuses_until_restored(&home, name, &good[..good.len() / 2], &[complaint]).await;
        refuses_until_restored(&home, name, b"garbage\n", &[complaint]).await;
        refuses_until_restored(&home, name, &[0xff; 300], &[]).await;
        refuses_until_restored(&home, name, b"", &[complaint]).await;
    }
    home.authority().await.stop().await;
}

#[tokio::test]
async fn ca_files_that_do_not_belong_together() {
    let home = used().await;
    let other = used().await;
    let foreign = |name: &str| fs::read(other.data().join(name)).unwrap();
    for (name, complaint) in [
        (
            "ca/intermediate.key",
            "does not belong to the certificate in",
        ),
        ("ca/root.key", "does not belong to the certificate in"),
        ("ca/intermediate.pem", "was not signed by the root in"),
    ] {
        refuses_until_restored(&home, name, &foreign(name), &[complaint]).await;
    }
    let key = home.data().join("ca/intermediate.key");
    fs::remove_file(&key).unwrap();
    start(&home)
        .await
        .fails(&["cannot read", key.to_str().unwrap()]);
}

#[tokio::test]
async fn a_record_of_another_trust_domain() {
    let home = used().await;
    let serve = home
        .serve(any_port())
        .args(["--trust-domain", "example.org"]);
    let outcome = home.finish(serve).await;
    outcome.fails(&["cluster.local", "example.org"]);
}

/// Starts on a CA that was made at another time.
async fn with_ca_made_at(shift: i64) -> (Home, Outcome) {
    let home = Home::new();
    fs::create_dir(home.data()).unwrap();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let wanted = CaInit {
        trust_domain: TrustDomain::new("cluster.local").unwrap(),
        key_algorithm: KeyAlgorithm::EcdsaP256,
        generation: 1,
        now: UnixTime::from_secs(i64::try_from(now).unwrap() + shift),
    };
    ca::init(&home.data().join("ca"), &wanted).unwrap();
    let outcome = start(&home).await;
    (home, outcome)
}

const DAY: i64 = 86_400;

#[tokio::test]
async fn a_root_that_has_expired() {
    let (home, outcome) = with_ca_made_at(-11 * 365 * DAY).await;
    let root = home.data().join("ca/root.pem");
    outcome.fails(&["authority", root.to_str().unwrap(), "expired at"]);
}

#[tokio::test]
async fn an_intermediate_that_has_expired() {
    let (home, outcome) = with_ca_made_at(-2 * 365 * DAY).await;
    let intermediate = home.data().join("ca/intermediate.pem");
    outcome.fails(&["authority", intermediate.to_str().unwrap(), "expired at"]);
}

#[tokio::test]
async fn a_clock_before_the_root_is_valid() {
    let (home, outcome) = with_ca_made_at(2 * DAY).await;
    let root = home.data().join("ca/root.pem");
    let parts = [
        "authority",
        root.to_str().unwrap(),
        "not valid before",
        "is the clock wrong?",
    ];
    outcome.fails(&parts);
}
