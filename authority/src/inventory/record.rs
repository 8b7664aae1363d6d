//! Rows as the rest of the authority sees them.

use std::fmt;
use std::str::FromStr;

use identity::{SpiffeId, UnixTime};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::inventory::{InventoryError, Location, Metadata};

/// Whether a certificate is accepted.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum CertificateState {
    /// Accepted while it has not expired.
    Good,
    /// Refused until resumed.
    Suspended,
    /// Refused for good.
    Revoked,
}

impl CertificateState {
    /// The name in the record.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Suspended => "suspended",
            Self::Revoked => "revoked",
        }
    }
}

impl fmt::Display for CertificateState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is no [`CertificateState`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("state {found:?} is not one of good, suspended, revoked")]
pub struct UnknownState {
    /// The name found.
    pub found: String,
}

impl FromStr for CertificateState {
    type Err = UnknownState;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "good" => Ok(Self::Good),
            "suspended" => Ok(Self::Suspended),
            "revoked" => Ok(Self::Revoked),
            _ => Err(UnknownState {
                found: name.to_owned(),
            }),
        }
    }
}

/// A certificate on record. Digests and serial number are lower-case hex.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateRecord {
    /// Serial number.
    pub serial: String,
    /// SHA-256 of the DER.
    pub sha256: String,
    /// The identity certified.
    pub spiffe_id: SpiffeId,
    /// SHA-256 of the issuer's certificate.
    pub issuer_sha256: String,
    /// Kind of the certified key.
    pub key_type: String,
    /// SHA-256 of the SubjectPublicKeyInfo.
    pub spki_sha256: String,
    /// First second of validity.
    pub not_before: UnixTime,
    /// Last second of validity.
    pub not_after: UnixTime,
    /// When it was signed.
    pub issued_at: UnixTime,
    /// Who asked for it.
    pub caller: String,
    /// How the caller proved it.
    pub proof: String,
    /// The registration entry it lives on.
    pub entry_id: Option<String>,
    /// Whether it is accepted.
    pub state: CertificateState,
    /// Since when.
    pub state_since: UnixTime,
    /// Why, in the operator's words.
    pub reason: String,
    /// The certificate itself.
    pub der: Vec<u8>,
    /// The proof it goes back to.
    pub origin: Origin,
    /// Id of the issuance rule that allowed it; empty for one from before there were rules.
    pub rule: String,
    /// Length of the key in bits, where known.
    pub key_bits: Option<i64>,
    /// The signature's algorithm, where known.
    pub signature_algorithm: Option<String>,
    /// Where it is used, as far as the request told.
    pub location: Location,
    /// What else the request told.
    pub metadata: Metadata,
}

/// The proof that a certificate goes back to, over however many renewals.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin {
    /// When it was made.
    pub proven_at: UnixTime,
    /// Of which kind, as [`Proof::as_str`](crate::issue::Proof::as_str) names it.
    pub proven_by: String,
    /// SHA-256 of the token or foreign certificate shown, lower-case hex; empty for other kinds.
    pub evidence_sha256: String,
    /// What it proved, each as `type:value`.
    pub selectors: Vec<String>,
}

/// A registration entry: the agent `parent_id` may obtain certificates of `spiffe_id`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EntryRecord {
    /// Chosen by the authority.
    pub id: String,
    /// The agent.
    pub parent_id: SpiffeId,
    /// The workload.
    pub spiffe_id: SpiffeId,
    /// What a workload must show to be this one, each as `type:value`, sorted.
    pub selectors: Vec<String>,
    /// Longest lifetime of its certificates in seconds; zero for the authority's default.
    pub ttl_seconds: i64,
    /// When it was created.
    pub created_at: UnixTime,
}

/// A join token, known by its hash.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TokenRecord {
    /// SHA-256 of the token, lower-case hex.
    pub hash: String,
    /// The identity it is good for.
    pub spiffe_id: SpiffeId,
    /// Last second in which it can be spent.
    pub expires_at: UnixTime,
    /// What it was spent for.
    pub spent: Option<SpentToken>,
}

/// What a join token was spent for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SpentToken {
    /// When.
    pub at: UnixTime,
    /// SHA-256 of the SubjectPublicKeyInfo of the CSR, lower-case hex.
    pub spki_sha256: String,
    /// Serial number of the certificate.
    pub serial: String,
}

/// A request that was turned down.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RefusalRecord {
    /// When.
    pub at: UnixTime,
    /// Who asked, as far as known.
    pub caller: String,
    /// The identity asked for, as far as known; else empty.
    pub spiffe_id: String,
    /// The rule that failed, snake case.
    pub code: String,
    /// The rule that failed, as a sentence.
    pub detail: String,
    /// Whether it may be an attack.
    pub alarm: bool,
}

/// How much is on record.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Certificates.
    pub certificates: u64,
    /// Of these, not expired.
    pub unexpired: u64,
    /// Of the unexpired, suspended.
    pub suspended: u64,
    /// Of the unexpired, revoked.
    pub revoked: u64,
    /// Registration entries.
    pub entries: u64,
    /// Refusals.
    pub refusals: u64,
}

