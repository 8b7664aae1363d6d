//! Recording a certificate, if what justified it still holds.

use identity::UnixTime;
use sqlx::SqliteConnection;

use crate::inventory::{Inventory, InventoryError, Origin};
use crate::issue::IssuedSvid;

/// A signed certificate to record, and for whom.
#[derive(Clone, Debug)]
pub(crate) struct NewCertificate {
    /// The certificate and its facts.
    pub(crate) svid: IssuedSvid,
    /// Who asked.
    pub(crate) caller: String,
    /// How the caller proved it.
    pub(crate) proof: &'static str,
    /// When.
    pub(crate) issued_at: UnixTime,
    /// The proof it goes back to.
    pub(crate) origin: Origin,
    /// Id of the issuance rule that allowed it.
    pub(crate) rule: String,
}

/// What must still hold at the moment of recording.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guard {
    /// SHA-256 of the caller's certificate, which must be good.
    pub(crate) caller_sha256: Option<String>,
    /// Hash of the join token, which must be unspent and unexpired, and is spent hereby.
    pub(crate) token_hash: Option<String>,
    /// Whether the identity may be suspended: only the authority's own, or nobody could come in to
    /// take the suspension back.
    pub(crate) despite_suspension: bool,
}

/// Which part of the guard failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum GuardFailure {
    /// The token has been spent or has expired.
    Token,
    /// The caller's certificate is not good any more.
    Caller,
    /// The registration entry is gone.
    Entry,
    /// A certificate of the identity is suspended.
    Suspended,
}

/// Whether the certificate is on record, durably.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum RecordOutcome {
    /// It is; it may leave.
    Recorded,
    /// It is not; nobody may ever see it.
    Refused(GuardFailure),
}

impl Inventory {
    /// Records a certificate and, in the same transaction, spends the join token it was had for.
    pub(crate) async fn record_certificate(
        &self,
        new: NewCertificate,
        guard: Guard,
    ) -> Result<RecordOutcome, InventoryError> {
        self.writer
            .write(move |connection| {
                Box::pin(async move { insert(connection, &new, &guard).await })
            })
            .await
    }
}

async fn insert(
    connection: &mut SqliteConnection,
    new: &NewCertificate,
    guard: &Guard,
) -> Result<RecordOutcome, sqlx::Error> {
    let svid = &new.svid;
    let spiffe_id = svid.spiffe_id.to_string();
    let serial = svid.serial.to_string();
    let now = new.issued_at.as_secs();
    let inserted = sqlx::query(INSERT)
        .bind(&serial)
        .bind(&svid.sha256)
        .bind(&spiffe_id)
        .bind(&svid.issuer_sha256)
        .bind(svid.key_type.to_string())
        .bind(&svid.spki_sha256)
        .bind(svid.not_before.as_secs())
        .bind(svid.not_after.as_secs())
        .bind(now)
        .bind(&new.caller)
        .bind(new.proof)
        .bind(&svid.entry_id)
        .bind(&svid.der)
        .bind(&guard.caller_sha256)
        .bind(&guard.token_hash)
        .bind(guard.despite_suspension)
        .bind(new.origin.proven_at.as_secs())
        .bind(&new.origin.proven_by)
        .bind(&new.origin.evidence_sha256)
        .bind(serde_json::Value::from(new.origin.selectors.as_slice()).to_string())
        .bind(&new.rule)
        .execute(&mut *connection)
        .await?
        .rows_affected();
    if inserted == 0 {
        return diagnose(connection, new, guard)
            .await
            .map(RecordOutcome::Refused);
    }
    if let Some(hash) = &guard.token_hash {
        sqlx::query(
            "UPDATE join_tokens SET spent_at = ?, spent_spki = ?, serial = ? WHERE hash = ?",
        )
        .bind(now)
        .bind(&svid.spki_sha256)
        .bind(&serial)
        .bind(hash)
        .execute(connection)
        .await?;
    }
    Ok(RecordOutcome::Recorded)
}

/// Which part of the guard kept the row out; asked in the same transaction.
async fn diagnose(
    connection: &mut SqliteConnection,
    new: &NewCertificate,
    guard: &Guard,
) -> Result<GuardFailure, sqlx::Error> {
    if let Some(hash) = &guard.token_hash {
        let usable: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM join_tokens \
             WHERE hash = ? AND spent_at IS NULL AND expires_at >= ?)",
        )
        .bind(hash)
        .bind(new.issued_at.as_secs())
        .fetch_one(&mut *connection)
        .await?;
        if !usable {
            return Ok(GuardFailure::Token);
        }
    }
    if let Some(sha256) = &guard.caller_sha256 {
        let good: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM certificates WHERE sha256 = ? AND state = 'good')",
        )
        .bind(sha256)
        .fetch_one(&mut *connection)
        .await?;
        if !good {
            return Ok(GuardFailure::Caller);
        }
    }
    if let Some(entry) = &new.svid.entry_id {
        let there: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM entries WHERE id = ?)")
            .bind(entry)
            .fetch_one(connection)
            .await?;
        if !there {
            return Ok(GuardFailure::Entry);
        }
    }
    Ok(GuardFailure::Suspended)
}

/// One statement, so that the checks and the row are one decision.
const INSERT: &str = "\
INSERT INTO certificates (
    serial, sha256, spiffe_id, issuer_sha256, key_type, spki_sha256, not_before, not_after,
    issued_at, caller, proof, entry_id, state_since, der,
    proven_at, proven_by, evidence_sha256, selectors, rule)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?9, ?13,
    ?17, ?18, ?19, ?20, ?21
WHERE (?16 OR NOT EXISTS (
        SELECT 1 FROM certificates
        WHERE spiffe_id = ?3 AND state = 'suspended' AND not_after >= ?9))
    AND (?12 IS NULL OR EXISTS (SELECT 1 FROM entries WHERE id = ?12))
    AND (?14 IS NULL OR EXISTS (
        SELECT 1 FROM certificates WHERE sha256 = ?14 AND state = 'good'))
    AND (?15 IS NULL OR EXISTS (
        SELECT 1 FROM join_tokens WHERE hash = ?15 AND spent_at IS NULL AND expires_at >= ?9))";
