//! Recording a certificate, if what justified it still holds.

use identity::UnixTime;
use sqlx::SqliteConnection;
use x509_parser::asn1_rs::{Any, FromDer as _, Oid};
use x509_parser::oid_registry;

use crate::audit::event::{self, Event};
use crate::inventory::writer::Tx;
use crate::inventory::{Inventory, InventoryError, Origin, RequestContext};
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
    /// Where the request came from, and what it told.
    pub(crate) context: RequestContext,
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
            .write(move |tx| Box::pin(async move { insert(tx, &new, &guard).await }))
            .await
    }
}

async fn insert(
    Tx { connection, log }: Tx<'_>,
    new: &NewCertificate,
    guard: &Guard,
) -> Result<RecordOutcome, sqlx::Error> {
    let svid = &new.svid;
    let now = new.issued_at.as_secs();
    let mut told = told(new, guard);
    let metadata = new.context.metadata.to_json();
    let inserted: Option<i64> = sqlx::query_scalar(INSERT)
        .bind(&told.serial)
        .bind(&told.sha256)
        .bind(&told.spiffe_id)
        .bind(&told.issuer_sha256)
        .bind(&told.key_type)
        .bind(&told.spki_sha256)
        .bind(told.not_before)
        .bind(told.not_after)
        .bind(now)
        .bind(&told.caller)
        .bind(&told.proof)
        .bind(&told.entry_id)
        .bind(&svid.der)
        .bind(&guard.caller_sha256)
        .bind(&guard.token_hash)
        .bind(guard.despite_suspension)
        .bind(told.key_bits)
        .bind(&told.signature_algorithm)
        .bind(&told.location.cluster)
        .bind(&told.location.namespace)
        .bind(&told.location.pod)
        .bind(&told.location.node)
        .bind(&told.location.address)
        .bind(metadata)
        .bind(log.next()?)
        .bind(told.proven_at)
        .bind(&told.proven_by)
        .bind(&told.evidence_sha256)
        .bind(serde_json::Value::from(told.selectors.as_slice()).to_string())
        .bind(&told.rule)
        .fetch_optional(&mut *connection)
        .await?;
    let Some(id) = inserted else {
        return diagnose(connection, new, guard)
            .await
            .map(RecordOutcome::Refused);
    };
    for (name, value) in new.context.metadata.pairs() {
        sqlx::query(INSERT_METADATA)
            .bind(id)
            .bind(name)
            .bind(value)
            .execute(&mut *connection)
            .await?;
    }
    told.row = id;
    let serial = told.serial.clone();
    log.append(now, Event::Certificate(Box::new(told)))?;
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

/// What the log tells of a certificate.
fn told(new: &NewCertificate, guard: &Guard) -> event::Certificate {
    let svid = &new.svid;
    event::Certificate {
        // Known once it is written.
        row: 0,
        serial: svid.serial.to_string(),
        sha256: svid.sha256.clone(),
        spiffe_id: svid.spiffe_id.to_string(),
        issuer_sha256: svid.issuer_sha256.clone(),
        key_type: svid.key_type.to_string(),
        key_bits: i64::try_from(svid.key_type.bits()).ok(),
        signature_algorithm: Some(signature_algorithm(&svid.der).to_owned()),
        spki_sha256: svid.spki_sha256.clone(),
        not_before: svid.not_before.as_secs(),
        not_after: svid.not_after.as_secs(),
        issued_at: new.issued_at.as_secs(),
        caller: new.caller.clone(),
        proof: new.proof.to_owned(),
        entry_id: svid.entry_id.clone(),
        token: guard.token_hash.clone(),
        location: new.context.location.clone().completed(&svid.spiffe_id),
        metadata: new.context.metadata.pairs().clone(),
        proven_at: new.origin.proven_at.as_secs(),
        proven_by: new.origin.proven_by.clone(),
        evidence_sha256: new.origin.evidence_sha256.clone(),
        selectors: new.origin.selectors.clone(),
        rule: new.rule.clone(),
    }
}

/// The name of the algorithm that a certificate is signed with (RFC 5758, RFC 8017, RFC 8410), or
/// `unknown`.
pub(super) fn signature_algorithm(der: &[u8]) -> &'static str {
    // `Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm SEQUENCE { OID … }, … }`
    let oid = Any::from_der(der)
        .ok()
        .and_then(|(_, outer)| Any::from_der(outer.data).ok())
        .and_then(|(after_tbs, _)| Any::from_der(after_tbs).ok())
        .and_then(|(_, identifier)| Oid::from_der(identifier.data).ok());
    let Some((_, oid)) = oid else {
        return "unknown";
    };
    let known = [
        (oid_registry::OID_SIG_ECDSA_WITH_SHA256, "ecdsa-with-sha256"),
        (oid_registry::OID_SIG_ECDSA_WITH_SHA384, "ecdsa-with-sha384"),
        (oid_registry::OID_SIG_ECDSA_WITH_SHA512, "ecdsa-with-sha512"),
        (oid_registry::OID_PKCS1_SHA256WITHRSA, "sha256-with-rsa"),
        (oid_registry::OID_PKCS1_SHA384WITHRSA, "sha384-with-rsa"),
        (oid_registry::OID_PKCS1_SHA512WITHRSA, "sha512-with-rsa"),
        (oid_registry::OID_PKCS1_RSASSAPSS, "rsassa-pss"),
        (oid_registry::OID_SIG_ED25519, "ed25519"),
    ];
    known
        .into_iter()
        .find_map(|(known, name)| (known == oid).then_some(name))
        .unwrap_or("unknown")
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
    issued_at, caller, proof, entry_id, state_since, der, key_bits, signature_algorithm, cluster,
    namespace, pod, node, address, metadata, leaf, proven_at, proven_by, evidence_sha256,
    selectors, rule)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?9, ?13, ?17, ?18, ?19, ?20, ?21, ?22,
    ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30
WHERE (?16 OR NOT EXISTS (
        SELECT 1 FROM certificates
        WHERE spiffe_id = ?3 AND state = 'suspended' AND not_after >= ?9))
    AND (?12 IS NULL OR EXISTS (SELECT 1 FROM entries WHERE id = ?12))
    AND (?14 IS NULL OR EXISTS (
        SELECT 1 FROM certificates WHERE sha256 = ?14 AND state = 'good'))
    AND (?15 IS NULL OR EXISTS (
        SELECT 1 FROM join_tokens WHERE hash = ?15 AND spent_at IS NULL AND expires_at >= ?9))
RETURNING id";
const INSERT_METADATA: &str =
    "INSERT INTO certificate_metadata (certificate_id, name, value) VALUES (?, ?, ?)";