/// The columns [`certificate`] reads.
pub(crate) const CERTIFICATE_COLUMNS: &str = "serial, sha256, spiffe_id, issuer_sha256, key_type, \
     spki_sha256, not_before, not_after, issued_at, caller, proof, entry_id, state, state_since, \
     reason, der, proven_at, proven_by, evidence_sha256, selectors, rule, key_bits, \
     signature_algorithm, cluster, namespace, pod, node, address, metadata";

pub(crate) fn certificate(row: &SqliteRow) -> Result<CertificateRecord, InventoryError> {
    Ok(CertificateRecord {
        serial: text(row, "serial")?,
        sha256: text(row, "sha256")?,
        spiffe_id: id(row, "spiffe_id")?,
        issuer_sha256: text(row, "issuer_sha256")?,
        key_type: text(row, "key_type")?,
        spki_sha256: text(row, "spki_sha256")?,
        not_before: time(row, "not_before")?,
        not_after: time(row, "not_after")?,
        issued_at: time(row, "issued_at")?,
        caller: text(row, "caller")?,
        proof: text(row, "proof")?,
        entry_id: row.try_get("entry_id").map_err(InventoryError::Query)?,
        state: state(row)?,
        state_since: time(row, "state_since")?,
        reason: text(row, "reason")?,
        der: row.try_get("der").map_err(InventoryError::Query)?,
        origin: Origin {
            proven_at: time(row, "proven_at")?,
            proven_by: text(row, "proven_by")?,
            evidence_sha256: text(row, "evidence_sha256")?,
            selectors: selectors(row)?,
        },
        rule: text(row, "rule")?,
        key_bits: row.try_get("key_bits").map_err(InventoryError::Query)?,
        signature_algorithm: maybe(row, "signature_algorithm")?,
        location: Location {
            cluster: maybe(row, "cluster")?,
            namespace: maybe(row, "namespace")?,
            pod: maybe(row, "pod")?,
            node: maybe(row, "node")?,
            address: maybe(row, "address")?,
        },
        metadata: metadata(row)?,
    })
}

fn selectors(row: &SqliteRow) -> Result<Vec<String>, InventoryError> {
    let selectors = text(row, "selectors")?;
    serde_json::from_str(&selectors).map_err(|_not_json| InventoryError::BadRow {
        column: "selectors",
        value: selectors.clone(),
    })
}

pub(super) fn entry(row: &SqliteRow) -> Result<EntryRecord, InventoryError> {
    Ok(EntryRecord {
        id: text(row, "id")?,
        parent_id: id(row, "parent_id")?,
        spiffe_id: id(row, "spiffe_id")?,
        selectors: selectors(row)?,
        ttl_seconds: row.try_get("ttl_seconds").map_err(InventoryError::Query)?,
        created_at: time(row, "created_at")?,
    })
}

pub(super) fn token(row: &SqliteRow) -> Result<TokenRecord, InventoryError> {
    let spent_at: Option<i64> = row.try_get("spent_at").map_err(InventoryError::Query)?;
    let spent = match spent_at {
        None => None,
        Some(at) => Some(SpentToken {
            at: UnixTime::from_secs(at),
            spki_sha256: text(row, "spent_spki")?,
            serial: text(row, "serial")?,
        }),
    };
    Ok(TokenRecord {
        hash: text(row, "hash")?,
        spiffe_id: id(row, "spiffe_id")?,
        expires_at: time(row, "expires_at")?,
        spent,
    })
}

pub(super) fn refusal(row: &SqliteRow) -> Result<RefusalRecord, InventoryError> {
    Ok(RefusalRecord {
        at: time(row, "at")?,
        caller: text(row, "caller")?,
        spiffe_id: text(row, "spiffe_id")?,
        code: text(row, "code")?,
        detail: text(row, "detail")?,
        alarm: row.try_get("alarm").map_err(InventoryError::Query)?,
    })
}

fn text(row: &SqliteRow, column: &'static str) -> Result<String, InventoryError> {
    row.try_get(column).map_err(InventoryError::Query)
}

fn maybe(row: &SqliteRow, column: &'static str) -> Result<Option<String>, InventoryError> {
    row.try_get(column).map_err(InventoryError::Query)
}

fn metadata(row: &SqliteRow) -> Result<Metadata, InventoryError> {
    let Some(text) = maybe(row, "metadata")? else {
        return Ok(Metadata::default());
    };
    Metadata::from_json(&text).ok_or(InventoryError::BadRow {
        column: "metadata",
        value: text,
    })
}

fn time(row: &SqliteRow, column: &'static str) -> Result<UnixTime, InventoryError> {
    row.try_get(column)
        .map(UnixTime::from_secs)
        .map_err(InventoryError::Query)
}

fn id(row: &SqliteRow, column: &'static str) -> Result<SpiffeId, InventoryError> {
    let value = text(row, column)?;
    SpiffeId::new(&value).map_err(|_bad| InventoryError::BadRow { column, value })
}

fn state(row: &SqliteRow) -> Result<CertificateState, InventoryError> {
    let value = text(row, "state")?;
    value.parse().map_err(|_bad| InventoryError::BadRow {
        column: "state",
        value,
    })
}
