//! Refusals: recorded, put into the log together, and the oldest let go.

use futures::TryStreamExt as _;
use sqlx::SqliteConnection;

use crate::audit::event::Event;
use crate::inventory::log::Batch;
use crate::inventory::rows::RefusalRows;
use crate::inventory::writer::Tx;
use crate::inventory::{Inventory, InventoryError, RefusalRecord};

impl Inventory {
    /// Records a refusal. The log tells of it at once, or, in a flood, of all of a second together.
    pub(crate) async fn record_refusal(
        &self,
        refusal: RefusalRecord,
    ) -> Result<(), InventoryError> {
        self.writer
            .write(move |Tx { connection, .. }| {
                Box::pin(async move {
                    sqlx::query(INSERT)
                        .bind(refusal.at.as_secs())
                        .bind(refusal.caller)
                        .bind(refusal.spiffe_id)
                        .bind(refusal.code)
                        .bind(refusal.detail)
                        .bind(refusal.alarm)
                        .execute(connection)
                        .await?;
                    Ok(())
                })
            })
            .await
    }
}

/// Appends a leaf for the refusals that none tells of yet, alarms apart from others, and lets the
/// oldest go that are too many: alarms by themselves, since anybody can cause a flood of the others.
/// Whether there were any.
///
/// Rows go only with all others of their leaf, so that a leaf's rows are all there or all gone.
pub(super) async fn cover(
    connection: &mut SqliteConnection,
    batch: &mut Batch,
    now: i64,
) -> Result<bool, sqlx::Error> {
    let any: bool = sqlx::query_scalar(ANY_WITHOUT_LEAF)
        .fetch_one(&mut *connection)
        .await?;
    if !any {
        return Ok(false);
    }
    for alarm in [false, true] {
        let mut gathered = RefusalRows::default();
        let mut found = false;
        let mut rows = sqlx::query(WITHOUT_LEAF)
            .bind(alarm)
            .fetch(&mut *connection);
        while let Some(row) = rows.try_next().await? {
            found = true;
            gathered.add(&row)?;
        }
        drop(rows);
        if !found {
            continue;
        }
        let leaf = batch.append(now, Event::Refusals(gathered.finish(alarm)))?;
        sqlx::query(SET_LEAF)
            .bind(leaf)
            .bind(alarm)
            .execute(&mut *connection)
            .await?;
        let (outdated, kept) = if alarm {
            (OUTDATED_ALARMS, MAX_ALARMS)
        } else {
            (OUTDATED_REFUSALS, MAX_REFUSALS)
        };
        sqlx::query(outdated)
            .bind(kept)
            .execute(&mut *connection)
            .await?;
    }
    Ok(true)
}

/// Refusals kept at least, of which more go so that a flood of bad requests does not fill the disk.
pub(crate) const MAX_REFUSALS: i64 = 100_000;
/// Alarms kept at least. To cause one takes a token or a certificate that was once ours.
pub(crate) const MAX_ALARMS: i64 = 10_000;

const INSERT: &str = "INSERT INTO refusals (at, caller, spiffe_id, code, detail, alarm) \
     VALUES (?, ?, ?, ?, ?, ?)";
const ANY_WITHOUT_LEAF: &str = "SELECT EXISTS (SELECT 1 FROM refusals WHERE leaf IS NULL)";
const WITHOUT_LEAF: &str = "SELECT id, at, caller, spiffe_id, code, detail, alarm FROM refusals \
     WHERE leaf IS NULL AND alarm = ? ORDER BY id";
const SET_LEAF: &str = "UPDATE refusals SET leaf = ? WHERE leaf IS NULL AND alarm = ?";
/// By distance, not by count: it costs the same however many there are.
const OUTDATED_REFUSALS: &str = "DELETE FROM refusals WHERE alarm = 0 AND leaf < (\
     SELECT leaf FROM refusals WHERE alarm = 0 AND id <= (SELECT max(id) FROM refusals) - ? \
     ORDER BY id DESC LIMIT 1)";
const OUTDATED_ALARMS: &str = "DELETE FROM refusals WHERE alarm = 1 AND leaf < (\
     SELECT leaf FROM refusals WHERE alarm = 1 ORDER BY id DESC LIMIT 1 OFFSET ?)";
