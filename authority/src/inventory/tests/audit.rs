//! The audit log over a record with something of everything in it.

use std::path::Path;

use identity::policy_bundle::BundleName;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, Row as _, SqliteConnection};

use super::*;
use crate::audit::event::{Action, Event, Leaf};
use crate::audit::key::LogPublicKey;
use crate::audit::merkle::{Hash, verify_consistency, verify_inclusion};
use crate::audit::note::{TreeHead, origin};
use crate::audit::position::Position;
use crate::audit::verify::{Expected, Report, verify};

fn t(seconds: i64) -> UnixTime {
    UnixTime::from_secs(NOW + seconds)
}

fn certificate(number: u8) -> NewCertificate {
    let mut new = new_certificate(None);
    new.svid.der = vec![number; 40];
    new.svid.sha256 = crate::crypto::sha256_hex(&new.svid.der);
    new
}

fn refusal(code: &str, alarm: bool) -> RefusalRecord {
    RefusalRecord {
        at: t(0),
        caller: "unproven 10.0.0.1".to_owned(),
        spiffe_id: ID.to_owned(),
        code: code.to_owned(),
        detail: "so it is".to_owned(),
        alarm,
    }
}

/// Some of everything, and enough for a stored node; gives a serial number with everything about it.
async fn fill(inventory: &Inventory, clock: &ManualClock) -> String {
    let operator = || "uid:0".to_owned();
    let id = SpiffeId::new(ID).unwrap();
    let mut entry = EntryRecord {
        id: "e1".to_owned(),
        parent_id: id.clone(),
        spiffe_id: id.clone(),
        selectors: vec!["unix:uid:0".to_owned()],
        ttl_seconds: 60,
        created_at: t(1),
    };
    for (number, ttl) in [("e1", 60), ("e2", 61)] {
        entry.id = number.to_owned();
        entry.selectors = vec![format!("unix:uid:{ttl}")];
        assert!(
            inventory
                .create_entry(entry.clone(), operator())
                .await
                .unwrap()
        );
    }
    assert!(
        inventory
            .delete_entry("e1".to_owned(), operator(), t(2))
            .await
            .unwrap()
    );
    for hash in ["aa", "bb"] {
        let created = inventory.create_token(hash.to_owned(), id.clone(), t(0), t(600), operator());
        created.await.unwrap();
    }
    let mut full = certificate(1);
    full.svid.entry_id = Some("e2".to_owned());
    full.context.location.pod = Some("web-0".to_owned());
    full.context.location.node = Some("n1".to_owned());
    full.context.location.cluster = Some("c1".to_owned());
    full.context.location.address = Some("10.0.0.1".to_owned());
    full.context.metadata.insert("owner", "payments").unwrap();
    full.context.metadata.insert("cost-center", "42").unwrap();
    let serial = full.svid.serial.to_string();
    let guard = Guard {
        token_hash: Some("aa".to_owned()),
        ..Guard::default()
    };
    let outcome = inventory.record_certificate(full, guard).await.unwrap();
    assert_eq!(outcome, RecordOutcome::Recorded);
    let change = |serial: &str, action, at| {
        let selector = Selector::Serial(serial.to_owned());
        inventory.change_state(selector, action, "why".to_owned(), operator(), t(at))
    };
    change(&serial, StateAction::Suspend, 5)
        .await
        .unwrap()
        .unwrap();
    change(&serial, StateAction::Resume, 6)
        .await
        .unwrap()
        .unwrap();
    for number in 2..=200 {
        inventory
            .record_certificate(certificate(number), Guard::default())
            .await
            .unwrap();
    }
    change(&serial, StateAction::Revoke, 9)
        .await
        .unwrap()
        .unwrap();
    for _ in 0..60 {
        clock.advance(1);
        inventory
            .record_refusal(refusal("csr_bad", false))
            .await
            .unwrap();
    }
    inventory
        .record_refusal(refusal("theft", true))
        .await
        .unwrap();
    clock.advance(1);
    inventory
        .record_refusal(refusal("csr_bad", false))
        .await
        .unwrap();
    for body in [b"[1]".to_vec(), b"[22]".to_vec()] {
        let new = NewBundle {
            name: BundleName::try_from("web".to_owned()).unwrap(),
            replaces: u64::from(body.len() > 3),
            body,
            operator: operator(),
        };
        inventory.publish_bundle(new, t(10)).await.unwrap().unwrap();
    }
    let dir = TempDir::new().unwrap();
    let wanted = crate::ca::CaInit {
        trust_domain: identity::TrustDomain::new("cluster.local").unwrap(),
        key_algorithm: crate::ca::KeyAlgorithm::EcdsaP256,
        generation: 1,
        now: t(0),
    };
    crate::ca::init(&dir.path().join("ca"), &wanted).unwrap();
    let authority = crate::ca::load(&dir.path().join("ca"), t(1)).unwrap();
    inventory.record_issuer(authority.root, t(1)).await.unwrap();
    let action = Action::new(
        "operator_connected",
        "uid:0",
        [("from", "socket".to_owned())],
    );
    inventory.record_action(action, t(11)).await.unwrap();
    // The next one is due by time; it covers everything.
    clock.advance(61);
    inventory.next_list(t(70)).await.unwrap();
    clock.advance(61);
    inventory
        .record_refusal(refusal("last", false))
        .await
        .unwrap();
    serial
}

