//! The record: every certificate, entry, token and refusal, in SQLite.
//!
//! All writes go through one task, which puts what has gathered into one transaction and answers
//! after its commit (WAL, `synchronous=FULL`). So writes are serialised: a guard checked in the
//! statement that records a certificate cannot be overtaken. Reads have connections of their own
//! and see what is committed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use tokio::task::JoinHandle;

pub use self::bundles::{BundleError, BundleRecord, MAX_BUNDLES, MAX_TOTAL_BYTES, NewBundle};
pub(crate) use self::certificates::{Guard, GuardFailure, NewCertificate, RecordOutcome};
pub use self::expiry::ExpiryBucket;
use self::log::Log;
pub use self::log::proofs::{ConsistencyProof, InclusionProof, ProofError};
pub(crate) use self::log::start::LogOptions;
pub use self::log::start::LostRecord;
pub use self::place::{
    Location, MAX_NAME_BYTES, MAX_PAIRS, MAX_VALUE_BYTES, Metadata, MetadataError, RequestContext,
};
pub(crate) use self::query::CertificateFilter;
pub use self::record::{
    CertificateRecord, CertificateState, Counts, EntryRecord, Origin, RefusalRecord, SpentToken,
    TokenRecord, UnknownState,
};
pub(crate) use self::requests::RequestNote;
pub use self::states::{
    ChangeError, DeniedCertificate, ListHead, Selector, StateAction, StateChange,
};
pub(crate) use self::vitals::Vitals;
use self::writer::Writer;
use crate::audit::key::LogKeyError;
use crate::audit::position::PositionError;

mod bundles;
mod certificates;
mod entries;
mod expiry;
pub(crate) mod log;
mod place;
mod query;
pub(crate) mod record;
pub(crate) mod refusals;
mod requests;
pub(crate) mod rows;
pub mod search;
mod states;
mod tokens;
mod vitals;
mod writer;

/// Handle on the record; cheap to clone.
#[derive(Clone, Debug)]
pub struct Inventory {
    writer: Writer,
    readers: SqlitePool,
    /// For what people search and export, which may take long: issuance does not wait behind it.
    searchers: SqlitePool,
}

/// Why the record cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InventoryError {
    /// The database cannot be opened.
    #[error("cannot open the database {}", path.display())]
    Open {
        /// Its file.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: sqlx::Error,
    },
    /// The file is not a sound database.
    #[error("the database {} is damaged: {detail}; restore it from a backup", path.display())]
    Corrupt {
        /// Its file.
        path: PathBuf,
        /// What SQLite says.
        detail: String,
    },
    /// The record was there once.
    #[error(
        "the database {} is missing or empty, but deny lists were signed from it: restore it from \
         a backup",
        path.display()
    )]
    Missing {
        /// Its file.
        path: PathBuf,
    },
    /// The tables cannot be brought up to date.
    #[error("cannot bring the database {} up to date", path.display())]
    Migrate {
        /// Its file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
    /// The record belongs to another trust domain.
    #[error("the database {} belongs to the trust domain {found}, not {configured}", path.display())]
    OtherTrustDomain {
        /// Its file.
        path: PathBuf,
        /// The trust domain it was made for.
        found: String,
        /// The trust domain wanted.
        configured: String,
    },
    /// A query failed.
    #[error("cannot read the record")]
    Query(#[source] sqlx::Error),
    /// A row that nobody here wrote.
    #[error("the record holds a bad {column}: {value:?}")]
    BadRow {
        /// The column.
        column: &'static str,
        /// What it holds.
        value: String,
    },
    /// The audit log's key cannot be used.
    #[error(transparent)]
    LogKey(#[from] LogKeyError),
    /// What tells how far the record had come cannot be used.
    #[error(transparent)]
    Position(#[from] PositionError),
    /// The record is older than what was signed.
    #[error(transparent)]
    LostRecord(LostRecord),
    /// The audit log is not what was written.
    #[error("the audit log is damaged: {problem}; `countersign audit verify` finds out more")]
    AuditLog {
        /// What is wrong.
        problem: String,
    },
    /// A write was not committed: the disk failed, or the authority is stopping. The log says why.
    #[error("the record could not be written")]
    NotCommitted,
}

/// The task that writes; ends when the last [`Inventory`] is gone.
pub type WriterTask = JoinHandle<()>;

impl Inventory {
    /// Opens, and where needed creates, the database at `path` for `trust_domain`.
    ///
    /// # Errors
    /// [`InventoryError`] if it cannot be opened, is damaged, or belongs to another trust domain.
    pub async fn open(
        path: &Path,
        trust_domain: &str,
    ) -> Result<(Self, WriterTask), InventoryError> {
        Self::open_with(path, trust_domain, &LogOptions::beside(path)).await
    }

    /// [`Self::open`] that says how the audit log is kept.
    ///
    /// # Errors
    /// [`InventoryError`], also if the record is older than the position says.
    pub(crate) async fn open_with(
        path: &Path,
        trust_domain: &str,
        options: &LogOptions,
    ) -> Result<(Self, WriterTask), InventoryError> {
        let log_options = options;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(10))
            .foreign_keys(true);
        let failed = |source| open_error(path, source);
        create_private(path).map_err(|e| failed(sqlx::Error::Io(e)))?;
        let mut connection = options.connect().await.map_err(failed)?;
        check_integrity(&mut connection, path).await?;
        sqlx::migrate!("./migrations")
            .run(&mut connection)
            .await
            .map_err(|source| InventoryError::Migrate {
                path: path.to_owned(),
                source,
            })?;
        check_owner(&mut connection, path, trust_domain).await?;
        let log = Log::open(&mut connection, trust_domain, log_options).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options.clone().pragma("query_only", "ON"))
            .await
            .map_err(failed)?;
        let searchers = SqlitePoolOptions::new()
            .max_connections(SEARCHERS)
            .connect_with(options.pragma("query_only", "ON"))
            .await
            .map_err(failed)?;
        let (writer, task) = Writer::start(connection, log);
        Ok((
            Self {
                writer,
                readers,
                searchers,
            },
            task,
        ))
    }

    /// Closes the connections that read. The writer ends by itself when all handles are gone.
    pub async fn close_readers(&self) {
        self.readers.close().await;
        self.searchers.close().await;
    }
}

/// SQLite creates files by the umask; the record is only its owner's business.
fn create_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    match std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e),
    }
}

