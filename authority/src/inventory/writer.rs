//! The one task that writes, with group commit.

use futures::future::BoxFuture;
use sqlx::{Connection as _, SqliteConnection};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::inventory::InventoryError;
use crate::inventory::log::{Batch, Log, Written};

/// Handle on the writing task.
#[derive(Clone, Debug)]
pub(super) struct Writer(mpsc::Sender<Job>);

/// The transaction that statements run in.
pub(super) struct Tx<'c> {
    /// For the statements.
    pub(super) connection: &'c mut SqliteConnection,
    /// For the leaves that tell of them.
    pub(super) log: &'c mut Batch,
}

/// What a job gives back; it runs once its transaction is committed.
type Deliver = Box<dyn FnOnce() + Send>;

/// Statements that belong together.
type Job = Box<dyn for<'c> FnOnce(Tx<'c>) -> BoxFuture<'c, Result<Deliver, sqlx::Error>> + Send>;

impl Writer {
    /// Starts the task on `connection`.
    pub(super) fn start(connection: SqliteConnection, log: Log) -> (Self, JoinHandle<()>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), tokio::spawn(run(connection, receiver, log)))
    }

    /// Runs `statements` in the next transaction and returns what they gave after its commit.
    ///
    /// An error they return rolls back the whole transaction, with whatever else is in it: it is
    /// for what must not happen. What may happen goes into `T`, before anything was written.
    pub(super) async fn write<T, F>(&self, statements: F) -> Result<T, InventoryError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(Tx<'c>) -> BoxFuture<'c, Result<T, sqlx::Error>> + Send + 'static,
    {
        let (reply, committed) = oneshot::channel();
        let job: Job = Box::new(move |tx| {
            Box::pin(async move {
                let outcome = statements(tx).await?;
                let deliver: Deliver = Box::new(move || {
                    // The caller may have gone; what was written stays.
                    reply.send(outcome).ok();
                });
                Ok(deliver)
            })
        });
        self.0
            .send(job)
            .await
            .map_err(|_stopped| InventoryError::NotCommitted)?;
        // A dropped sender means a transaction that was rolled back.
        committed
            .await
            .map_err(|_rolled_back| InventoryError::NotCommitted)
    }
}

async fn run(mut connection: SqliteConnection, mut jobs: mpsc::Receiver<Job>, mut log: Log) {
    let mut batch = Vec::with_capacity(BATCH);
    while jobs.recv_many(&mut batch, BATCH).await > 0 {
        match commit(&mut connection, batch.drain(..), &mut log).await {
            Ok(delivered) => {
                for deliver in delivered {
                    deliver();
                }
            }
            Err(error) => {
                tracing::error!(%error, "a transaction was rolled back");
                log.distrust();
            }
        }
    }
    // Folds the write-ahead log into the database file.
    if let Err(error) = connection.close().await {
        tracing::warn!(%error, "the database did not close cleanly");
    }
}

async fn commit(
    connection: &mut SqliteConnection,
    jobs: impl Iterator<Item = Job>,
    log: &mut Log,
) -> Result<Vec<Deliver>, sqlx::Error> {
    // Not by sqlx's own transactions: they count how deep they are, and after a full disk, upon which SQLite
    // rolls back by itself, that count would stay wrong for the life of the connection.
    execute(connection, "BEGIN IMMEDIATE").await?;
    let done = match run_all(connection, jobs, log).await {
        Ok(done) => execute(connection, "COMMIT").await.map(|()| done),
        Err(error) => Err(error),
    };
    match done {
        Ok((written, delivered)) => {
            log.committed(written).await;
            Ok(delivered)
        }
        Err(error) => {
            // Fails where SQLite has done it already; a transaction that stays open fails the next one's
            // beginning, which is told.
            execute(connection, "ROLLBACK").await.ok();
            Err(error)
        }
    }
}

/// Runs the statements of all jobs and writes their leaves, within the transaction.
async fn run_all(
    connection: &mut SqliteConnection,
    jobs: impl Iterator<Item = Job>,
    log: &mut Log,
) -> Result<(Written, Vec<Deliver>), sqlx::Error> {
    let mut leaves = log.begin(connection).await?;
    let mut delivered = Vec::new();
    for job in jobs {
        let tx = Tx {
            connection: &mut *connection,
            log: &mut leaves,
        };
        delivered.push(job(tx).await?);
    }
    let written = log.write(connection, leaves).await?;
    Ok((written, delivered))
}

async fn execute(connection: &mut SqliteConnection, sql: &'static str) -> Result<(), sqlx::Error> {
    sqlx::query(sql).execute(connection).await.map(drop)
}

/// Most jobs in one transaction. While one is synced to disk the next gathers, so under load a
/// sync is shared by many; the bound keeps the first of a batch from waiting for too many others.
const BATCH: usize = 256;
/// Jobs that wait before callers do.
const QUEUE: usize = 1024;
