//! Appending to the audit log within the writer's transactions.

use std::path::PathBuf;
use std::sync::Arc;

use identity::chain;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use crate::audit::event::{self, Event, Leaf};
use crate::audit::key::LogKey;
use crate::audit::merkle::{Block, Frontier, Hash};
use crate::audit::note::TreeHead;
use crate::audit::position::{self, Position};
use crate::clock::Clock;
use crate::inventory::{ListHead, refusals};

mod adopt;
pub(crate) mod proofs;
pub(crate) mod read;
pub(crate) mod start;

/// The log as the writer knows it.
#[derive(Debug)]
pub(crate) struct Log {
    frontier: Frontier,
    /// Whether the frontier must be read again: a commit failed, and what became of it is not known.
    distrusted: bool,
    origin: String,
    key: LogKey,
    /// The last deny list that was numbered.
    numbers: ListHead,
    head: Option<StoredHead>,
    clock: Arc<dyn Clock>,
    head_period: i64,
    position_path: PathBuf,
    /// The second in which refusals were put into the log last.
    refusals_at: Option<i64>,
}

/// The last signed head.
#[derive(Clone, Debug)]
pub(crate) struct StoredHead {
    size: u64,
    at: i64,
    root: Hash,
    note: String,
}

/// The leaves of one transaction.
#[derive(Debug)]
pub(crate) struct Batch {
    first: u64,
    leaves: Vec<(String, Hash)>,
    seal: bool,
    numbers: Option<ListHead>,
}

/// What a transaction made of the log, to be taken over once it is committed.
#[derive(Debug)]
pub(crate) struct Written {
    frontier: Frontier,
    head: Option<StoredHead>,
    numbers: Option<ListHead>,
    refusals_at: Option<i64>,
}

impl Batch {
    /// Appends a leaf; gives its position, for the row that it tells of.
    ///
    /// # Errors
    /// [`sqlx::Error::Encode`] if there is no such leaf, which ends the transaction.
    pub(crate) fn append(&mut self, at: i64, event: Event) -> Result<i64, sqlx::Error> {
        let position = self.next()?;
        let text = Leaf::new(at, event)
            .to_text()
            .map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
        let hash = event::hash(&text);
        self.leaves.push((text, hash));
        Ok(position)
    }

    /// The position of the next leaf.
    ///
    /// # Errors
    /// [`sqlx::Error::Encode`] beyond 2^63 leaves.
    pub(crate) fn next(&self) -> Result<i64, sqlx::Error> {
        let count = u64::try_from(self.leaves.len()).unwrap_or(u64::MAX);
        signed(self.first.saturating_add(count))
    }

    /// Has a head signed in this transaction, not only when one is due, and the position written
    /// before callers have their answer.
    pub(crate) const fn seal(&mut self) {
        self.seal = true;
    }

    /// Notes the number of a deny list, for the position.
    pub(crate) const fn numbered(&mut self, head: ListHead) {
        self.numbers = Some(head);
    }
}

impl Log {
    /// A batch for the transaction that has begun.
    ///
    /// # Errors
    /// What the database says, after a commit that failed.
    pub(crate) async fn begin(
        &mut self,
        connection: &mut SqliteConnection,
    ) -> Result<Batch, sqlx::Error> {
        if self.distrusted {
            self.frontier = read::frontier(connection).await?;
            self.numbers = read::numbers(connection).await?;
            self.head = read::last_head(connection).await?;
            self.distrusted = false;
        }
        Ok(Batch {
            first: self.frontier.size(),
            leaves: Vec::new(),
            seal: false,
            numbers: None,
        })
    }

    /// Nothing is known of what the database holds any more.
    pub(crate) const fn distrust(&mut self) {
        self.distrusted = true;
    }

    /// Writes the leaves, the nodes that they complete, and a head if one is due.
    ///
    /// # Errors
    /// What the database says.
    pub(crate) async fn write(
        &self,
        connection: &mut SqliteConnection,
        mut batch: Batch,
    ) -> Result<Written, sqlx::Error> {
        let now = self.clock.now().as_secs();
        let mut refusals_at = self.refusals_at;
        // One leaf a second at most: anybody can cause refusals, and the log keeps what it has.
        if batch.seal || refusals_at != Some(now) {
            let covered = refusals::cover(connection, &mut batch, now).await?;
            refusals_at = if covered { Some(now) } else { refusals_at };
        }
        let mut frontier = self.frontier.clone();
        let mut nodes = Vec::new();
        for (_, hash) in &batch.leaves {
            let completed = frontier.push(*hash).into_iter();
            nodes.extend(completed.filter(|(block, _)| is_stored(block.level)));
        }
        insert_leaves(connection, batch.first, &batch.leaves).await?;
        insert_nodes(connection, &nodes).await?;
        let numbers = batch.numbers.unwrap_or(self.numbers);
        let head = if self.is_head_due(&batch, &frontier, now) {
            let head = self.sign(&frontier, now, numbers);
            insert_head(connection, &head).await?;
            Some(head)
        } else {
            None
        };
        Ok(Written {
            frontier,
            head,
            numbers: batch.numbers,
            refusals_at,
        })
    }