async fn close(inventory: Inventory, task: WriterTask) {
    inventory.close_readers().await;
    drop(inventory);
    task.await.unwrap();
}

async fn filled() -> (TempDir, String) {
    let dir = TempDir::new().unwrap();
    let (inventory, task, clock) = open_at(&dir, NOW).await;
    let serial = fill(&inventory, &clock).await;
    close(inventory, task).await;
    (dir, serial)
}

fn expected(dir: &Path) -> Expected {
    Expected {
        public_key: LogPublicKey::read(&dir.join("audit.pub")).unwrap(),
        position: Position::read(&dir.join("position.json")).unwrap(),
    }
}

async fn check(dir: &Path, database: &str) -> Report {
    verify(&dir.join(database), &expected(dir), |_| {})
        .await
        .unwrap()
}

async fn database(path: &Path) -> SqliteConnection {
    SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(path))
        .await
        .unwrap()
}

#[tokio::test]
async fn a_record_with_everything_in_it_is_sound() {
    let (dir, _) = filled().await;
    let report = check(dir.path(), "countersign.db").await;
    assert_eq!(report.findings, []);
    assert!(report.is_sound());
    assert_eq!(report.certificates, 200);
    assert_eq!(report.refusals, 63);
    assert!(report.size > 256, "{}", report.size);
    assert!(report.heads > 3, "{}", report.heads);
    assert_eq!((report.unsigned, report.refusals_without_leaf), (0, 0));
    // And again after another start, which goes on where this one ended.
    let (inventory, task, _) = open_at(&dir, NOW + 500).await;
    inventory
        .record_certificate(certificate(201), Guard::default())
        .await
        .unwrap();
    close(inventory, task).await;
    let again = check(dir.path(), "countersign.db").await;
    assert_eq!(again.findings, []);
    assert_eq!(again.size, report.size + 1);
}

/// One bit of each column of the first, a middle and the last row of each table.
#[tokio::test]
async fn one_flipped_bit_anywhere_is_found() {
    let (dir, _) = filled().await;
    let original = dir.path().join("countersign.db");
    let mut connection = database(&original).await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' \
         AND name NOT LIKE '\\_sqlx%' ESCAPE '\\' AND name <> 'issuance_requests' ORDER BY name",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    // All but the notes of requests, which are no record: no certificate rests on them.
    assert_eq!(tables.len(), 14, "{tables:?}");
    let mut tried = 0;
    let mut missed = Vec::new();
    for table in &tables {
        let columns = sqlx::query(AssertSqlSafe(format!("PRAGMA table_info({table})")));
        let columns = columns.fetch_all(&mut connection).await.unwrap();
        let count: i64 = sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {table}")))
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert!(count > 0, "{table} is empty");
        let offsets = std::collections::BTreeSet::from([0, count / 2, count - 1]);
        for column in &columns {
            let column: String = column.get("name");
            for offset in &offsets {
                let copy = dir.path().join("flipped.db");
                std::fs::copy(&original, &copy).unwrap();
                if !flip(&copy, table, &column, *offset).await {
                    continue;
                }
                tried += 1;
                let found = check(dir.path(), "flipped.db").await;
                if found.is_sound() {
                    missed.push(format!("{table}.{column} of row {offset}"));
                }
            }
        }
    }
    assert!(tried > 150, "{tried}");
    assert_eq!(missed, [""; 0]);
}

