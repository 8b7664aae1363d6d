//! Backups of the record: one file, made while an authority runs, checked before it is put back.
//!
//! A backup is an SQLite database: the record as it was at one moment, and beside it two tables, one
//! with facts about the backup and one with the files of the data folder that belong to the record.
//! Private keys are among these only on demand.

use std::io;
use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

pub use self::restore::{Plan, RestoreOptions, plan, restore};
use crate::audit::key::LogKeyError;
use crate::audit::position::PositionError;
use crate::audit::verify::VerifyError;
use crate::ca::files;
use crate::crypto::NoRandomness;
use crate::data_dir::DataDirError;
use crate::inventory::log::{read, signed};
use crate::inventory::{InventoryError, LostRecord};
use crate::settings::names;

mod content;
mod restore;

/// What a backup says of itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Manifest {
    /// When it was made, seconds since the Unix epoch.
    pub made_at: i64,
    /// The trust domain.
    pub trust_domain: String,
    /// Leaves of the audit log.
    pub size: u64,
    /// The root over them, lower-case hex.
    pub root: String,
    /// Whether private keys are in it.
    pub with_keys: bool,
    /// Files in it, by their paths in the data folder.
    pub files: Vec<String>,
}

/// Why there is no backup, or nothing was put back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// A file cannot be used.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A database cannot be used.
    #[error("cannot {action} the database {}", path.display())]
    Database {
        /// What was tried.
        action: &'static str,
        /// Its file.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: sqlx::Error,
    },
    /// A backup does not replace another file.
    #[error("{} is there already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// There is nothing to back up.
    #[error("there is no record in {}", path.display())]
    NoRecord {
        /// The data folder.
        path: PathBuf,
    },
    /// The file is no backup that this program knows.
    #[error("{} is not a backup: {problem}", path.display())]
    NotABackup {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The backup was damaged or changed.
    #[error("the backup is not what was made: {first}{}", more(*.total))]
    Damaged {
        /// The first finding.
        first: String,
        /// How many there are.
        total: u64,
    },
    /// It could not be checked.
    #[error("the backup could not be checked")]
    Verify(#[from] VerifyError),
    /// The backup is of another authority than the data folder.
    #[error("{} differs from the backup's: it is of another authority", path.display())]
    OtherAuthority {
        /// The file that differs.
        path: PathBuf,
    },
    /// Keys are missing that an authority needs.
    #[error("neither the data folder nor the backup has {}; put them in place first", missing.join(", "))]
    MissingKeys {
        /// Their paths in the data folder.
        missing: Vec<String>,
    },
    /// The backup is older than what was signed.
    #[error(transparent)]
    Lost(LostRecord),
    /// The data folder cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The audit log's key cannot be used.
    #[error(transparent)]
    LogKey(#[from] LogKeyError),
    /// The position cannot be read.
    #[error(transparent)]
    Position(#[from] PositionError),
    /// What was put back does not open.
    #[error("what was put back does not open")]
    Inventory(#[from] InventoryError),
    /// No random name.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// Backs up the record in `data_dir` to the new file `path`, which only its owner can read. An
/// authority may be running. `now` is seconds since the Unix epoch.
///
/// # Errors
/// [`BackupError`]; no file is left then.
pub async fn backup(
    data_dir: &Path,
    path: &Path,
    with_keys: bool,
    now: i64,
) -> Result<Manifest, BackupError> {
    let database = data_dir.join(names::DATABASE);
    if !database.exists() {
        let path = data_dir.to_owned();
        return Err(BackupError::NoRecord { path });
    }
    if path.symlink_metadata().is_ok() {
        let path = path.to_owned();
        return Err(BackupError::Exists { path });
    }
    let unfinished = files::unfinished(path)?;
    let made = write(&database, data_dir, &unfinished, with_keys, now).await;
    let placed = match made {
        Ok(manifest) => place(&unfinished, path).map(|()| manifest),
        Err(error) => Err(error),
    };
    // A second name of it is there by now, or it is worth nothing.
    std::fs::remove_file(&unfinished).ok();
    placed
}

async fn write(
    database: &Path,
    data_dir: &Path,
    unfinished: &Path,
    with_keys: bool,
    now: i64,
) -> Result<Manifest, BackupError> {
    // Made by us, so that the umask has no say in who can read it.
    files::write_private(unfinished, b"").map_err(io_error("create", unfinished))?;
    let mut source = open(database, true)
        .await
        .map_err(database_error("open", database))?;
    sqlx::query("VACUUM INTO ?")
        .bind(unfinished.to_string_lossy().into_owned())
        .execute(&mut source)
        .await
        .map_err(database_error("copy", database))?;
    source
        .close()
        .await
        .map_err(database_error("close", database))?;
    let mut copy = open(unfinished, false)
        .await
        .map_err(database_error("open", unfinished))?;
    let failed = |source| BackupError::Database {
        action: "write",
        path: unfinished.to_owned(),
        source,
    };
    let found = content::collect(data_dir, with_keys)?;
    let manifest = Manifest {
        made_at: now,
        trust_domain: sqlx::query_scalar(TRUST_DOMAIN)
            .fetch_one(&mut copy)
            .await
            .map_err(failed)?,
        size: read::size(&mut copy).await.map_err(failed)?,
        root: {
            let size = read::size(&mut copy).await.map_err(failed)?;
            read::root(&mut copy, size)
                .await
                .map_err(failed)?
                .to_string()
        },
        with_keys,
        files: found.iter().map(|file| file.name.clone()).collect(),
    };
    content::write(&mut copy, &manifest, &found)
        .await
        .map_err(failed)?;
    copy.close().await.map_err(failed)?;
    std::fs::File::open(unfinished)
        .and_then(|file| file.sync_all())
        .map_err(io_error("sync", unfinished))?;
    Ok(manifest)
}

/// A hard link fails where a rename would replace.
fn place(unfinished: &Path, path: &Path) -> Result<(), BackupError> {
    match std::fs::hard_link(unfinished, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(BackupError::Exists {
                path: path.to_owned(),
            });
        }
        other => other.map_err(io_error("create", path))?,
    }
    files::sync_parent(path).map_err(io_error("sync the folder of", path))
}

async fn open(path: &Path, read_only: bool) -> Result<SqliteConnection, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false);
    let options = if read_only {
        options.read_only(true)
    } else {
        // One file, without others beside it.
        options.journal_mode(sqlx::sqlite::SqliteJournalMode::Delete)
    };
    options.connect().await
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupError + use<> {
    let path = path.to_owned();
    move |source| BackupError::Io {
        action,
        path,
        source,
    }
}

fn database_error(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(sqlx::Error) -> BackupError + use<> {
    let path = path.to_owned();
    move |source| BackupError::Database {
        action,
        path,
        source,
    }
}

fn more(total: u64) -> String {
    match total {
        0 | 1 => String::new(),
        _ => format!(" (and {} more findings)", total - 1),
    }
}

const TRUST_DOMAIN: &str = "SELECT trust_domain FROM identity_of_store";

#[cfg(test)]
mod tests;
