//! What the health of the authority is told by.

use identity::UnixTime;

use crate::inventory::{Inventory, InventoryError};

/// Facts of the record that say whether all is well.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Vitals {
    /// Agents that entries name.
    pub(crate) parents: Vec<String>,
    /// Identities whose newest certificate is past three quarters of its life, although its holder
    /// renews by itself; at most [`MOST_NAMED`].
    pub(crate) not_renewing: Vec<String>,
    /// Refusals of the last hour, alarms left out.
    pub(crate) refusals_last_hour: u64,
    /// Refusals of the 23 hours before it.
    pub(crate) refusals_before: u64,
    /// Alarms of the last day.
    pub(crate) alarms_last_day: u64,
    /// When the newest certificate was issued.
    pub(crate) newest_issue: Option<i64>,
    /// Certificates ever issued.
    pub(crate) certificates: u64,
}

impl Inventory {
    /// Writes something durably that changes nothing.
    ///
    /// # Errors
    /// [`InventoryError`] if the record cannot be written.
    pub(crate) async fn probe(&self) -> Result<(), InventoryError> {
        self.writer
            .write(|tx| {
                Box::pin(async move {
                    sqlx::query("UPDATE deny_list_head SET sequence = sequence WHERE only = 1")
                        .execute(tx.connection)
                        .await
                        .map(drop)
                })
            })
            .await
    }

    /// Whether any unexpired certificate is suspended.
    ///
    /// # Errors
    /// [`InventoryError`] if the record cannot be read.
    pub(crate) async fn is_anybody_suspended(&self, now: UnixTime) -> Result<bool, InventoryError> {
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM certificates \
             WHERE state = 'suspended' AND state <> 'good' AND not_after >= ?)",
        )
        .bind(now.as_secs())
        .fetch_one(&self.readers)
        .await
        .map_err(InventoryError::Query)
    }

    /// Reads the facts.
    pub(crate) async fn vitals(&self, now: UnixTime) -> Result<Vitals, InventoryError> {
        let now = now.as_secs();
        let parents = sqlx::query_scalar("SELECT DISTINCT parent_id FROM entries ORDER BY 1")
            .fetch_all(&self.searchers)
            .await
            .map_err(InventoryError::Query)?;
        let not_renewing = sqlx::query_scalar(NOT_RENEWING)
            .bind(now)
            .bind(MOST_NAMED)
            .fetch_all(&self.searchers)
            .await
            .map_err(InventoryError::Query)?;
        let row: (i64, i64, i64, Option<i64>, Option<i64>) = sqlx::query_as(COUNTS)
            .bind(now)
            .fetch_one(&self.searchers)
            .await
            .map_err(InventoryError::Query)?;
        let count = |n: i64| u64::try_from(n).unwrap_or(0);
        Ok(Vitals {
            parents,
            not_renewing,
            refusals_last_hour: count(row.0),
            refusals_before: count(row.1),
            alarms_last_day: count(row.2),
            newest_issue: row.3,
            certificates: count(row.4.unwrap_or(0)),
        })
    }
}

/// Most identities that are named.
pub(crate) const MOST_NAMED: i64 = 20;
/// Certificates of agents and their workloads renew at half of their life; by three quarters of it
/// something is wrong. Which identities have a newer one is asked per identity, by its index.
const NOT_RENEWING: &str = "\
SELECT DISTINCT old.spiffe_id FROM certificates AS old
WHERE old.not_after >= ?1 AND old.state = 'good'
    AND old.proof NOT IN ('operator', 'authority')
    AND (old.not_after - ?1) * 4 < old.not_after - old.not_before
    AND NOT EXISTS (
        SELECT 1 FROM certificates AS newer
        WHERE newer.spiffe_id = old.spiffe_id AND newer.not_after > old.not_after)
ORDER BY 1 LIMIT ?2";
/// Refusals are kept in a bounded number, so looking at each is bounded too.
const COUNTS: &str = "\
SELECT
    (SELECT count(*) FROM refusals WHERE alarm = 0 AND at > ?1 - 3600),
    (SELECT count(*) FROM refusals WHERE alarm = 0 AND at <= ?1 - 3600 AND at > ?1 - 86400),
    (SELECT count(*) FROM refusals WHERE alarm = 1 AND at > ?1 - 86400),
    (SELECT issued_at FROM certificates ORDER BY id DESC LIMIT 1),
    (SELECT max(id) FROM certificates)";