/// False where there is nothing to flip, or the database itself refuses what would come of it.
async fn flip(path: &Path, table: &str, column: &str, offset: i64) -> bool {
    let mut connection = database(path).await;
    let select = format!(
        "SELECT typeof({column}), CAST({column} AS BLOB), {column} IS NULL FROM {table} \
         ORDER BY rowid LIMIT 1 OFFSET {offset}"
    );
    let row = sqlx::query(AssertSqlSafe(select))
        .fetch_one(&mut connection)
        .await
        .unwrap();
    let (kind, value): (String, Option<Vec<u8>>) = (row.get(0), row.get(1));
    let Some(mut value) = value else {
        return false;
    };
    let what = match kind.as_str() {
        "integer" => {
            let number: i64 = String::from_utf8(value).unwrap().parse().unwrap();
            // A deny list's number that has grown harms nothing, and cannot be told from one that
            // was given out.
            if table == "deny_list_head" {
                (number & (number - 1)).to_string()
            } else {
                (number ^ 1).to_string()
            }
        }
        kind => {
            let Some(last) = value.last_mut() else {
                return false;
            };
            *last ^= 1;
            let hex = hex::encode(value);
            if kind == "text" {
                format!("CAST(x'{hex}' AS TEXT)")
            } else {
                format!("x'{hex}'")
            }
        }
    };
    let update = format!(
        "UPDATE {table} SET {column} = {what} WHERE rowid = \
         (SELECT rowid FROM {table} ORDER BY rowid LIMIT 1 OFFSET {offset})"
    );
    sqlx::query("PRAGMA foreign_keys = OFF")
        .execute(&mut connection)
        .await
        .unwrap();
    let updated = sqlx::query(AssertSqlSafe(update))
        .execute(&mut connection)
        .await;
    connection.close().await.unwrap();
    match updated {
        Ok(done) => done.rows_affected() == 1,
        // Unique and check constraints.
        Err(error) => {
            assert!(
                error.to_string().contains("constraint failed"),
                "{table}.{column}: {error}"
            );
            false
        }
    }
}

#[tokio::test]
async fn rows_that_are_gone_or_were_slipped_in_are_found() {
    let (dir, serial) = filled().await;
    let original = dir.path().join("countersign.db");
    for change in [
        "DELETE FROM certificates WHERE id = 150",
        "DELETE FROM state_changes WHERE id = 2",
        "DELETE FROM refusals WHERE id = 3",
        "DELETE FROM refusals WHERE alarm = 0 AND leaf < (SELECT max(leaf) FROM refusals)",
        "DELETE FROM entries",
        "DELETE FROM join_tokens WHERE hash = 'bb'",
        "DELETE FROM issuers",
        "DELETE FROM policy_bundles",
        "DELETE FROM certificate_metadata WHERE name = 'owner'",
        "DELETE FROM audit_heads WHERE size > 0",
        "DELETE FROM audit_nodes",
        "DELETE FROM audit_leaves WHERE position = (SELECT max(position) FROM audit_leaves)",
        "DELETE FROM audit_leaves WHERE position = 7",
        "INSERT INTO certificates (serial, sha256, spiffe_id, issuer_sha256, key_type, spki_sha256, \
         not_before, not_after, issued_at, caller, proof, state_since, der, leaf) SELECT 'ff', 'ff', \
         spiffe_id, issuer_sha256, key_type, spki_sha256, not_before, not_after, issued_at, caller, \
         proof, state_since, der, NULL FROM certificates WHERE id = 9",
        "UPDATE join_tokens SET spent_at = NULL, spent_spki = NULL, serial = NULL",
        "UPDATE certificates SET state = 'good', reason = '', state_since = issued_at",
    ] {
        std::fs::copy(&original, dir.path().join("changed.db")).unwrap();
        let mut connection = database(&dir.path().join("changed.db")).await;
        let done = sqlx::query(change).execute(&mut connection).await.unwrap();
        assert!(done.rows_affected() > 0, "{change}");
        connection.close().await.unwrap();
        let report = check(dir.path(), "changed.db").await;
        assert!(!report.is_sound(), "{change}");
    }
    assert!(!serial.is_empty());
}

