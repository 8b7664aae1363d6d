//! When certificates expire.

use identity::UnixTime;

use crate::inventory::{Inventory, InventoryError};

/// Certificates that expire in one span of time, in seconds from now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ExpiryBucket {
    /// Its first second.
    pub from: i64,
    /// The second behind its last.
    pub to: i64,
    /// Certificates that are not revoked.
    pub certificates: u64,
}

impl Inventory {
    /// How many certificates expire when: have expired, within an hour, a day, a week, thirty days,
    /// ninety days, later.
    ///
    /// # Errors
    /// [`InventoryError`].
    pub async fn expiry(&self, now: UnixTime) -> Result<Vec<ExpiryBucket>, InventoryError> {
        let mut buckets = Vec::new();
        let mut from = i64::MIN;
        for to in BOUNDS {
            let at = |seconds: i64| now.as_secs().saturating_add(seconds);
            let count: i64 = sqlx::query_scalar(COUNT)
                .bind(at(from))
                .bind(at(to))
                .fetch_one(&self.searchers)
                .await
                .map_err(InventoryError::Query)?;
            buckets.push(ExpiryBucket {
                from,
                to,
                certificates: u64::try_from(count).unwrap_or(0),
            });
            from = to;
        }
        Ok(buckets)
    }
}

const DAY: i64 = 86_400;
/// Ends of the spans; the last has none.
const BOUNDS: [i64; 7] = [0, 3600, DAY, 7 * DAY, 30 * DAY, 90 * DAY, i64::MAX];
/// From indices alone: all, less the revoked.
const COUNT: &str = "SELECT \
     (SELECT count(*) FROM certificates WHERE not_after >= ?1 AND not_after < ?2) - \
     (SELECT count(*) FROM certificates WHERE state = 'revoked' AND state <> 'good' \
      AND not_after >= ?1 AND not_after < ?2)";
