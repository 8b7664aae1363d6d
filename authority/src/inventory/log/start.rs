//! Opening the log: beginning one, or finding that the one there is not what it was.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlx::{Connection as _, SqliteConnection};

use super::adopt::adopt;
use super::{Log, read};
use crate::audit::event::{Event, Leaf, RecordAccepted};
use crate::audit::key::{LogKey, LogKeyError};
use crate::audit::merkle::Hash;
use crate::audit::note::{TreeHead, origin};
use crate::audit::position::{Position, PositionError};
use crate::clock::{Clock, SystemClock};
use crate::inventory::{InventoryError, ListHead};

/// How the log is kept.
#[derive(Clone, Debug)]
pub(crate) struct LogOptions {
    /// File of the key.
    pub(crate) key: PathBuf,
    /// File of the public key, written for whoever verifies.
    pub(crate) public_key: PathBuf,
    /// File of the position.
    pub(crate) position: PathBuf,
    /// A head is signed when the log has grown and the last one is this many seconds old.
    pub(crate) head_period: i64,
    /// Whether a record older than the position is accepted, with what that loses.
    pub(crate) accept_lost: bool,
    /// The clock.
    pub(crate) clock: Arc<dyn Clock>,
}

impl LogOptions {
    /// Everything beside the database at `path`.
    pub(crate) fn beside(path: &Path) -> Self {
        Self {
            key: path.with_file_name(crate::settings::names::AUDIT_KEY),
            public_key: path.with_file_name(crate::settings::names::AUDIT_PUBLIC_KEY),
            position: path.with_file_name(crate::settings::names::POSITION),
            head_period: DEFAULT_HEAD_PERIOD,
            accept_lost: false,
            clock: Arc::new(SystemClock),
        }
    }
}

/// How a record falls short of its position.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "the record is an older one: its audit log has {found} entries{}, but one of {expected} was \
     signed at {signed}; what was revoked meanwhile would be accepted again. Restore a newer \
     backup, or start with --accept-lost-revocations",
    if *.differs { " of another history" } else { "" }
)]
pub struct LostRecord {
    /// Size of the log found.
    pub found: u64,
    /// Size of the log that was signed.
    pub expected: u64,
    /// When, from the signed head; seconds since the Unix epoch.
    pub signed: i64,
    /// Whether the log is long enough, but another one.
    pub differs: bool,
}

impl Log {
    /// Opens the log of the record behind `connection`, or begins it.
    ///
    /// # Errors
    /// [`InventoryError`], also for a record older than its position.
    pub(crate) async fn open(
        connection: &mut SqliteConnection,
        trust_domain: &str,
        options: &LogOptions,
    ) -> Result<Self, InventoryError> {
        let begun = read::size(connection)
            .await
            .map_err(InventoryError::Query)?
            > 0;
        if begun && options.key.try_exists().is_ok_and(|there| !there) {
            let path = options.key.clone();
            return Err(LogKeyError::Missing { path }.into());
        }
        let key = LogKey::open(&options.key)?;
        let mut log = Self {
            frontier: read::frontier(connection).await.map_err(damaged)?,
            distrusted: false,
            origin: origin(trust_domain, key.public()),
            key,
            numbers: read::numbers(connection).await.map_err(damaged)?,
            head: read::last_head(connection).await.map_err(damaged)?,
            clock: Arc::clone(&options.clock),
            head_period: options.head_period,
            position_path: options.position.clone(),
            refusals_at: None,
        };
        if begun {
            log.check(connection, &options.key).await?;
        }
        let known = Position::read(&options.position)?;
        let lost = match &known {
            Some(position) => log.falls_short(connection, position).await?,
            None => None,
        };
        if let Some(lost) = &lost {
            if !options.accept_lost {
                return Err(InventoryError::LostRecord(lost.clone()));
            }
            tracing::error!(alarm = true, %lost, "a record older than its position is accepted");
        }
        write_public_key(&options.public_key, &log.key)?;
        log.first_transaction(
            connection,
            trust_domain,
            known.clone().filter(|_| lost.is_some()),
        )
        .await
        .map_err(InventoryError::Query)?;
        if let Some(position) = known {
            log.raise_numbers(connection, &position)
                .await
                .map_err(InventoryError::Query)?;
        }
        log.write_position().await;
        Ok(log)
    }