/// Tells a damaged file from one that cannot be opened.
fn open_error(path: &Path, source: sqlx::Error) -> InventoryError {
    let code = source.as_database_error().and_then(|e| e.code());
    match code.as_deref() {
        Some(SQLITE_CORRUPT | SQLITE_NOTADB) => InventoryError::Corrupt {
            path: path.to_owned(),
            detail: source.to_string(),
        },
        _ => InventoryError::Open {
            path: path.to_owned(),
            source,
        },
    }
}

/// Lets SQLite check its structure. Reading a very large file whole would delay the start by
/// seconds, so beyond [`CHECKED_BYTES`] only what is used gets noticed.
async fn check_integrity(
    connection: &mut sqlx::SqliteConnection,
    path: &Path,
) -> Result<(), InventoryError> {
    let bytes = std::fs::metadata(path)
        .map(|metadata| metadata.len())
        .unwrap_or(0);
    if bytes > CHECKED_BYTES {
        tracing::info!(path = %path.display(), bytes, "large database, integrity check left out");
        return Ok(());
    }
    let verdict: String = sqlx::query_scalar("PRAGMA quick_check(1)")
        .fetch_one(connection)
        .await
        .map_err(|source| open_error(path, source))?;
    if verdict == "ok" {
        return Ok(());
    }
    Err(InventoryError::Corrupt {
        path: path.to_owned(),
        detail: verdict,
    })
}

async fn check_owner(
    connection: &mut sqlx::SqliteConnection,
    path: &Path,
    trust_domain: &str,
) -> Result<(), InventoryError> {
    sqlx::query(
        "INSERT INTO identity_of_store (only, trust_domain) VALUES (1, ?) ON CONFLICT DO NOTHING",
    )
    .bind(trust_domain)
    .execute(&mut *connection)
    .await
    .map_err(|source| open_error(path, source))?;
    let found: String = sqlx::query_scalar("SELECT trust_domain FROM identity_of_store")
        .fetch_one(connection)
        .await
        .map_err(|source| open_error(path, source))?;
    if found == trust_domain {
        return Ok(());
    }
    Err(InventoryError::OtherTrustDomain {
        path: path.to_owned(),
        found,
        configured: trust_domain.to_owned(),
    })
}

/// Connections that read; the machine's disk, not their number, is the limit.
const READERS: u32 = 4;
/// Searches at a time.
const SEARCHERS: u32 = 2;
/// A file of this size is checked in about a second.
const CHECKED_BYTES: u64 = 256 * 1024 * 1024;
const SQLITE_CORRUPT: &str = "11";
const SQLITE_NOTADB: &str = "26";

#[cfg(test)]
mod tests;
