//! The last requests and what became of them, for dry runs of other rules.
//!
//! This is no part of the record: what is lost here at a crash was a request all the same.

use identity::UnixTime;
use sqlx::Row as _;

use crate::inventory::{Inventory, InventoryError};
use crate::issuance::Facts;

/// A request and its verdict.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct RequestNote {
    /// When.
    pub(crate) at: UnixTime,
    /// What rules could see of it.
    pub(crate) facts: Facts,
    /// Whether it was allowed.
    pub(crate) allowed: bool,
    /// The rule that decided; empty where none did.
    pub(crate) rule: String,
}

impl Inventory {
    /// Notes a request, some time later and in nobody's way.
    pub(crate) fn note_request(&self, note: RequestNote) {
        let facts = match serde_json::to_string(&note.facts) {
            Ok(facts) if facts.len() <= MAX_FACTS => facts,
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(%error, "a request could not be noted");
                return;
            }
        };
        let writer = self.writer.clone();
        // No more of these wait than requests do: each is sent before its certificate is.
        tokio::spawn(async move {
            let written = writer.write(move |tx| {
                Box::pin(async move {
                    let connection = tx.connection;
                    let insert = sqlx::query(
                        "INSERT INTO issuance_requests (at, facts, allowed, rule) VALUES (?, ?, ?, ?)",
                    )
                    .bind(note.at.as_secs())
                    .bind(facts)
                    .bind(note.allowed)
                    .bind(note.rule)
                    .execute(&mut *connection)
                    .await;
                    let trimmed = match insert {
                        Ok(done) if done.last_insert_rowid() % TRIM_EVERY == 0 => {
                            sqlx::query("DELETE FROM issuance_requests WHERE id <= ?")
                                .bind(done.last_insert_rowid().saturating_sub(MAX_REQUESTS))
                                .execute(connection)
                                .await
                                .map(drop)
                        }
                        other => other.map(drop),
                    };
                    // On a full disk SQLite has rolled everything back, certificates and all: then
                    // nothing more may be written as if it had not.
                    trimmed
                })
            });
            // Whatever failed was logged by the writer.
            written.await.ok();
        });
    }

    /// The last requests, newest first, at most `limit`.
    pub(crate) async fn requests(&self, limit: u32) -> Result<Vec<RequestNote>, InventoryError> {
        let rows = sqlx::query(
            "SELECT at, facts, allowed, rule FROM issuance_requests ORDER BY id DESC LIMIT ?",
        )
        .bind(limit)
        .fetch_all(&self.searchers)
        .await
        .map_err(InventoryError::Query)?;
        rows.iter()
            .map(|row| {
                let facts: String = row.try_get("facts").map_err(InventoryError::Query)?;
                Ok(RequestNote {
                    at: UnixTime::from_secs(row.try_get("at").map_err(InventoryError::Query)?),
                    facts: serde_json::from_str(&facts).map_err(|_bad| InventoryError::BadRow {
                        column: "facts",
                        value: facts.clone(),
                    })?,
                    allowed: row.try_get("allowed").map_err(InventoryError::Query)?,
                    rule: row.try_get("rule").map_err(InventoryError::Query)?,
                })
            })
            .collect()
    }
}

/// Requests kept.
const MAX_REQUESTS: i64 = 10_000;
/// How often the oldest are removed, in requests.
const TRIM_EVERY: i64 = 256;
/// Longest facts kept, in bytes of JSON; a request with more names than that is not worth it.
const MAX_FACTS: usize = 4096;
