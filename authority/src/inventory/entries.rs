//! Registration entries and refusals: writes.

use identity::UnixTime;

use crate::ca::CaCertificate;
use crate::inventory::{EntryRecord, Inventory, InventoryError, RefusalRecord};

impl Inventory {
    /// Adds an entry; false if one with the same parent, identity and selectors is there.
    pub(crate) async fn create_entry(&self, entry: EntryRecord) -> Result<bool, InventoryError> {
        let selectors = serde_json::json!(entry.selectors).to_string();
        self.writer
            .write(move |connection| {
                Box::pin(async move {
                    let done = sqlx::query(
                        "INSERT INTO entries \
                         (id, parent_id, spiffe_id, selectors, ttl_seconds, created_at) \
                         VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                    )
                    .bind(entry.id)
                    .bind(entry.parent_id.to_string())
                    .bind(entry.spiffe_id.to_string())
                    .bind(selectors)
                    .bind(entry.ttl_seconds)
                    .bind(entry.created_at.as_secs())
                    .execute(connection)
                    .await?;
                    Ok(done.rows_affected() == 1)
                })
            })
            .await
    }

    /// Deletes an entry; false if there is none with this id.
    pub(crate) async fn delete_entry(&self, id: String) -> Result<bool, InventoryError> {
        self.writer
            .write(move |connection| {
                Box::pin(async move {
                    let done = sqlx::query("DELETE FROM entries WHERE id = ?")
                        .bind(id)
                        .execute(connection)
                        .await?;
                    Ok(done.rows_affected() == 1)
                })
            })
            .await
    }

    /// Records a refusal and lets the oldest go beyond [`MAX_REFUSALS`]. Alarms are counted by
    /// themselves, up to [`MAX_ALARMS`]: anybody can cause a flood of the others.
    pub(crate) async fn record_refusal(
        &self,
        refusal: RefusalRecord,
    ) -> Result<(), InventoryError> {
        self.writer
            .write(move |connection| {
                Box::pin(async move {
                    sqlx::query(
                        "INSERT INTO refusals (at, caller, spiffe_id, code, detail, alarm) \
                         VALUES (?, ?, ?, ?, ?, ?)",
                    )
                    .bind(refusal.at.as_secs())
                    .bind(refusal.caller)
                    .bind(refusal.spiffe_id)
                    .bind(refusal.code)
                    .bind(refusal.detail)
                    .bind(refusal.alarm)
                    .execute(&mut *connection)
                    .await?;
                    let (outdated, kept) = if refusal.alarm {
                        (OUTDATED_ALARMS, MAX_ALARMS)
                    } else {
                        (OUTDATED_REFUSALS, MAX_REFUSALS)
                    };
                    sqlx::query(outdated).bind(kept).execute(connection).await?;
                    Ok(())
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
            .write(move |connection| {
                Box::pin(async move {
                    sqlx::query(
                        "INSERT INTO issuers \
                         (sha256, subject, serial, not_before, not_after, first_seen, pem) \
                         VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                    )
                    .bind(certificate.sha256())
                    .bind(certificate.subject())
                    .bind(certificate.serial())
                    .bind(certificate.not_before().as_secs())
                    .bind(certificate.not_after().as_secs())
                    .bind(now.as_secs())
                    .bind(certificate.pem())
                    .execute(connection)
                    .await?;
                    Ok(())
                })
            })
            .await
    }
}

/// Most refusals kept, so that a flood of bad requests does not fill the disk.
pub(crate) const MAX_REFUSALS: i64 = 100_000;
/// Most alarms kept. To cause one takes a token or a certificate that was once ours.
const MAX_ALARMS: i64 = 10_000;
/// By distance, not by count: it costs the same however many there are.
const OUTDATED_REFUSALS: &str =
    "DELETE FROM refusals WHERE alarm = 0 AND id <= (SELECT max(id) FROM refusals) - ?";
const OUTDATED_ALARMS: &str = "DELETE FROM refusals WHERE alarm = 1 AND id <= (\
     SELECT id FROM refusals WHERE alarm = 1 ORDER BY id DESC LIMIT 1 OFFSET ?)";
