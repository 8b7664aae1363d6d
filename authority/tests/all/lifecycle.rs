//! Starting, refusing to start, and what is on disk.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use authority::ca::{self, CaError, CaInit, Created, KeyAlgorithm};
use authority::clock::ManualClock;
use authority::inventory::InventoryError;
use authority::revoke::ListKeyError;
use authority::{AdminSocketError, DataDirError, ServeError, Settings};
use identity::{TrustDomain, UnixTime};
use tempfile::TempDir;

use crate::support::{AGENT, Authority, real_now, settings};

#[tokio::test]
async fn what_is_secret_is_its_owners_only() {
    let authority = Authority::start().await;
    let data = authority.dir.path().join("data");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    assert_eq!(mode(&data.join("ca")), 0o700);
    for file in [
        "ca/root.key",
        "ca/root.pem",
        "ca/intermediate.key",
        "ca/intermediate.pem",
        "deny-list.key",
        "deny-list-next.key",
        "countersign.db",
        "countersign.db-wal",
        "admin.sock",
    ] {
        assert_eq!(mode(&data.join(file)), 0o600, "{file}");
    }
    assert_eq!(mode(&data.join("bundle.pem")), 0o644);
    let left: Vec<_> = fs::read_dir(&data)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains(".new-") || name.contains(".tmp") || name.starts_with('.'))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