    /// Takes over what is committed now, and writes the position if it has moved.
    pub(crate) async fn committed(&mut self, written: Written) {
        let moved = written.head.is_some() || written.numbers.is_some();
        self.frontier = written.frontier;
        self.refusals_at = written.refusals_at;
        self.numbers = written.numbers.unwrap_or(self.numbers);
        if written.head.is_some() {
            self.head = written.head;
        }
        if moved {
            self.write_position().await;
        }
    }

    /// What is committed stays so, whatever becomes of the file: a failure is only logged.
    async fn write_position(&self) {
        let Some(position) = self.position() else {
            return;
        };
        let path = self.position_path.clone();
        let written = tokio::task::spawn_blocking(move || position.write(&path)).await;
        match written {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(
                error = chain(&error),
                "the record's position was not written: an older record could be put in its place"
            ),
            Err(error) => tracing::error!(%error, "the record's position was not written"),
        }
    }

    fn position(&self) -> Option<Position> {
        self.head.as_ref().map(|head| Position {
            version: position::VERSION,
            epoch: self.numbers.epoch,
            sequence: self.numbers.sequence,
            size: head.size,
            root: head.root.to_string(),
            head: head.note.clone(),
        })
    }

    fn is_head_due(&self, batch: &Batch, frontier: &Frontier, now: i64) -> bool {
        let (size, at) = self
            .head
            .as_ref()
            .map_or((0, i64::MIN), |head| (head.size, head.at));
        // A clock that was set back does not put heads off.
        let waited = now < at || now.saturating_sub(at) >= self.head_period;
        frontier.size() > size && (batch.seal || waited)
    }

    fn sign(&self, frontier: &Frontier, now: i64, numbers: ListHead) -> StoredHead {
        let head = TreeHead {
            origin: self.origin.clone(),
            size: frontier.size(),
            root: frontier.root(),
            at: identity::UnixTime::from_secs(now),
            epoch: numbers.epoch,
            sequence: numbers.sequence,
        };
        StoredHead {
            size: head.size,
            at: now,
            root: head.root,
            note: head.sign(&self.key),
        }
    }
}

/// Whether roots of subtrees of this height are stored.
pub(crate) const fn is_stored(level: u32) -> bool {
    level > 0 && level.is_multiple_of(STRIDE)
}

/// A count as SQL holds it.
///
/// # Errors
/// [`sqlx::Error::Encode`] beyond 2^63.
pub(crate) fn signed(count: u64) -> Result<i64, sqlx::Error> {
    i64::try_from(count).map_err(|error| sqlx::Error::Encode(Box::new(error)))
}

async fn insert_leaves(
    connection: &mut SqliteConnection,
    first: u64,
    leaves: &[(String, Hash)],
) -> Result<(), sqlx::Error> {
    let mut position = signed(first)?;
    let mut rest = leaves;
    while !rest.is_empty() {
        // Few lengths, so that few texts are prepared.
        let length = STATEMENT_ROWS
            .into_iter()
            .find(|rows| *rows <= rest.len())
            .unwrap_or(1);
        let (now, later) = rest.split_at(length);
        let mut query = QueryBuilder::<Sqlite>::new(INSERT_LEAVES);
        query.push_values(now, |mut row, (text, hash)| {
            row.push_bind(position)
                .push_bind(hash.0.to_vec())
                .push_bind(text.clone());
            position = position.saturating_add(1);
        });
        query.build().execute(&mut *connection).await?;
        rest = later;
    }
    Ok(())
}

async fn insert_nodes(
    connection: &mut SqliteConnection,
    nodes: &[(Block, Hash)],
) -> Result<(), sqlx::Error> {
    for (block, hash) in nodes {
        sqlx::query(INSERT_NODE)
            .bind(i64::from(block.level))
            .bind(signed(block.index)?)
            .bind(hash.0.to_vec())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn insert_head(
    connection: &mut SqliteConnection,
    head: &StoredHead,
) -> Result<(), sqlx::Error> {
    sqlx::query(INSERT_HEAD)
        .bind(signed(head.size)?)
        .bind(head.at)
        .bind(head.root.to_string())
        .bind(&head.note)
        .execute(connection)
        .await?;
    Ok(())
}

/// Every how many levels roots of subtrees are stored.
pub(super) const STRIDE: u32 = 8;
/// Rows of one statement, the most first.
const STATEMENT_ROWS: [usize; 4] = [64, 16, 4, 1];

const INSERT_LEAVES: &str = "INSERT INTO audit_leaves (position, hash, body) ";
const INSERT_NODE: &str = "INSERT INTO audit_nodes (level, position, hash) VALUES (?, ?, ?)";
const INSERT_HEAD: &str = "INSERT INTO audit_heads (size, at, root, note) VALUES (?, ?, ?, ?)";
