use std::os::unix::fs::MetadataExt as _;

use identity::{SpiffeId, TrustDomain};
use tempfile::TempDir;

use super::*;
use crate::bench::InProcess;
use crate::inventory::Inventory;

const NOW: i64 = 1_800_000_000;

async fn issue(authority: &InProcess, count: usize) {
    let key = rcgen::KeyPair::generate().unwrap();
    let csr = rcgen::CertificateParams::default()
        .serialize_request(&key)
        .unwrap();
    let csr = csr.pem().unwrap();
    for _ in 0..count {
        let id = SpiffeId::new("spiffe://cluster.local/ns/default/sa/web").unwrap();
        authority.issue(&csr, id).await.unwrap();
    }
}

async fn open_authority(data: &Path) -> InProcess {
    InProcess::open(data, TrustDomain::new("cluster.local").unwrap())
        .await
        .unwrap()
}

/// An authority with some certificates, as it is left when it stops.
async fn authority(dir: &TempDir, count: usize) -> PathBuf {
    let data = dir.path().join("data");
    let running = open_authority(&data).await;
    // What a whole authority makes at its start.
    crate::revoke::ListSigner::open(&data.join(names::DENY_LIST_KEY)).unwrap();
    issue(&running, count).await;
    running.close().await;
    data
}

#[tokio::test]
async fn a_backup_of_a_running_authority_is_sound_and_has_no_keys() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let running = open_authority(&data).await;
    crate::revoke::ListSigner::open(&data.join(names::DENY_LIST_KEY)).unwrap();
    issue(&running, 5).await;
    let file = dir.path().join("backup");
    let manifest = backup(&data, &file, false, NOW).await.unwrap();
    assert!(!manifest.with_keys);
    assert!(
        manifest.files.iter().any(|name| name.starts_with("ca/")),
        "{:?}",
        manifest.files
    );
    assert!(
        manifest.files.iter().all(|name| !name.contains("key")),
        "{:?}",
        manifest.files
    );
    let bytes = std::fs::read(&file).unwrap();
    let secret = b"PRIVATE KEY";
    assert!(!bytes.windows(secret.len()).any(|window| window == secret));
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    assert!(matches!(
        backup(&data, &file, false, NOW).await,
        Err(BackupError::Exists { .. })
    ));
    let names: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    // Onto where it came from: the running one holds it.
    let refused = restore(&data, &file, &RestoreOptions::default(), NOW)
        .await
        .unwrap_err();
    assert!(matches!(refused, BackupError::DataDir(_)), "{refused}");
    running.close().await;
    let options = RestoreOptions {
        accept_lost: true,
        ..RestoreOptions::default()
    };
    restore(&data, &file, &options, NOW).await.unwrap();
}

#[tokio::test]
async fn a_new_machine_needs_the_keys() {
    let dir = TempDir::new().unwrap();
    let data = authority(&dir, 5).await;
    let (without, with) = (dir.path().join("without"), dir.path().join("with"));
    backup(&data, &without, false, NOW).await.unwrap();
    let manifest = backup(&data, &with, true, NOW).await.unwrap();
    let new = dir.path().join("new");
    let options = RestoreOptions::default();
    let refused = restore(&new, &without, &options, NOW).await.unwrap_err();
    assert!(
        matches!(refused, BackupError::MissingKeys { .. }),
        "{refused}"
    );
    let (plan, aside) = restore(&new, &with, &options, NOW).await.unwrap();
    assert_eq!((plan.replaces, aside), (None, None));
    assert_eq!(plan.files, manifest.files);
    for name in &manifest.files {
        assert_eq!(
            std::fs::read(new.join(name)).unwrap(),
            std::fs::read(data.join(name)).unwrap()
        );
    }
    assert_eq!(
        std::fs::metadata(new.join(names::AUDIT_KEY))
            .unwrap()
            .mode()
            & 0o777,
        0o600
    );
    let restored = open_authority(&new).await;
    issue(&restored, 1).await;
    restored.close().await;
    // An intermediate that was renewed since stays.
    let intermediate = new.join("ca/intermediate.pem");
    let renewed = [std::fs::read(&intermediate).unwrap(), b"\n".to_vec()].concat();
    std::fs::write(&intermediate, renewed).unwrap();
    assert_eq!(plan_of(&new, &with).await.unwrap().files, [""; 0]);
    // That folder is another's.
    let other = TempDir::new().unwrap();
    let other_data = authority(&other, 1).await;
    let refused = plan_of(&other_data, &with).await.unwrap_err();
    assert!(
        matches!(refused, BackupError::OtherAuthority { .. }),
        "{refused}"
    );
}