#[tokio::test]
async fn proofs_lead_to_the_signed_head() {
    let dir = TempDir::new().unwrap();
    let (inventory, _task, clock) = open_at(&dir, NOW).await;
    let serial = fill(&inventory, &clock).await;
    let key = expected(dir.path()).public_key;
    let origin = origin("cluster.local", &key);
    let proof = inventory.prove_certificate(&serial).await.unwrap();
    let head = TreeHead::open(&proof.head, &origin, &key).unwrap();
    let leaf = crate::audit::event::hash(&proof.leaf);
    let holds =
        |leaf: &Hash| verify_inclusion(leaf, proof.position, head.size, &proof.path, &head.root);
    assert!(holds(&leaf));
    assert!(!holds(&crate::audit::event::hash("another")));
    let Event::Certificate(told) = Leaf::parse(&proof.leaf).unwrap().event else {
        panic!("{}", proof.leaf);
    };
    assert_eq!(told.serial, serial);
    assert_eq!(told.metadata["owner"], "payments");
    for (old, new) in [(1, 2), (3, 256), (255, 257), (256, 0), (100, 100)] {
        let proof = inventory.prove_consistency(old, new).await.unwrap();
        assert!(
            verify_consistency(proof.old, proof.new, &proof.path),
            "{old} {new}"
        );
    }
    assert!(matches!(
        inventory.prove_consistency(0, 5).await,
        Err(ProofError::BadSizes { .. })
    ));
    assert!(matches!(
        inventory.prove_consistency(1, 1_000_000).await,
        Err(ProofError::OutOfRange { .. })
    ));
    assert!(matches!(
        inventory.prove_certificate("00").await,
        Err(ProofError::UnknownSerial { .. })
    ));
    let late = certificate(250);
    let late_serial = late.svid.serial.to_string();
    inventory
        .record_certificate(late, Guard::default())
        .await
        .unwrap();
    assert!(matches!(
        inventory.prove_certificate(&late_serial).await,
        Err(ProofError::NotSigned { .. })
    ));
}

#[tokio::test]
async fn an_older_record_in_its_place_is_refused_and_accepted_only_on_demand() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("countersign.db");
    let (inventory, task, _) = open_at(&dir, NOW).await;
    let first = certificate(1);
    let serial = first.svid.serial.to_string();
    inventory
        .record_certificate(first, Guard::default())
        .await
        .unwrap();
    close(inventory, task).await;
    std::fs::copy(&path, dir.path().join("backup.db")).unwrap();
    let (inventory, task, _) = open_at(&dir, NOW + 10).await;
    let revoked = inventory
        .change_state(
            Selector::Serial(serial),
            StateAction::Revoke,
            String::new(),
            String::new(),
            t(10),
        )
        .await
        .unwrap()
        .unwrap();
    close(inventory, task).await;
    let position = Position::read(&dir.path().join("position.json"))
        .unwrap()
        .unwrap();
    assert_eq!(position.sequence, revoked.head.sequence);

    std::fs::copy(dir.path().join("backup.db"), &path).unwrap();
    let refused = Inventory::open(&path, "cluster.local").await.unwrap_err();
    let InventoryError::LostRecord(lost) = refused else {
        panic!("{refused}");
    };
    assert_eq!((lost.found + 1, lost.differs), (lost.expected, false));
    let report = check(dir.path(), "countersign.db").await;
    assert_eq!(report.total_findings, 1, "{:?}", report.findings);

    let options = LogOptions {
        accept_lost: true,
        ..LogOptions::beside(&path)
    };
    let (inventory, task) = Inventory::open_with(&path, "cluster.local", &options)
        .await
        .unwrap();
    let (head, denied) = inventory.next_list(t(20)).await.unwrap();
    assert!(head.epoch > revoked.head.epoch);
    assert!(head.sequence > revoked.head.sequence);
    assert_eq!(denied, []);
    let newest = inventory.leaves_before(None, 1).await.unwrap().remove(0).1;
    let told = Leaf::parse(&newest).unwrap().event;
    assert!(matches!(told, Event::RecordAccepted(_)), "{newest}");
    close(inventory, task).await;
    assert_eq!(check(dir.path(), "countersign.db").await.findings, []);
    // From now on this is the record.
    let (inventory, task) = Inventory::open(&path, "cluster.local").await.unwrap();
    close(inventory, task).await;
}

#[tokio::test]
async fn a_key_that_is_lost_or_another_one_is_refused() {
    let (dir, _) = filled().await;
    let path = dir.path().join("countersign.db");
    let key = dir.path().join("audit.key");
    std::fs::rename(&key, dir.path().join("away")).unwrap();
    let refused = Inventory::open(&path, "cluster.local").await.unwrap_err();
    assert!(
        refused.to_string().contains("restore it from a backup"),
        "{refused}"
    );
    crate::audit::key::LogKey::open(&key).unwrap();
    let refused = Inventory::open(&path, "cluster.local").await.unwrap_err();
    assert!(
        refused.to_string().contains("does not hold the key"),
        "{refused}"
    );
    std::fs::write(&key, "rubbish").unwrap();
    let refused = Inventory::open(&path, "cluster.local").await.unwrap_err();
    assert!(refused.to_string().contains("Ed25519"), "{refused}");
    std::fs::rename(dir.path().join("away"), &key).unwrap();
    std::fs::write(dir.path().join("position.json"), "{").unwrap();
    let refused = Inventory::open(&path, "cluster.local").await.unwrap_err();
    assert!(
        refused.to_string().contains("position.json is damaged"),
        "{refused}"
    );
}
