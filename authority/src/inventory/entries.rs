//! Registration entries and the authority's own certificates: writes.

use identity::UnixTime;

use crate::audit::event::{self, Event};
use crate::ca::CaCertificate;
use crate::crypto::sha256_hex;
use crate::inventory::writer::Tx;
use crate::inventory::{EntryRecord, Inventory, InventoryError};

impl Inventory {
    /// Adds an entry; false if one with the same parent, identity and selectors is there.
    pub(crate) async fn create_entry(
        &self,
        entry: EntryRecord,
        operator: String,
    ) -> Result<bool, InventoryError> {
        let selectors = serde_json::json!(entry.selectors).to_string();
        self.writer
            .write(move |Tx { connection, log }| {
                Box::pin(async move {
                    let done = sqlx::query(INSERT_ENTRY)
                        .bind(&entry.id)
                        .bind(entry.parent_id.to_string())
                        .bind(entry.spiffe_id.to_string())
                        .bind(selectors)
                        .bind(entry.ttl_seconds)
                        .bind(entry.created_at.as_secs())
                        .bind(log.next()?)
                        .execute(connection)
                        .await?;
                    if done.rows_affected() == 0 {
                        return Ok(false);
                    }
                    let created_at = entry.created_at.as_secs();
                    let told = event::Entry {
                        id: entry.id,
                        parent_id: entry.parent_id.to_string(),
                        spiffe_id: entry.spiffe_id.to_string(),
                        selectors: entry.selectors,
                        ttl_seconds: entry.ttl_seconds,
                        created_at,
                        operator,
                    };
                    log.append(created_at, Event::EntryCreated(told))?;
                    Ok(true)
                })
            })
            .await
    }

    /// Deletes an entry; false if there is none with this id.
    pub(crate) async fn delete_entry(
        &self,
        id: String,
        operator: String,
        now: UnixTime,
    ) -> Result<bool, InventoryError> {
        self.writer
            .write(move |Tx { connection, log }| {
                Box::pin(async move {
                    let done = sqlx::query(DELETE_ENTRY)
                        .bind(&id)
                        .execute(connection)
                        .await?;
                    if done.rows_affected() == 0 {
                        return Ok(false);
                    }
                    log.append(now.as_secs(), Event::EntryDeleted { id, operator })?;
                    Ok(true)
                })
            })
            .await
    }

    /// Records a certificate of the authority itself, once.
    pub(crate) async fn record_issuer(
        &self,
        certificate: CaCertificate,
        now: UnixTime,
    ) -> Result<(), InventoryError> {
        self.writer
            .write(move |Tx { connection, log }| {
                Box::pin(async move {
                    let told = event::Issuer {
                        sha256: certificate.sha256().to_owned(),
                        subject: certificate.subject().to_owned(),
                        serial: certificate.serial().to_owned(),
                        not_before: certificate.not_before().as_secs(),
                        not_after: certificate.not_after().as_secs(),
                        first_seen: now.as_secs(),
                        pem_sha256: sha256_hex(certificate.pem().as_bytes()),
                    };
                    let done = sqlx::query(INSERT_ISSUER)
                        .bind(&told.sha256)
                        .bind(&told.subject)
                        .bind(&told.serial)
                        .bind(told.not_before)
                        .bind(told.not_after)
                        .bind(told.first_seen)
                        .bind(certificate.pem())
                        .bind(log.next()?)
                        .execute(connection)
                        .await?;
                    if done.rows_affected() > 0 {
                        log.append(now.as_secs(), Event::Issuer(told))?;
                    }
                    Ok(())
                })
            })
            .await
    }

    /// Puts something into the audit log that has no row of its own: what an operator did, what
    /// became of the CA or of policies. It is durable when this returns.
    pub(crate) async fn record_action(
        &self,
        action: event::Action,
        now: UnixTime,
    ) -> Result<(), InventoryError> {
        self.writer
            .write(move |Tx { log, .. }| {
                Box::pin(async move {
                    log.append(now.as_secs(), Event::Action(action))?;
                    Ok(())
                })
            })
            .await
    }
}

const INSERT_ENTRY: &str = "INSERT INTO entries \
     (id, parent_id, spiffe_id, selectors, ttl_seconds, created_at, leaf) \
     VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
const DELETE_ENTRY: &str = "DELETE FROM entries WHERE id = ?";
const INSERT_ISSUER: &str = "INSERT INTO issuers \
     (sha256, subject, serial, not_before, not_after, first_seen, pem, leaf) \
     VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
