use std::sync::Arc;

use identity::{SpiffeId, UnixTime};
use tempfile::TempDir;

use super::*;
use crate::clock::ManualClock;
use crate::inventory::writer::Tx;
use crate::issue::{IssuedSvid, KeyType, random_serial};

mod audit;

const ID: &str = "spiffe://cluster.local/ns/default/sa/httpbin";
const NOW: i64 = 1_800_000_000;

async fn open(dir: &TempDir) -> (Inventory, WriterTask) {
    Inventory::open(&dir.path().join("countersign.db"), "cluster.local")
        .await
        .unwrap()
}

/// With a clock that stands.
async fn open_at(dir: &TempDir, now: i64) -> (Inventory, WriterTask, Arc<ManualClock>) {
    let path = dir.path().join("countersign.db");
    let clock = Arc::new(ManualClock::new(UnixTime::from_secs(now)));
    let options = LogOptions {
        clock: Arc::<ManualClock>::clone(&clock),
        ..LogOptions::beside(&path)
    };
    let (inventory, task) = Inventory::open_with(&path, "cluster.local", &options)
        .await
        .unwrap();
    (inventory, task, clock)
}

fn new_certificate(entry_id: Option<&str>) -> NewCertificate {
    let serial = random_serial().unwrap();
    NewCertificate {
        svid: IssuedSvid {
            der: vec![1, 2, 3],
            sha256: crate::crypto::sha256_hex(serial.as_bytes()),
            serial,
            spiffe_id: SpiffeId::new(ID).unwrap(),
            issuer_sha256: String::new(),
            key_type: KeyType::EcdsaP256,
            spki_sha256: "aa".to_owned(),
            not_before: UnixTime::from_secs(NOW - 10),
            not_after: UnixTime::from_secs(NOW + 100),
            entry_id: entry_id.map(str::to_owned),
        },
        caller: "test".to_owned(),
        proof: "operator",
        issued_at: UnixTime::from_secs(NOW),
        origin: Origin {
            proven_at: UnixTime::from_secs(NOW - 5),
            proven_by: "join_token".to_owned(),
            evidence_sha256: String::new(),
            selectors: vec!["join:x".to_owned()],
        },
        rule: "builtin/operator".to_owned(),
        context: RequestContext::default(),
    }
}

#[tokio::test]
async fn each_guard_is_checked_at_the_moment_of_recording() {
    let dir = TempDir::new().unwrap();
    let (inventory, _task) = open(&dir).await;
    let record = |new, guard| inventory.record_certificate(new, guard);

    let token = Guard {
        token_hash: Some("no such token".to_owned()),
        ..Guard::default()
    };
    let outcome = record(new_certificate(None), token).await.unwrap();
    assert_eq!(outcome, RecordOutcome::Refused(GuardFailure::Token));

    let caller = Guard {
        caller_sha256: Some("no such one".to_owned()),
        ..Guard::default()
    };
    let outcome = record(new_certificate(None), caller).await.unwrap();
    assert_eq!(outcome, RecordOutcome::Refused(GuardFailure::Caller));

    let outcome = record(new_certificate(Some("no such entry")), Guard::default())
        .await
        .unwrap();
    assert_eq!(outcome, RecordOutcome::Refused(GuardFailure::Entry));

    let first = new_certificate(None);
    let serial = first.svid.serial.to_string();
    assert_eq!(
        record(first, Guard::default()).await.unwrap(),
        RecordOutcome::Recorded
    );
    inventory
        .change_state(
            Selector::Serial(serial),
            StateAction::Suspend,
            String::new(),
            String::new(),
            UnixTime::from_secs(NOW),
        )
        .await
        .unwrap()
        .unwrap();
    let outcome = record(new_certificate(None), Guard::default())
        .await
        .unwrap();
    assert_eq!(outcome, RecordOutcome::Refused(GuardFailure::Suspended));
}