async fn plan_of(data: &Path, file: &Path) -> Result<Plan, BackupError> {
    plan(data, file, &RestoreOptions::default()).await
}

#[tokio::test]
async fn an_older_backup_is_taken_only_on_demand_and_what_was_there_is_kept() {
    let dir = TempDir::new().unwrap();
    let data = authority(&dir, 5).await;
    let file = dir.path().join("backup");
    backup(&data, &file, false, NOW).await.unwrap();
    let running = open_authority(&data).await;
    issue(&running, 3).await;
    running.close().await;
    // The position is as old as the last signed head: have one signed.
    let database = data.join(names::DATABASE);
    let options = crate::inventory::LogOptions {
        head_period: 0,
        ..crate::inventory::LogOptions::beside(&database)
    };
    let opened = Inventory::open_with(&database, "cluster.local", &options).await;
    let (inventory, writer) = opened.unwrap();
    inventory
        .next_list(identity::UnixTime::from_secs(NOW))
        .await
        .unwrap();
    inventory.close_readers().await;
    drop(inventory);
    writer.await.unwrap();
    let planned = plan_of(&data, &file).await.unwrap();
    assert!(planned.lost.is_some());
    assert!(planned.replaces > Some(planned.manifest.size));
    let before = std::fs::read(data.join(names::DATABASE)).unwrap();
    let refused = restore(&data, &file, &RestoreOptions::default(), NOW)
        .await
        .unwrap_err();
    assert!(matches!(refused, BackupError::Lost(_)), "{refused}");
    assert_eq!(std::fs::read(data.join(names::DATABASE)).unwrap(), before);
    let options = RestoreOptions {
        accept_lost: true,
        ..RestoreOptions::default()
    };
    let (_, aside) = restore(&data, &file, &options, NOW).await.unwrap();
    assert_eq!(
        std::fs::read(aside.unwrap().join(names::DATABASE)).unwrap(),
        before
    );
    open_authority(&data).await.close().await;
}

#[tokio::test]
async fn what_is_no_sound_backup_is_refused() {
    let dir = TempDir::new().unwrap();
    let data = authority(&dir, 5).await;
    let file = dir.path().join("backup");
    backup(&data, &file, true, NOW).await.unwrap();
    for change in [
        "UPDATE certificates SET caller = 'uid:1' WHERE id = 2",
        "UPDATE backup_files SET bytes = x'00' WHERE name = 'audit.key'",
        "UPDATE backup_files SET name = '../x' WHERE name = 'audit.key'",
        "UPDATE backup_files SET name = '/etc/x' WHERE name = 'audit.key'",
        "UPDATE backup_files SET name = 'lock' WHERE name = 'audit.key'",
        "UPDATE backup_manifest SET version = 2",
        "UPDATE backup_manifest SET size = size - 1",
        "DELETE FROM backup_files WHERE name = 'audit.pub'",
        "DELETE FROM backup_manifest",
    ] {
        let copy = dir.path().join("copy");
        std::fs::copy(&file, &copy).unwrap();
        let mut connection = open(&copy, false).await.unwrap();
        sqlx::query(change).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        plan_of(&data, &copy).await.expect_err(change);
    }
    let mut bytes = std::fs::read(&file).unwrap();
    bytes.truncate(bytes.len() / 2);
    for bytes in [bytes, b"rubbish".to_vec(), Vec::new()] {
        let copy = dir.path().join("copy");
        std::fs::write(&copy, bytes).unwrap();
        plan_of(&data, &copy).await.unwrap_err();
    }
    plan_of(&data, &dir.path().join("nowhere"))
        .await
        .unwrap_err();
    plan_of(&data, &file).await.unwrap();
}