    /// The key is the log's, and the last head is what it signed.
    async fn check(
        &self,
        connection: &mut SqliteConnection,
        key_path: &Path,
    ) -> Result<(), InventoryError> {
        let body: String = sqlx::query_scalar(FIRST_LEAF)
            .fetch_one(&mut *connection)
            .await
            .map_err(damaged)?;
        let first = Leaf::parse(&body).map_err(|error| damage(&error.to_string()))?;
        let Event::Start(start) = first.event else {
            return Err(damage("its first leaf is not its beginning"));
        };
        let found = self.key.public().id();
        if found != start.log {
            return Err(LogKeyError::OtherKey {
                path: key_path.to_owned(),
                found,
                expected: start.log,
            }
            .into());
        }
        let Some(stored) = &self.head else {
            return Ok(());
        };
        let head = TreeHead::open(&stored.note, &self.origin, self.key.public())
            .map_err(|error| damage(&error.to_string()))?;
        if head.size > self.frontier.size() {
            return Err(damage("leaves are missing at its end"));
        }
        let root = read::root(connection, head.size).await.map_err(damaged)?;
        if root != head.root || head.size != stored.size {
            return Err(damage("its last signed head does not fit its leaves"));
        }
        Ok(())
    }

    async fn falls_short(
        &self,
        connection: &mut SqliteConnection,
        position: &Position,
    ) -> Result<Option<LostRecord>, InventoryError> {
        let found = self.frontier.size();
        let lost = |differs| LostRecord {
            found,
            expected: position.size,
            signed: signed_at(&position.head),
            differs,
        };
        if found < position.size {
            return Ok(Some(lost(false)));
        }
        let root = read::root(connection, position.size)
            .await
            .map_err(damaged)?;
        // The file was parsed: its root is a hash.
        let same = position.root.parse::<Hash>() == Ok(root);
        Ok((!same).then(|| lost(true)))
    }

    /// Begins the log, or accepts what is lost; both are in the log and under a signed head before
    /// anything else is written.
    async fn first_transaction(
        &mut self,
        connection: &mut SqliteConnection,
        trust_domain: &str,
        lost: Option<Position>,
    ) -> Result<(), sqlx::Error> {
        let fresh = self.frontier.size() == 0;
        if !fresh && lost.is_none() {
            return Ok(());
        }
        let now = self.clock.now().as_secs();
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        let mut batch = self.begin(&mut transaction).await?;
        batch.seal();
        if fresh {
            adopt(&mut transaction, &mut batch, &self.key, trust_domain, now).await?;
        }
        if let Some(position) = lost {
            let epoch = position.epoch.max(self.numbers.epoch).saturating_add(1);
            let epoch = epoch.max(u64::try_from(now).unwrap_or(0));
            let sequence = position.sequence.max(self.numbers.sequence);
            let head = ListHead { epoch, sequence };
            raise(&mut transaction, head).await?;
            batch.numbered(head);
            let event = Event::RecordAccepted(RecordAccepted {
                lost_size: position.size,
                lost_root: position.root,
                lost_epoch: position.epoch,
                lost_sequence: position.sequence,
                epoch,
            });
            batch.append(now, event)?;
        }
        let written = self.write(&mut transaction, batch).await?;
        transaction.commit().await?;
        self.committed(written).await;
        Ok(())
    }

    /// Numbers of deny lists go on from the highest known, wherever it is.
    async fn raise_numbers(
        &mut self,
        connection: &mut SqliteConnection,
        position: &Position,
    ) -> Result<(), sqlx::Error> {
        let head = ListHead {
            epoch: self.numbers.epoch.max(position.epoch),
            sequence: self.numbers.sequence.max(position.sequence),
        };
        if head != self.numbers {
            raise(connection, head).await?;
            self.numbers = head;
        }
        Ok(())
    }
}

async fn raise(connection: &mut SqliteConnection, head: ListHead) -> Result<(), sqlx::Error> {
    sqlx::query(RAISE)
        .bind(super::signed(head.epoch)?)
        .bind(super::signed(head.sequence)?)
        .execute(connection)
        .await?;
    Ok(())
}

fn write_public_key(path: &Path, key: &LogKey) -> Result<(), InventoryError> {
    let pem = key.public().to_pem();
    if std::fs::read_to_string(path).is_ok_and(|there| there == pem) {
        return Ok(());
    }
    crate::ca::files::replace_public(path, pem.as_bytes()).map_err(|source| {
        PositionError::Io {
            action: "write",
            path: path.to_owned(),
            source,
        }
        .into()
    })
}

/// The time in a signed head that was not verified; 0 if there is none.
pub(crate) fn signed_at(note: &str) -> i64 {
    note.lines()
        .find_map(|line| line.strip_prefix("time "))
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

fn damaged(error: sqlx::Error) -> InventoryError {
    match error {
        sqlx::Error::Decode(cause) => damage(&cause.to_string()),
        other => InventoryError::Query(other),
    }
}

fn damage(problem: &str) -> InventoryError {
    InventoryError::AuditLog {
        problem: problem.to_owned(),
    }
}

/// Seconds between signed heads where nothing else is said.
pub(crate) const DEFAULT_HEAD_PERIOD: i64 = 60;

const FIRST_LEAF: &str = "SELECT body FROM audit_leaves WHERE position = 0";
const RAISE: &str = "UPDATE deny_list_head SET epoch = max(epoch, ?), sequence = max(sequence, ?)";