#[tokio::test]
async fn a_serial_number_is_never_recorded_twice() {
    let dir = TempDir::new().unwrap();
    let (inventory, _task) = open(&dir).await;
    let first = new_certificate(None);
    let mut second = new_certificate(None);
    second.svid.serial = first.svid.serial;
    inventory
        .record_certificate(first, Guard::default())
        .await
        .unwrap();
    let refused = inventory
        .record_certificate(second, Guard::default())
        .await
        .unwrap_err();
    assert!(matches!(refused, InventoryError::NotCommitted), "{refused}");
    // The writer goes on.
    let third = inventory
        .record_certificate(new_certificate(None), Guard::default())
        .await;
    assert_eq!(third.unwrap(), RecordOutcome::Recorded);
}

#[tokio::test]
async fn many_writes_at_once_are_all_there_after_reopening() {
    let dir = TempDir::new().unwrap();
    let (inventory, task) = open(&dir).await;
    let writes =
        (0..500).map(|_| inventory.record_certificate(new_certificate(None), Guard::default()));
    let outcomes = futures::future::try_join_all(writes).await.unwrap();
    assert!(
        outcomes
            .iter()
            .all(|outcome| *outcome == RecordOutcome::Recorded)
    );
    inventory.close_readers().await;
    drop(inventory);
    task.await.unwrap();

    let (inventory, _task) = open(&dir).await;
    let counts = inventory.counts(UnixTime::from_secs(NOW)).await.unwrap();
    assert_eq!((counts.certificates, counts.unexpired), (500, 500));
}

#[tokio::test]
async fn refusals_are_bounded() {
    let dir = TempDir::new().unwrap();
    let (inventory, _task, clock) = open_at(&dir, NOW).await;
    let refusal = RefusalRecord {
        at: UnixTime::from_secs(NOW),
        caller: String::new(),
        spiffe_id: String::new(),
        code: "x".to_owned(),
        detail: String::new(),
        alarm: false,
    };
    for code in ["first", "second"] {
        let refusal = RefusalRecord {
            code: code.to_owned(),
            ..refusal.clone()
        };
        inventory.record_refusal(refusal).await.unwrap();
        clock.advance(1);
    }
    // As if a hundred thousand had come in between.
    inventory
        .writer
        .write(|Tx { connection, .. }| {
            Box::pin(async move {
                sqlx::query("INSERT INTO refusals VALUES (?, 0, '', '', 'y', '', 0, NULL)")
                    .bind(refusals::MAX_REFUSALS + 1)
                    .execute(connection)
                    .await?;
                Ok(())
            })
        })
        .await
        .unwrap();
    clock.advance(1);
    inventory.record_refusal(refusal).await.unwrap();
    let codes: Vec<String> = inventory
        .refusals(10)
        .await
        .unwrap()
        .into_iter()
        .map(|r| r.code)
        .collect();
    assert_eq!(codes, ["x", "y", "second"]);
}

#[tokio::test]
async fn a_flood_of_refusals_does_not_wash_alarms_away() {
    let dir = TempDir::new().unwrap();
    let (inventory, _task) = open(&dir).await;
    let refusal = |code: &str, alarm| RefusalRecord {
        at: UnixTime::from_secs(NOW),
        caller: String::new(),
        spiffe_id: String::new(),
        code: code.to_owned(),
        detail: String::new(),
        alarm,
    };
    inventory
        .record_refusal(refusal("theft", true))
        .await
        .unwrap();
    // As if a million unproven requests had come.
    inventory
        .writer
        .write(|Tx { connection, .. }| {
            Box::pin(async move {
                sqlx::query(
                    "INSERT INTO refusals VALUES (1000000, 0, '', '', 'noise', '', 0, NULL)",
                )
                .execute(connection)
                .await?;
                Ok(())
            })
        })
        .await
        .unwrap();
    for alarm in [false, true] {
        inventory
            .record_refusal(refusal("later", alarm))
            .await
            .unwrap();
    }
    let found = inventory.refusals(10).await.unwrap();
    let codes: Vec<&str> = found.iter().map(|refusal| refusal.code.as_str()).collect();
    assert_eq!(codes, ["later", "later", "noise", "theft"]);
}

