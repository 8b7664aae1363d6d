//! Rows in the form that leaves tell of them: written so, and checked against it.

use std::collections::BTreeMap;

use serde::Serialize;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::audit::event::{self, canonical};
use crate::inventory::CertificateRecord;

/// A certificate without what may change of it.
pub(crate) fn certificate(
    row: i64,
    record: &CertificateRecord,
    token: Option<String>,
) -> event::Certificate {
    event::Certificate {
        row,
        serial: record.serial.clone(),
        sha256: record.sha256.clone(),
        spiffe_id: record.spiffe_id.to_string(),
        issuer_sha256: record.issuer_sha256.clone(),
        key_type: record.key_type.clone(),
        key_bits: record.key_bits,
        signature_algorithm: record.signature_algorithm.clone(),
        spki_sha256: record.spki_sha256.clone(),
        not_before: record.not_before.as_secs(),
        not_after: record.not_after.as_secs(),
        issued_at: record.issued_at.as_secs(),
        caller: record.caller.clone(),
        proof: record.proof.clone(),
        entry_id: record.entry_id.clone(),
        token,
        location: record.location.clone(),
        metadata: record.metadata.pairs().clone(),
        proven_at: record.origin.proven_at.as_secs(),
        proven_by: record.origin.proven_by.clone(),
        evidence_sha256: record.origin.evidence_sha256.clone(),
        selectors: record.origin.selectors.clone(),
        rule: record.rule.clone(),
    }
}

/// A state change: when, and what.
pub(crate) fn state_change(row: &SqliteRow) -> Result<(i64, event::StateChange), sqlx::Error> {
    Ok((
        row.try_get("at")?,
        event::StateChange {
            row: row.try_get("id")?,
            serial: row.try_get("serial")?,
            action: row.try_get("action")?,
            reason: row.try_get("reason")?,
            operator: row.try_get("operator")?,
        },
    ))
}

/// A publication of policies: when, and what.
pub(crate) fn bundle_change(row: &SqliteRow) -> Result<(i64, event::PolicyBundle), sqlx::Error> {
    Ok((
        row.try_get("at")?,
        event::PolicyBundle {
            row: row.try_get("id")?,
            name: row.try_get("name")?,
            sequence: row.try_get("sequence")?,
            sha256: row.try_get("sha256")?,
            size: row.try_get("size")?,
            operator: row.try_get("operator")?,
        },
    ))
}

/// An entry, but for who created it.
pub(crate) fn entry(row: &SqliteRow) -> Result<event::Entry, sqlx::Error> {
    let selectors: String = row.try_get("selectors")?;
    Ok(event::Entry {
        id: row.try_get("id")?,
        parent_id: row.try_get("parent_id")?,
        spiffe_id: row.try_get("spiffe_id")?,
        selectors: serde_json::from_str(&selectors)
            .map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
        ttl_seconds: row.try_get("ttl_seconds")?,
        created_at: row.try_get("created_at")?,
        operator: String::new(),
    })
}

/// A join token, but for who made it and what it was spent for.
pub(crate) fn token(row: &SqliteRow) -> Result<event::Token, sqlx::Error> {
    Ok(event::Token {
        hash: row.try_get("hash")?,
        spiffe_id: row.try_get("spiffe_id")?,
        created_at: row.try_get("created_at")?,
        expires_at: row.try_get("expires_at")?,
        operator: String::new(),
    })
}

/// A certificate of the authority itself.
pub(crate) fn issuer(row: &SqliteRow) -> Result<event::Issuer, sqlx::Error> {
    let pem: String = row.try_get("pem")?;
    Ok(event::Issuer {
        sha256: row.try_get("sha256")?,
        subject: row.try_get("subject")?,
        serial: row.try_get("serial")?,
        not_before: row.try_get("not_before")?,
        not_after: row.try_get("not_after")?,
        first_seen: row.try_get("first_seen")?,
        pem_sha256: crate::crypto::sha256_hex(pem.as_bytes()),
    })
}

/// What a join token was spent for.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Spending {
    pub(crate) hash: String,
    pub(crate) spent_at: i64,
    pub(crate) spent_spki: String,
    pub(crate) serial: String,
}

/// What a token was spent for; none if it was not.
pub(crate) fn spending(row: &SqliteRow) -> Result<Option<Spending>, sqlx::Error> {
    let Some(spent_at) = row.try_get("spent_at")? else {
        return Ok(None);
    };
    Ok(Some(Spending {
        hash: row.try_get("hash")?,
        spent_at,
        spent_spki: row.try_get("spent_spki")?,
        serial: row.try_get("serial")?,
    }))
}

/// Refusals that one leaf tells of, gathered.
#[derive(Clone, Debug, Default)]
pub(crate) struct RefusalRows {
    codes: BTreeMap<String, u64>,
    digest: event::RowsDigest,
}

impl RefusalRows {
    /// Adds one; they come in the order of their ids.
    pub(crate) fn add(&mut self, row: &SqliteRow) -> Result<(), sqlx::Error> {
        #[derive(Serialize)]
        struct Form {
            id: i64,
            at: i64,
            caller: String,
            spiffe_id: String,
            code: String,
            detail: String,
            alarm: bool,
        }
        let form = Form {
            id: row.try_get("id")?,
            at: row.try_get("at")?,
            caller: row.try_get("caller")?,
            spiffe_id: row.try_get("spiffe_id")?,
            code: row.try_get("code")?,
            detail: row.try_get("detail")?,
            alarm: row.try_get("alarm")?,
        };
        self.digest.add(&text(&form)?);
        let count = self.codes.entry(form.code).or_default();
        *count = count.saturating_add(1);
        Ok(())
    }

    /// What the leaf says.
    pub(crate) fn finish(self, alarm: bool) -> event::Refusals {
        event::Refusals {
            alarm,
            codes: self.codes,
            rows: self.digest.finish(),
        }
    }
}

/// Canonical JSON of anything.
pub(crate) fn text<T: Serialize>(value: &T) -> Result<String, sqlx::Error> {
    serde_json::to_value(value)
        .map(|value| canonical(&value))
        .map_err(|error| sqlx::Error::Encode(Box::new(error)))
}

/// Every column that [`state_change`] reads, and which leaf tells of it.
pub(crate) const STATE_CHANGES: &str =
    "SELECT id, at, serial, action, reason, operator, leaf FROM state_changes ORDER BY id";
/// For [`bundle_change`].
pub(crate) const BUNDLE_CHANGES: &str = "SELECT id, at, name, sequence, sha256, size, operator, leaf FROM policy_bundle_changes ORDER BY id";
/// For [`entry`].
pub(crate) const ENTRIES: &str = "SELECT id, parent_id, spiffe_id, selectors, ttl_seconds, \
     created_at, leaf FROM entries ORDER BY id";
/// For [`token`] and [`spending`].
pub(crate) const TOKENS: &str = "SELECT hash, spiffe_id, created_at, expires_at, spent_at, \
     spent_spki, serial, leaf FROM join_tokens ORDER BY hash";
/// For [`issuer`].
pub(crate) const ISSUERS: &str = "SELECT sha256, subject, serial, not_before, not_after, first_seen, \
     pem, leaf FROM issuers ORDER BY sha256";
