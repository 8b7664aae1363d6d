//! Suspending, resuming and revoking, and the deny list's number that goes with each.

use identity::deny_list::MAX_CLOCK_AHEAD_SECONDS;
use identity::{SpiffeId, UnixTime};
use sqlx::{AssertSqlSafe, Row as _, SqliteConnection};

use crate::audit::event::{self, Event};
use crate::inventory::log::Batch;
use crate::inventory::record::{self, CERTIFICATE_COLUMNS};
use crate::inventory::writer::Tx;
use crate::inventory::{CertificateRecord, CertificateState, Inventory, InventoryError};

/// Which certificates a change is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Selector {
    /// The one with this serial number, lower-case hex.
    Serial(String),
    /// The one with this SHA-256, lower-case hex.
    Sha256(String),
    /// Every one of this identity that has not expired by a verifier's clock, which may be a little
    /// behind.
    Identity(SpiffeId),
}

/// What to do with certificates.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StateAction {
    /// Stop accepting until resumed.
    Suspend,
    /// Take a suspension back.
    Resume,
    /// Stop accepting for good.
    Revoke,
}

impl StateAction {
    /// The name in the record.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Suspend => "suspend",
            Self::Resume => "resume",
            Self::Revoke => "revoke",
        }
    }

    const fn target(self) -> CertificateState {
        match self {
            Self::Suspend => CertificateState::Suspended,
            Self::Resume => CertificateState::Good,
            Self::Revoke => CertificateState::Revoked,
        }
    }
}

/// Number of a deny list that may be signed once.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ListHead {
    /// The epoch.
    pub epoch: u64,
    /// The number in its epoch.
    pub sequence: u64,
}

/// A certificate that belongs on the deny list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeniedCertificate {
    /// SHA-256 of the DER, lower-case hex.
    pub sha256: String,
    /// Suspended or revoked.
    pub state: CertificateState,
    /// Since when.
    pub since: UnixTime,
}

/// A change that is durable.
#[derive(Clone, Debug)]
pub struct StateChange {
    /// The certificates that changed, as they are now.
    pub changed: Vec<CertificateRecord>,
    /// Number for the list that carries the change.
    pub head: ListHead,
    /// What belongs on that list.
    pub denied: Vec<DeniedCertificate>,
}

/// Why a change is refused. Nothing was changed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// No such certificate.
    #[error("no certificate matches")]
    NotFound,
    /// Revocation cannot be taken back.
    #[error("certificate {serial} is revoked, which is final")]
    Revoked {
        /// Its serial number.
        serial: String,
    },
    /// The deny list cannot carry more.
    #[error("the deny list would have {entries} entries, limit is {max}")]
    ListFull {
        /// How many it would have.
        entries: usize,
        /// The limit.
        max: usize,
    },
}

impl Inventory {
    /// Changes the state of certificates and counts the deny list up, in one transaction.
    pub(crate) async fn change_state(
        &self,
        selector: Selector,
        action: StateAction,
        reason: String,
        operator: String,
        now: UnixTime,
    ) -> Result<Result<StateChange, ChangeError>, InventoryError> {
        self.writer
            .write(move |tx| {
                Box::pin(async move {
                    let note = Note {
                        action,
                        reason,
                        operator,
                        now,
                    };
                    change(tx, &selector, &note).await
                })
            })
            .await
    }

    /// Opens a new epoch of the deny list, named after the second it is opened in. Sequence numbers
    /// go on.
    ///
    /// An authority does so at each start, since a record that was restored from a backup cannot
    /// tell: it would give out numbers a second time, which verifiers refuse until they have passed
    /// the highest known. A clock that is set back changes nothing.
    pub(crate) async fn open_epoch(&self, now: UnixTime) -> Result<(), InventoryError> {
        self.writer
            .write(move |Tx { connection, .. }| {
                Box::pin(async move {
                    sqlx::query("UPDATE deny_list_head SET epoch = max(epoch, ?)")
                        .bind(now.as_secs())
                        .execute(connection)
                        .await?;
                    Ok(())
                })
            })
            .await
    }

    /// The next number of the deny list, durable, and what belongs on it.
    pub(crate) async fn next_list(
        &self,
        now: UnixTime,
    ) -> Result<(ListHead, Vec<DeniedCertificate>), InventoryError> {
        self.writer
            .write(move |Tx { connection, log }| {
                Box::pin(async move {
                    let head = count_up(connection).await?;
                    log.numbered(head);
                    Ok((head, denied(connection, now).await?))
                })
            })
            .await
    }
}

/// What the record says about a change.
struct Note {
    action: StateAction,
    reason: String,
    operator: String,
    now: UnixTime,
}

/// The outer error rolls back; the inner one says why nothing was changed.
async fn change(
    Tx { connection, log }: Tx<'_>,
    selector: &Selector,
    note: &Note,
) -> Result<Result<StateChange, ChangeError>, sqlx::Error> {
    let found = select(connection, selector, note.now).await?;
    let listed = denied(connection, note.now).await?.len();
    let affected = match plan(found, selector, note.action, listed) {
        Ok(affected) => affected,
        Err(refused) => return Ok(Err(refused)),
    };
    let mut changed = Vec::with_capacity(affected.len());
    for mut certificate in affected {
        apply(connection, log, &certificate.serial, note).await?;
        certificate.state = note.action.target();
        certificate.state_since = note.now;
        certificate.reason.clone_from(&note.reason);
        changed.push(certificate);
    }
    let head = count_up(connection).await?;
    log.numbered(head);
    // What is taken back stays so, whatever becomes of the database: the position says it.
    log.seal();
    let denied = denied(connection, note.now).await?;
    Ok(Ok(StateChange {
        changed,
        head,
        denied,
    }))
}

