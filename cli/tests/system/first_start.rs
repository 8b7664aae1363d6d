//! The very first start is killed at any moment: the next one has one CA, whole.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Instant;

use lab::process::Command;

use crate::issued::openssl;
use crate::random::Random;
use crate::world::{Authority, Home, LIMIT, any_port};

/// Folders that are started in for the first time at random moments, and how often each is killed.
const FOLDERS: u32 = 10;
const KILLS: u32 = 3;

/// What a first start makes, in this order. It is killed as soon as the name is there.
const STEPS: [&str; 10] = [
    "lock",
    "ca.new-",
    "ca",
    "bundle.pem",
    "countersign.db",
    "countersign.db-wal",
    "admin.sock",
    "deny-list.key.new-",
    "deny-list.key",
    "countersign.db-shm",
];

#[tokio::test]
async fn killed_at_random_moments() {
    let home = Home::new();
    let mut random = Random::new(42);
    for folder in 0..FOLDERS {
        let data = home.path(&format!("random-{folder}"));
        let serve = home.serve_in(&data, any_port());
        let mut first_root = None;
        for _ in 0..KILLS {
            let mut child = serve.start().unwrap();
            tokio::time::sleep(random.millis(0, 180)).await;
            child.kill().await.unwrap();
            root_stays(&data, &mut first_root);
        }
        starts_with_one_root(&home, &data, &serve, first_root).await;
    }
}

#[tokio::test]
async fn killed_at_each_step() {
    let home = Home::new();
    for step in STEPS {
        let data = home.path(&format!("at-{step}"));
        let serve = home.serve_in(&data, any_port());
        let mut first_root = None;
        let mut child = serve.start().unwrap();
        wait_for(&data, step);
        child.kill().await.unwrap();
        root_stays(&data, &mut first_root);
        starts_with_one_root(&home, &data, &serve, first_root).await;
    }
}

/// Looks without a pause: what is between two steps takes less than a millisecond.
fn wait_for(data: &Path, step: &str) {
    let begun = Instant::now();
    let there = || {
        let entries = fs::read_dir(data).ok()?;
        let mut names = entries.map(|entry| entry.unwrap().file_name());
        names.find(|name| {
            let name = name.to_str().unwrap();
            name == step || (step.ends_with('-') && name.starts_with(step))
        })
    };
    while there().is_none() {
        assert!(begun.elapsed() < LIMIT, "{step} did not come");
        // A name that is there only for a moment can be missed; what comes after it cannot.
        if step.ends_with('-') && data.join(step.split(".new-").next().unwrap()).exists() {
            return;
        }
    }
}

/// Once there is a root it is there for good.
fn root_stays(data: &Path, first: &mut Option<String>) {
    let now = fs::read_to_string(data.join("ca/root.pem")).ok();
    if let Some(first) = first {
        assert_eq!(now.as_ref(), Some(&*first));
    } else {
        *first = now;
    }
}

async fn starts_with_one_root(
    home: &Home,
    data: &Path,
    serve: &Command,
    first_root: Option<String>,
) {
    let authority = Authority::start(serve).await;
    let root = fs::read_to_string(data.join("ca/root.pem")).unwrap();
    assert!(first_root.is_none_or(|first| first == root));
    assert_eq!(fs::read_to_string(data.join("bundle.pem")).unwrap(), root);
    let (root, intermediate) = (data.join("ca/root.pem"), data.join("ca/intermediate.pem"));
    openssl(&[
        "verify",
        "-x509_strict",
        "-CAfile",
        root.to_str().unwrap(),
        intermediate.to_str().unwrap(),
    ]);
    let out = data.join("issued");
    let admin = data.join("admin.sock");
    let issue = home
        .command(["cert", "issue", "spiffe://cluster.local/first", "--out"])
        .arg(&out)
        .env("COUNTERSIGN_ADMIN", &admin);
    home.finish(issue).await.done();
    crate::issued::openssl_accepts(&out);
    authority.stop().await;
    secrets_are_private(data);
}

/// Nothing with a private key in it, half-made or not, can be read by others.
fn secrets_are_private(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        if path.is_dir() {
            secrets_are_private(&path);
        } else if path.is_file()
            && fs::read(&path)
                .unwrap()
                .windows(11)
                .any(|part| part == b"PRIVATE KEY")
        {
            assert_eq!(mode, 0o600, "{}", path.display());
        }
    }
}