#[tokio::test]
async fn the_record_is_synced_at_each_commit() {
    let dir = TempDir::new().unwrap();
    let (inventory, _task) = open(&dir).await;
    let (mode, sync) = inventory
        .writer
        .write(|Tx { connection, .. }| {
            Box::pin(async move {
                let mode: String = sqlx::query_scalar("PRAGMA journal_mode")
                    .fetch_one(&mut *connection)
                    .await?;
                let sync: i64 = sqlx::query_scalar("PRAGMA synchronous")
                    .fetch_one(connection)
                    .await?;
                Ok((mode, sync))
            })
        })
        .await
        .unwrap();
    // 2 is FULL.
    assert_eq!((mode.as_str(), sync), ("wal", 2));
}

#[tokio::test]
async fn certificates_from_before_go_back_to_what_is_known_of_them() {
    let dir = TempDir::new().unwrap();
    let before = dir.path().join("before");
    std::fs::create_dir(&before).unwrap();
    let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    for entry in std::fs::read_dir(migrations).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_str().unwrap() < "0010" {
            std::fs::copy(entry.path(), before.join(entry.file_name())).unwrap();
        }
    }
    let options = SqliteConnectOptions::new()
        .filename(dir.path().join("countersign.db"))
        .create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    let old = sqlx::migrate::Migrator::new(before.as_path())
        .await
        .unwrap();
    old.run(&mut connection).await.unwrap();
    for (serial, proof) in [("01", "client_certificate"), ("02", "operator")] {
        sqlx::query(
            "INSERT INTO certificates (serial, sha256, spiffe_id, issuer_sha256, key_type, \
             spki_sha256, not_before, not_after, issued_at, caller, proof, state_since, der) \
             VALUES (?1, ?1, ?2, '', '', '', 0, 9, 7, '', ?3, 7, x'00')",
        )
        .bind(serial)
        .bind(ID)
        .bind(proof)
        .execute(&mut connection)
        .await
        .unwrap();
    }
    sqlx::Connection::close(connection).await.unwrap();
    let (inventory, _task) = open(&dir).await;
    for (serial, proven_by) in [("01", "join_token"), ("02", "operator")] {
        let found = inventory
            .certificate_by_serial(serial)
            .await
            .unwrap()
            .unwrap();
        let known = Origin {
            proven_at: UnixTime::from_secs(7),
            proven_by: proven_by.to_owned(),
            evidence_sha256: String::new(),
            selectors: vec![],
        };
        assert_eq!(found.origin, known);
    }
    let new = new_certificate(None);
    let (serial, origin) = (new.svid.serial.to_string(), new.origin.clone());
    inventory
        .record_certificate(new, Guard::default())
        .await
        .unwrap();
    let found = inventory
        .certificate_by_serial(&serial)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.origin, origin);
}

/// As it does when the disk is full: whatever comes after must not find the connection in a transaction that
/// is none, or nothing is ever written again.
#[tokio::test]
async fn a_transaction_that_the_database_rolled_back_does_not_stop_the_next() {
    let dir = TempDir::new().unwrap();
    let (inventory, _task) = open(&dir).await;
    let lost = inventory
        .writer
        .write(|tx| {
            Box::pin(async move {
                sqlx::query("ROLLBACK").execute(tx.connection).await?;
                Err::<(), _>(sqlx::Error::WorkerCrashed)
            })
        })
        .await;
    assert!(
        matches!(lost, Err(InventoryError::NotCommitted)),
        "{lost:?}"
    );
    let outcome = inventory
        .record_certificate(new_certificate(None), Guard::default())
        .await
        .unwrap();
    assert_eq!(outcome, RecordOutcome::Recorded);
}

/// Whoever may search must not be able to keep others from their certificates.
#[tokio::test]
async fn searches_that_hang_leave_issuance_its_connections() {
    let dir = TempDir::new().unwrap();
    let (inventory, _task) = open(&dir).await;
    let mut held = Vec::new();
    while let Some(connection) = inventory.searchers.try_acquire() {
        held.push(connection);
    }
    for _ in held.len()..usize::try_from(SEARCHERS).unwrap() {
        held.push(inventory.searchers.acquire().await.unwrap());
    }
    let now = UnixTime::from_secs(NOW);
    assert!(!inventory.is_anybody_suspended(now).await.unwrap());
    let new = new_certificate(None);
    let outcome = inventory.record_certificate(new, Guard::default()).await;
    assert_eq!(outcome.unwrap(), RecordOutcome::Recorded);
}