async fn select(
    connection: &mut SqliteConnection,
    selector: &Selector,
    now: UnixTime,
) -> Result<Vec<CertificateRecord>, sqlx::Error> {
    let (condition, value) = match selector {
        Selector::Serial(serial) => ("serial = ?1", serial.clone()),
        Selector::Sha256(sha256) => ("sha256 = ?1", sha256.clone()),
        Selector::Identity(id) => ("spiffe_id = ?1 AND not_after >= ?2", id.to_string()),
    };
    let sql =
        format!("SELECT {CERTIFICATE_COLUMNS} FROM certificates WHERE {condition} ORDER BY id");
    let query = sqlx::query(AssertSqlSafe(sql)).bind(value);
    let rows = match selector {
        Selector::Identity(_) => {
            query
                .bind(oldest_accepted(now))
                .fetch_all(connection)
                .await?
        }
        _ => query.fetch_all(connection).await?,
    };
    rows.iter()
        .map(record::certificate)
        .collect::<Result<_, _>>()
        .map_err(unreadable)
}

/// The certificates to change: not those that are so already, and a revoked one never back.
fn plan(
    found: Vec<CertificateRecord>,
    selector: &Selector,
    action: StateAction,
    listed: usize,
) -> Result<Vec<CertificateRecord>, ChangeError> {
    if found.is_empty() {
        return Err(ChangeError::NotFound);
    }
    let target = action.target();
    let mut affected = Vec::new();
    for certificate in found {
        if certificate.state == target {
            continue;
        }
        if certificate.state == CertificateState::Revoked {
            // Of a whole identity the revoked ones are simply left as they are.
            if matches!(selector, Selector::Identity(_)) {
                continue;
            }
            return Err(ChangeError::Revoked {
                serial: certificate.serial,
            });
        }
        affected.push(certificate);
    }
    let added = affected
        .iter()
        .filter(|c| c.state == CertificateState::Good)
        .count();
    let entries = listed.saturating_add(added);
    let max = identity::deny_list::MAX_ENTRIES;
    if added > 0 && entries > max {
        return Err(ChangeError::ListFull { entries, max });
    }
    Ok(affected)
}

async fn apply(
    connection: &mut SqliteConnection,
    log: &mut Batch,
    serial: &str,
    note: &Note,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE certificates SET state = ?, state_since = ?, reason = ? WHERE serial = ?")
        .bind(note.action.target().as_str())
        .bind(note.now.as_secs())
        .bind(&note.reason)
        .bind(serial)
        .execute(&mut *connection)
        .await?;
    let row: i64 = sqlx::query_scalar(
        "INSERT INTO state_changes (at, serial, action, reason, operator, leaf) \
         VALUES (?, ?, ?, ?, ?, ?) RETURNING id",
    )
    .bind(note.now.as_secs())
    .bind(serial)
    .bind(note.action.as_str())
    .bind(&note.reason)
    .bind(&note.operator)
    .bind(log.next()?)
    .fetch_one(connection)
    .await?;
    let told = event::StateChange {
        row,
        serial: serial.to_owned(),
        action: note.action.as_str().to_owned(),
        reason: note.reason.clone(),
        operator: note.operator.clone(),
    };
    log.append(note.now.as_secs(), Event::StateChange(told))?;
    Ok(())
}

/// Takes the next number. It is committed before anything is signed with it, so a number is never
/// signed twice, whatever happens in between.
async fn count_up(connection: &mut SqliteConnection) -> Result<ListHead, sqlx::Error> {
    let row =
        sqlx::query("UPDATE deny_list_head SET sequence = sequence + 1 RETURNING epoch, sequence")
            .fetch_one(connection)
            .await?;
    let number = |column| {
        let value: i64 = row.try_get(column)?;
        u64::try_from(value).map_err(|e| sqlx::Error::Decode(Box::new(e)))
    };
    Ok(ListHead {
        epoch: number("epoch")?,
        sequence: number("sequence")?,
    })
}

/// The earliest end of life, in seconds, of a certificate that a verifier may take at `now`: also one
/// that has just passed. A verifier takes a list from a little ahead of its own clock, and by that
/// clock the certificate may still be valid (RFC 5280 §3.3 keeps entries on CRLs beyond expiry for
/// the same reason).
const fn oldest_accepted(now: UnixTime) -> i64 {
    now.as_secs().saturating_sub(MAX_CLOCK_AHEAD_SECONDS)
}

/// What belongs on a list of `now`.
async fn denied(
    connection: &mut SqliteConnection,
    now: UnixTime,
) -> Result<Vec<DeniedCertificate>, sqlx::Error> {
    let rows: Vec<(String, String, i64)> = sqlx::query_as(
        "SELECT sha256, state, state_since FROM certificates \
         WHERE state <> 'good' AND not_after >= ? ORDER BY sha256",
    )
    .bind(oldest_accepted(now))
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|(sha256, state, since)| {
            let state = state.parse().map_err(|_bad| {
                unreadable(InventoryError::BadRow {
                    column: "state",
                    value: state,
                })
            })?;
            Ok(DeniedCertificate {
                sha256,
                state,
                since: UnixTime::from_secs(since),
            })
        })
        .collect()
}

/// A row nobody here wrote ends the transaction.
fn unreadable(error: InventoryError) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}
