//! Proofs out of the log, and its leaves.

use sqlx::Row as _;

use super::{read, signed};
use crate::audit::merkle::{Hash, Span, consistency_spans, inclusion_spans};
use crate::inventory::{Inventory, InventoryError};

/// That a leaf is in the log (RFC 6962 §2.1.1).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InclusionProof {
    /// The leaf's position.
    pub position: u64,
    /// The leaf, JSON in its one form.
    pub leaf: String,
    /// Hashes from the leaf up to the root of the head.
    pub path: Vec<Hash>,
    /// The signed head.
    pub head: String,
}

/// That one tree is the beginning of another (RFC 6962 §2.1.2).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConsistencyProof {
    /// Size of the first and its root.
    pub old: (u64, Hash),
    /// Size of the second and its root.
    pub new: (u64, Hash),
    /// Hashes that lead to both roots.
    pub path: Vec<Hash>,
}

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The record failed.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
    /// No such certificate.
    #[error("no certificate has the serial number {serial}")]
    UnknownSerial {
        /// The serial number.
        serial: String,
    },
    /// The certificate is older than the log, which has only a digest over all such.
    #[error(
        "certificate {serial} is from before the log: its first leaf commits to all such together"
    )]
    BeforeTheLog {
        /// The serial number.
        serial: String,
    },
    /// The leaf is there, but no head that covers it is signed yet.
    #[error("leaf {position} is not under a signed head yet; the next one is due within a minute")]
    NotSigned {
        /// The leaf.
        position: u64,
    },
    /// No such leaf or tree.
    #[error("the log has {size} leaves: {asked} is not within")]
    OutOfRange {
        /// What was asked for.
        asked: u64,
        /// Size of the log.
        size: u64,
    },
    /// Sizes that cannot be compared.
    #[error("sizes {old} and {new}: the first must be at least 1 and no more than the second")]
    BadSizes {
        /// The first.
        old: u64,
        /// The second.
        new: u64,
    },
}

impl Inventory {
    /// The proof that the certificate with this serial number is in the log.
    pub(crate) async fn prove_certificate(
        &self,
        serial: &str,
    ) -> Result<InclusionProof, ProofError> {
        let leaf: Option<Option<i64>> = sqlx::query_scalar(LEAF_OF_SERIAL)
            .bind(serial)
            .fetch_optional(&self.searchers)
            .await
            .map_err(InventoryError::Query)?;
        let serial = serial.to_owned();
        match leaf {
            None => Err(ProofError::UnknownSerial { serial }),
            Some(None) => Err(ProofError::BeforeTheLog { serial }),
            Some(Some(leaf)) => self.prove_leaf(leaf.unsigned_abs()).await,
        }
    }

    /// The proof that the leaf at this position is in the log.
    pub(crate) async fn prove_leaf(&self, position: u64) -> Result<InclusionProof, ProofError> {
        let mut connection = self
            .searchers
            .acquire()
            .await
            .map_err(InventoryError::Query)?;
        let query = |error| ProofError::Inventory(InventoryError::Query(error));
        let size = read::size(&mut connection).await.map_err(query)?;
        if position >= size {
            return Err(ProofError::OutOfRange {
                asked: position,
                size,
            });
        }
        let head = read::last_head(&mut connection).await.map_err(query)?;
        let Some(head) = head.filter(|head| head.size > position) else {
            return Err(ProofError::NotSigned { position });
        };
        let leaf: String = sqlx::query_scalar(LEAF)
            .bind(signed(position).map_err(query)?)
            .fetch_one(&mut *connection)
            .await
            .map_err(query)?;
        let spans = inclusion_spans(position, head.size).unwrap_or_default();
        let path = path(&mut connection, spans).await.map_err(query)?;
        Ok(InclusionProof {
            position,
            leaf,
            path,
            head: head.note,
        })
    }

    /// The proof that the first `old` leaves are the beginning of the first `new`; all there are
    /// for 0.
    pub(crate) async fn prove_consistency(
        &self,
        old: u64,
        new: u64,
    ) -> Result<ConsistencyProof, ProofError> {
        let mut connection = self
            .searchers
            .acquire()
            .await
            .map_err(InventoryError::Query)?;
        let query = |error| ProofError::Inventory(InventoryError::Query(error));
        let size = read::size(&mut connection).await.map_err(query)?;
        let new = if new == 0 { size } else { new };
        if new > size {
            return Err(ProofError::OutOfRange { asked: new, size });
        }
        let spans = consistency_spans(old, new).ok_or(ProofError::BadSizes { old, new })?;
        Ok(ConsistencyProof {
            old: (old, read::root(&mut connection, old).await.map_err(query)?),
            new: (new, read::root(&mut connection, new).await.map_err(query)?),
            path: path(&mut connection, spans).await.map_err(query)?,
        })
    }

    /// The signed head of at most this size, the last one for 0; none if there is none.
    pub(crate) async fn signed_head(&self, size: u64) -> Result<Option<String>, InventoryError> {
        let most = if size == 0 {
            i64::MAX
        } else {
            signed(size).unwrap_or(i64::MAX)
        };
        sqlx::query_scalar(HEAD_UP_TO)
            .bind(most)
            .fetch_optional(&self.searchers)
            .await
            .map_err(InventoryError::Query)
    }

    /// Leaves before this position, the newest first: position and text.
    pub(crate) async fn leaves_before(
        &self,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<(u64, String)>, InventoryError> {
        let before = before
            .and_then(|before| signed(before).ok())
            .unwrap_or(i64::MAX);
        let rows = sqlx::query(LEAVES_BEFORE)
            .bind(before)
            .bind(limit)
            .fetch_all(&self.searchers)
            .await
            .map_err(InventoryError::Query)?;
        rows.iter()
            .map(|row| {
                let position: i64 = row.try_get("position").map_err(InventoryError::Query)?;
                let body = row.try_get("body").map_err(InventoryError::Query)?;
                Ok((position.unsigned_abs(), body))
            })
            .collect()
    }
}

async fn path(
    connection: &mut sqlx::SqliteConnection,
    spans: Vec<Span>,
) -> Result<Vec<Hash>, sqlx::Error> {
    let mut path = Vec::with_capacity(spans.len());
    for span in spans {
        path.push(read::span(connection, span).await?);
    }
    Ok(path)
}

const LEAF_OF_SERIAL: &str = "SELECT leaf FROM certificates WHERE serial = ?";
const LEAF: &str = "SELECT body FROM audit_leaves WHERE position = ?";
const HEAD_UP_TO: &str = "SELECT note FROM audit_heads WHERE size <= ? ORDER BY size DESC LIMIT 1";
const LEAVES_BEFORE: &str =
    "SELECT position, body FROM audit_leaves WHERE position < ? ORDER BY position DESC LIMIT ?";