#[tokio::test]
async fn a_second_authority_on_the_same_folder_is_refused() {
    let authority = Authority::start().await;
    let data = authority.dir.path().join("data");
    match authority::start(settings(&data)).await {
        Err(ServeError::DataDir(DataDirError::Locked { path })) => assert_eq!(path, data),
        other => panic!("{other:?}"),
    }
    // The first is not disturbed.
    authority.agent(AGENT).await;
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let authority = Authority::start().await;
    let address = authority.running.ready().address;
    let dir = TempDir::new().unwrap();
    let mut second = settings(&dir.path().join("data"));
    second.listen = address;
    let error = authority::start(second).await.unwrap_err();
    assert!(matches!(error, ServeError::AddressInUse { address: a } if a == address));
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn a_folder_that_is_a_file_is_named() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("data");
    fs::write(&path, "x").unwrap();
    match authority::start(settings(&path)).await {
        Err(ServeError::DataDir(DataDirError::NotAFolder { path: named })) => {
            assert_eq!(named, path);
        }
        other => panic!("{other:?}"),
    }
    match authority::start(settings(&path.join("below"))).await {
        Err(ServeError::DataDir(DataDirError::Io { path: named, .. })) => {
            assert!(named.starts_with(&path));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_damaged_database_is_named() {
    for damage in [damage_header as fn(&Path), damage_pages] {
        let authority = Authority::start().await;
        for _ in 0..20 {
            authority.agent(AGENT).await;
        }
        let dir = authority.stop().await;
        let data = dir.path().join("data");
        let database = data.join("countersign.db");
        assert!(
            !data.join("countersign.db-wal").exists(),
            "the record was closed cleanly"
        );
        damage(&database);
        match authority::start(settings(&data)).await {
            Err(ServeError::Inventory(InventoryError::Corrupt { path, .. })) => {
                assert_eq!(path, database);
            }
            other => panic!("{other:?}"),
        }
    }
}

fn damage_header(database: &Path) {
    let mut file = fs::OpenOptions::new().write(true).open(database).unwrap();
    file.write_all(b"not a database at all").unwrap();
}

fn damage_pages(database: &Path) {
    let mut bytes = fs::read(database).unwrap();
    for byte in &mut bytes[4096..] {
        *byte = 0xa5;
    }
    fs::write(database, bytes).unwrap();
}

#[tokio::test]
async fn another_trust_domain_is_refused() {
    let dir = Authority::start().await.stop().await;
    let other = Settings::new(
        TrustDomain::new("other.example").unwrap(),
        dir.path().join("data"),
    );
    match authority::start(other).await {
        Err(ServeError::Inventory(InventoryError::OtherTrustDomain { found, .. })) => {
            assert_eq!(found, "cluster.local");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_expired_ca_and_a_clock_that_is_behind_are_told_apart() {
    let dir = Authority::start().await.stop().await;
    let data = dir.path().join("data");
    for (seconds, file) in [
        (11 * 365 * 86_400, "root.pem"),
        (400 * 86_400, "intermediate.pem"),
    ] {
        match start_at(&data, seconds).await {
            Err(ServeError::Ca(CaError::Expired { path, .. })) => {
                assert_eq!(path, data.join("ca").join(file));
            }
            other => panic!("{other:?}"),
        }
    }
    match start_at(&data, -86_400).await {
        Err(ServeError::Ca(error @ CaError::NotYetValid { .. })) => {
            assert!(error.to_string().contains("is the clock wrong?"), "{error}");
            assert!(error.to_string().contains("root.pem"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

async fn start_at(data: &Path, seconds: i64) -> Result<authority::Running, ServeError> {
    let mut settings = settings(data);
    settings.clock = Arc::new(ManualClock::new(real_now().plus_secs(seconds).unwrap()));
    authority::start(settings).await
}

#[tokio::test]
async fn a_key_or_certificate_of_somebody_else_is_refused() {
    let dir = Authority::start().await.stop().await;
    let ca_dir = dir.path().join("data/ca");
    let foreign = dir.path().join("foreign");
    ca::init(&foreign, &wanted(real_now())).unwrap();
    let load = || ca::load(&ca_dir, real_now());
    let swap = |name: &str, check: &dyn Fn(CaError)| {
        let own = fs::read(ca_dir.join(name)).unwrap();
        fs::copy(foreign.join(name), ca_dir.join(name)).unwrap();
        check(load().unwrap_err());
        fs::write(ca_dir.join(name), own).unwrap();
        load().unwrap();
    };
    let mismatch = |key: &'static str| {
        let key = ca_dir.join(key);
        move |error| match error {
            CaError::KeyMismatch { key: named, .. } => assert_eq!(named, key),
            other => panic!("{other}"),
        }
    };
    swap("intermediate.key", &mismatch("intermediate.key"));
    swap("root.key", &mismatch("root.key"));
    swap("intermediate.pem", &|error| {
        assert!(matches!(error, CaError::NotSignedByRoot { .. }), "{error}");
    });

    fs::write(ca_dir.join("intermediate.key"), "no key").unwrap();
    match load() {
        Err(CaError::BadKey { path, .. }) => assert_eq!(path, ca_dir.join("intermediate.key")),
        other => panic!("{other:?}"),
    }
    fs::remove_file(ca_dir.join("intermediate.key")).unwrap();
    match load() {
        Err(CaError::Io { path, .. }) => assert_eq!(path, ca_dir.join("intermediate.key")),
        other => panic!("{other:?}"),
    }
    fs::write(ca_dir.join("root.pem"), "no certificate").unwrap();
    match load() {
        Err(CaError::BadCertificate { path, .. }) => assert_eq!(path, ca_dir.join("root.pem")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn of_many_that_make_a_ca_at_once_one_wins_and_all_use_its_keys() {
    for round in 0..4 {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("ca");
        let outcomes: Vec<Created> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| ca::init(&path, &wanted(real_now())).unwrap()))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let made = outcomes
            .iter()
            .filter(|outcome| **outcome == Created::Made)
            .count();
        assert_eq!(made, 1, "round {round}");
        ca::load(&path, real_now()).unwrap();
        let names: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "temporary folders are gone");
    }
}

#[test]
fn an_empty_folder_is_not_taken_for_a_ca_nor_replaced() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("ca");
    fs::create_dir(&path).unwrap();
    assert_eq!(
        ca::init(&path, &wanted(real_now())).unwrap(),
        Created::AlreadyThere
    );
    match ca::load(&path, real_now()) {
        Err(CaError::Io { path: named, .. }) => assert_eq!(named, path.join("root.pem")),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_root_key_kept_elsewhere_is_not_missed() {
    let dir = Authority::start().await.stop().await;
    fs::remove_file(dir.path().join("data/ca/root.key")).unwrap();
    let authority = Authority::start_in(dir, |_| {}).await;
    authority.agent(AGENT).await;
}

#[tokio::test]
async fn what_was_lost_is_named_and_not_made_anew() {
    for (lost, kept) in [
        ("ca", "ca.away"),
        ("deny-list.key", "key.away"),
        ("countersign.db", "record.away"),
    ] {
        let dir = Authority::start().await.stop().await;
        let data = dir.path().join("data");
        fs::rename(data.join(lost), dir.path().join(kept)).unwrap();
        let error = authority::start(settings(&data)).await.unwrap_err();
        match &error {
            ServeError::Ca(CaError::Missing { path })
            | ServeError::ListKey(ListKeyError::Missing { path })
            | ServeError::Inventory(InventoryError::Missing { path }) => {
                assert_eq!(*path, data.join(lost));
            }
            other => panic!("{other:?}"),
        }
        assert!(!data.join(lost).exists());
        fs::rename(dir.path().join(kept), data.join(lost)).unwrap();
        Authority::start_in(dir, |_| {}).await;
    }
}

#[tokio::test]
async fn a_record_lost_together_with_the_key_that_signs_is_missed_still() {
    let dir = Authority::start().await.stop().await;
    let data = dir.path().join("data");
    for lost in ["deny-list.key", "countersign.db"] {
        fs::remove_file(data.join(lost)).unwrap();
    }
    match authority::start(settings(&data)).await {
        Err(ServeError::Inventory(InventoryError::Missing { path })) => {
            assert_eq!(path, data.join("countersign.db"));
        }
        other => panic!("{other:?}"),
    }
    assert!(!data.join("countersign.db").exists());
}

#[tokio::test]
async fn what_a_start_that_was_killed_left_is_swept_and_nothing_else() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, Permissions::from_mode(0o700)).unwrap();
    let make = |name: &str, mode: u32, files: &[&str]| {
        let path = data.join(name);
        fs::create_dir(&path).unwrap();
        for file in files {
            fs::write(path.join(file), "a key").unwrap();
        }
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    };
    let write = |name: &str, mode: u32| {
        let path = data.join(name);
        fs::write(&path, "a key").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    };
    let ours = [
        make("ca.new-0123456789abcdef", 0o700, &["root.key", "root.pem"]),
        make("ca.new-00000000000000ff", 0o700, &[]),
        write("deny-list.key.new-0123456789abcdef", 0o600),
        write("deny-list-next.key.new-0123456789abcdef", 0o600),
    ];
    let elsewhere = dir.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("root.key"), "a key").unwrap();
    let link = data.join("ca.new-aaaaaaaaaaaaaaaa");
    std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
    let others = [
        make("ca.new-backup", 0o700, &["root.key"]),
        make("ca.new-0123456789ABCDEF", 0o700, &["root.key"]),
        make("old.new-0123456789abcdef", 0o700, &["root.key"]),
        // Somebody else may have been at it.
        make("ca.new-bbbbbbbbbbbbbbbb", 0o755, &["root.key"]),
        make("ca.new-cccccccccccccccc", 0o700, &["notes.txt"]),
        write("ca.new-dddddddddddddddd", 0o600),
        write("deny-list.key.new-eeeeeeeeeeeeeeee", 0o644),
        elsewhere.join("root.key"),
        link,
    ];

    let authority = Authority::start_in(dir, |_| {}).await;
    for path in &ours {
        assert!(!path.exists(), "{}", path.display());
    }
    for path in &others {
        assert!(path.exists(), "{}", path.display());
    }
    assert!(data.join("ca.new-cccccccccccccccc/notes.txt").exists());
    authority.agent(AGENT).await;

    // Who does not hold the folder sweeps nothing in it.
    let left = make("ca.new-0123456789abcdef", 0o700, &["root.key"]);
    authority::start(settings(&data)).await.unwrap_err();
    assert!(left.join("root.key").exists());
}

#[tokio::test]
async fn a_dropped_authority_lets_go_of_everything() {
    let authority = Authority::start().await;
    let address = authority.running.ready().address;
    let Authority { running, dir, .. } = authority;
    drop(running);
    let mut settings = settings(&dir.path().join("data"));
    settings.listen = address;
    // Tasks are cancelled at their next step.
    let mut last = None;
    for _ in 0..100 {
        match authority::start(settings.clone()).await {
            Ok(running) => return running.stop().await,
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("{last:?}");
}

#[tokio::test]
async fn a_stale_admin_socket_is_replaced_and_a_live_one_is_not() {
    let dir = Authority::start().await.stop().await;
    let socket = dir.path().join("data/admin.sock");
    // Nobody answers on a socket whose listener is gone.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let authority = Authority::start_in(dir, |_| {}).await;
    authority.status().await;
    let dir = authority.stop().await;
    assert!(!socket.exists());

    let _alive = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    match authority::start(settings(&dir.path().join("data"))).await {
        Err(ServeError::AdminSocket(AdminSocketError::InUse { path })) => assert_eq!(path, socket),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_is_named() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("x".repeat(120));
    match authority::start(settings(&data)).await {
        Err(ServeError::AdminSocket(AdminSocketError::PathTooLong { length, .. })) => {
            assert!(length > 107);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn settings_that_cannot_be_are_named() {
    let dir = TempDir::new().unwrap();
    for (change, named) in [
        (
            (|s| s.max_ttl_seconds = 0) as fn(&mut Settings),
            "the longest lifetime",
        ),
        (|s| s.default_ttl_seconds = 0, "the default lifetime"),
        (
            |s| s.default_ttl_seconds = s.max_ttl_seconds + 1,
            "the default lifetime",
        ),
        (|s| s.backdate_seconds = -1, "the backdating"),
        (|s| s.deny_list_life_seconds = 61, "the deny list's life"),
        (
            |s| s.deny_list_period_seconds = 61,
            "the deny list's period",
        ),
    ] {
        let mut settings = settings(&dir.path().join("data"));
        change(&mut settings);
        match authority::start(settings).await {
            Err(ServeError::Settings(error)) => assert_eq!(error.setting, named),
            other => panic!("{other:?}"),
        }
    }
    assert!(!dir.path().join("data").exists(), "nothing was made");
}

#[tokio::test]
async fn a_folder_that_cannot_be_is_named() {
    // Nobody, the superuser included, has folders below a file.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    match authority::start(settings(&file.join("data"))).await {
        Err(ServeError::DataDir(DataDirError::Io { path, .. })) => {
            assert!(path.starts_with(&file), "{}", path.display());
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_unreadable_folder_is_named() {
    let dir = Authority::start().await.stop().await;
    let data = dir.path().join("data");
    fs::set_permissions(&data, Permissions::from_mode(0o000)).unwrap();
    // The superuser reads everything; then there is nothing to refuse.
    let readable = fs::read_dir(&data).is_ok();
    let started = authority::start(settings(&data)).await;
    fs::set_permissions(&data, Permissions::from_mode(0o700)).unwrap();
    match started {
        Ok(running) => {
            assert!(readable);
            running.stop().await;
        }
        Err(ServeError::DataDir(DataDirError::Io { path, .. })) => {
            assert!(!readable);
            assert!(path.starts_with(&data));
        }
        Err(other) => panic!("{other:?}"),
    }
}

fn wanted(now: UnixTime) -> CaInit {
    CaInit {
        trust_domain: TrustDomain::new("cluster.local").unwrap(),
        key_algorithm: KeyAlgorithm::default(),
        generation: 1,
        now,
    }
}
