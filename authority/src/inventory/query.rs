//! Reading the record.

use identity::{SpiffeId, UnixTime};
use sqlx::{AssertSqlSafe, QueryBuilder, Sqlite};

use crate::inventory::record::{self, CERTIFICATE_COLUMNS};
use crate::inventory::{
    CertificateRecord, CertificateState, Counts, EntryRecord, Inventory, InventoryError,
    RefusalRecord, TokenRecord,
};

/// Which certificates to list.
#[derive(Clone, Debug, Default)]
pub(crate) struct CertificateFilter {
    /// Only those of this identity.
    pub(crate) spiffe_id: Option<SpiffeId>,
    /// Only those in this state.
    pub(crate) state: Option<CertificateState>,
    /// Only those that have not expired at this time.
    pub(crate) unexpired_at: Option<UnixTime>,
    /// At most so many.
    pub(crate) limit: u32,
}

impl Inventory {
    /// The certificate with this digest, lower-case hex.
    pub(crate) async fn certificate_by_sha256(
        &self,
        sha256: &str,
    ) -> Result<Option<CertificateRecord>, InventoryError> {
        self.certificate_where("sha256", sha256).await
    }

    /// The certificate with this serial number, lower-case hex.
    pub(crate) async fn certificate_by_serial(
        &self,
        serial: &str,
    ) -> Result<Option<CertificateRecord>, InventoryError> {
        self.certificate_where("serial", serial).await
    }

    async fn certificate_where(
        &self,
        column: &'static str,
        value: &str,
    ) -> Result<Option<CertificateRecord>, InventoryError> {
        // Only names from this file get into the text.
        let sql = format!("SELECT {CERTIFICATE_COLUMNS} FROM certificates WHERE {column} = ?");
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(value)
            .fetch_optional(&self.readers)
            .await
            .map_err(InventoryError::Query)?;
        row.as_ref().map(record::certificate).transpose()
    }

    /// Certificates, newest first.
    pub(crate) async fn certificates(
        &self,
        filter: &CertificateFilter,
    ) -> Result<Vec<CertificateRecord>, InventoryError> {
        let mut query = QueryBuilder::<Sqlite>::new(format!(
            "SELECT {CERTIFICATE_COLUMNS} FROM certificates WHERE 1 = 1"
        ));
        if let Some(id) = &filter.spiffe_id {
            query.push(" AND spiffe_id = ").push_bind(id.to_string());
        }
        if let Some(state) = filter.state {
            query.push(" AND state = ").push_bind(state.as_str());
        }
        if let Some(now) = filter.unexpired_at {
            query.push(" AND not_after >= ").push_bind(now.as_secs());
        }
        query
            .push(" ORDER BY id DESC LIMIT ")
            .push_bind(filter.limit);
        let rows = query
            .build()
            .fetch_all(&self.readers)
            .await
            .map_err(InventoryError::Query)?;
        rows.iter().map(record::certificate).collect()
    }

    /// Whether an unexpired certificate of the identity is suspended.
    pub(crate) async fn is_suspended(
        &self,
        id: &SpiffeId,
        now: UnixTime,
    ) -> Result<bool, InventoryError> {
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM certificates \
             WHERE spiffe_id = ? AND state = 'suspended' AND not_after >= ?)",
        )
        .bind(id.to_string())
        .bind(now.as_secs())
        .fetch_one(&self.readers)
        .await
        .map_err(InventoryError::Query)
    }

    /// Entries, by id; each bound restricts.
    pub(crate) async fn entries(
        &self,
        parent_id: Option<&SpiffeId>,
        spiffe_id: Option<&SpiffeId>,
    ) -> Result<Vec<EntryRecord>, InventoryError> {
        let rows = sqlx::query(
            "SELECT id, parent_id, spiffe_id, selectors, ttl_seconds, created_at FROM entries \
             WHERE (?1 IS NULL OR parent_id = ?1) AND (?2 IS NULL OR spiffe_id = ?2) ORDER BY id",
        )
        .bind(parent_id.map(ToString::to_string))
        .bind(spiffe_id.map(ToString::to_string))
        .fetch_all(&self.readers)
        .await
        .map_err(InventoryError::Query)?;
        rows.iter().map(record::entry).collect()
    }

    /// The entry with this id.
    pub(crate) async fn entry(&self, id: &str) -> Result<Option<EntryRecord>, InventoryError> {
        let row = sqlx::query(
            "SELECT id, parent_id, spiffe_id, selectors, ttl_seconds, created_at FROM entries \
             WHERE id = ?",
        )
        .bind(id)
        .fetch_optional(&self.readers)
        .await
        .map_err(InventoryError::Query)?;
        row.as_ref().map(record::entry).transpose()
    }

    /// The join token with this hash.
    pub(crate) async fn token(&self, hash: &str) -> Result<Option<TokenRecord>, InventoryError> {
        let row = sqlx::query(
            "SELECT hash, spiffe_id, expires_at, spent_at, spent_spki, serial FROM join_tokens \
             WHERE hash = ?",
        )
        .bind(hash)
        .fetch_optional(&self.readers)
        .await
        .map_err(InventoryError::Query)?;
        row.as_ref().map(record::token).transpose()
    }

    /// Whether a deny list was ever numbered.
    pub(crate) async fn has_signed_lists(&self) -> Result<bool, InventoryError> {
        sqlx::query_scalar("SELECT sequence > 0 FROM deny_list_head")
            .fetch_one(&self.readers)
            .await
            .map_err(InventoryError::Query)
    }

    /// Refusals, newest first.
    pub(crate) async fn refusals(&self, limit: u32) -> Result<Vec<RefusalRecord>, InventoryError> {
        let rows = sqlx::query(
            "SELECT at, caller, spiffe_id, code, detail, alarm FROM refusals \
             ORDER BY id DESC LIMIT ?",
        )
        .bind(limit)
        .fetch_all(&self.readers)
        .await
        .map_err(InventoryError::Query)?;
        rows.iter().map(record::refusal).collect()
    }

    /// How much is on record.
    pub(crate) async fn counts(&self, now: UnixTime) -> Result<Counts, InventoryError> {
        let row: (i64, i64, i64, i64, i64, i64) = sqlx::query_as(
            "SELECT (SELECT count(*) FROM certificates), \
             (SELECT count(*) FROM certificates WHERE not_after >= ?1), \
             (SELECT count(*) FROM certificates WHERE state = 'suspended' AND not_after >= ?1), \
             (SELECT count(*) FROM certificates WHERE state = 'revoked' AND not_after >= ?1), \
             (SELECT count(*) FROM entries), (SELECT count(*) FROM refusals)",
        )
        .bind(now.as_secs())
        .fetch_one(&self.readers)
        .await
        .map_err(InventoryError::Query)?;
        let count = |n: i64| u64::try_from(n).unwrap_or(0);
        Ok(Counts {
            certificates: count(row.0),
            unexpired: count(row.1),
            suspended: count(row.2),
            revoked: count(row.3),
            entries: count(row.4),
            refusals: count(row.5),
        })
    }
}
