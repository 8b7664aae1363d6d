//! Putting a backup back: everything is checked before anything is replaced, and what was there is
//! kept.

use std::path::{Path, PathBuf};

use sqlx::Connection as _;

use super::content::{self, Content, KEYS};
use super::{BackupError, Manifest, database_error, io_error, open};
use crate::audit::key::LogPublicKey;
use crate::audit::position::Position;
use crate::audit::verify::{Expected, verify};
use crate::ca::files;
use crate::data_dir::DataDir;
use crate::inventory::log::{self, read};
use crate::inventory::{Inventory, LogOptions, LostRecord};
use crate::settings::names;

/// How to restore.
#[derive(Clone, Debug, Default)]
pub struct RestoreOptions {
    /// File of the position, if it is not in the data folder.
    pub position_file: Option<PathBuf>,
    /// Whether a backup older than the position is taken, with what that loses.
    pub accept_lost: bool,
}

/// What restoring would do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The backup.
    pub manifest: Manifest,
    /// Leaves in the record that would be replaced; none if there is none.
    pub replaces: Option<u64>,
    /// Files that would be written, by their paths in the data folder.
    pub files: Vec<String>,
    /// What would be lost.
    pub lost: Option<LostRecord>,
}

/// Checks the backup `path` and finds out what restoring it into `data_dir` would do. Nothing is
/// changed.
///
/// # Errors
/// [`BackupError`], if the backup is not sound, of another authority, or keys are missing.
pub async fn plan(
    data_dir: &Path,
    path: &Path,
    options: &RestoreOptions,
) -> Result<Plan, BackupError> {
    checked(data_dir, path, options).await.map(|(plan, _)| plan)
}

async fn checked(
    data_dir: &Path,
    path: &Path,
    options: &RestoreOptions,
) -> Result<(Plan, Vec<Content>), BackupError> {
    let mut backup = open(path, true)
        .await
        .map_err(database_error("open", path))?;
    let (manifest, found) = content::read(&mut backup, path).await?;
    let key = found
        .iter()
        .find(|file| file.name == names::AUDIT_PUBLIC_KEY)
        .and_then(|file| std::str::from_utf8(&file.bytes).ok())
        .and_then(LogPublicKey::from_pem)
        .ok_or_else(|| BackupError::NotABackup {
            path: path.to_owned(),
            problem: "it has no public key of its audit log".to_owned(),
        })?;
    let expected = Expected {
        public_key: key,
        position: None,
    };
    let report = verify(path, &expected, |_| {}).await?;
    if let Some(first) = report.findings.first() {
        return Err(BackupError::Damaged {
            first: first.to_string(),
            total: report.total_findings,
        });
    }
    let root = report.root.map(|root| root.to_string());
    if report.size != manifest.size || root.as_ref() != Some(&manifest.root) {
        return Err(BackupError::Damaged {
            first: "the log is not the one that it was made of".to_owned(),
            total: 1,
        });
    }
    let lost = lost(&mut backup, data_dir, options, report.size).await?;
    let files = to_write(data_dir, &found)?;
    missing_keys(data_dir, &files)?;
    let plan = Plan {
        manifest,
        replaces: leaves_there(data_dir).await,
        files,
        lost,
    };
    Ok((plan, found))
}

/// Files that are not there. A root or a log that is there and differs is another authority's; whatever else
/// is there is newer than the backup and stays: an intermediate is renewed, a key encrypted anew. Beside the root
/// of a CA that is there nothing is put, or an intermediate that was given up would come back.
fn to_write(data_dir: &Path, found: &[Content]) -> Result<Vec<String>, BackupError> {
    let mut files = Vec::new();
    let has_ca = data_dir.join(ROOT).exists();
    for file in found {
        let path = data_dir.join(&file.name);
        match std::fs::read(&path) {
            Ok(there) if there == *file.bytes => {}
            Ok(_) if identifies(&file.name) => return Err(BackupError::OtherAuthority { path }),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if !(has_ca && in_ca(&file.name)) {
                    files.push(file.name.clone());
                }
            }
            Err(error) => return Err(io_error("read", &path)(error)),
        }
    }
    Ok(files)
}

/// Whether a file tells one authority from another.
fn identifies(name: &str) -> bool {
    [ROOT, names::AUDIT_KEY, names::AUDIT_PUBLIC_KEY].contains(&name)
}

fn in_ca(name: &str) -> bool {
    name.strip_prefix(names::CA_DIR)
        .is_some_and(|rest| rest.starts_with('/'))
}

/// The root's certificate, from the data folder.
const ROOT: &str = "ca/root.pem";

fn missing_keys(data_dir: &Path, files: &[String]) -> Result<(), BackupError> {
    let missing: Vec<String> = KEYS
        .iter()
        .filter(|key| !data_dir.join(key).exists() && !files.iter().any(|file| file == *key))
        .map(|key| (*key).to_owned())
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(BackupError::MissingKeys { missing })
    }
}

fn position_path(data_dir: &Path, options: &RestoreOptions) -> PathBuf {
    let named = options.position_file.clone();
    named.unwrap_or_else(|| data_dir.join(names::POSITION))
}

async fn lost(
    backup: &mut sqlx::SqliteConnection,
    data_dir: &Path,
    options: &RestoreOptions,
    size: u64,
) -> Result<Option<LostRecord>, BackupError> {
    let Some(position) = Position::read(&position_path(data_dir, options))? else {
        return Ok(None);
    };
    let lost = |differs| LostRecord {
        found: size,
        expected: position.size,
        signed: log::start::signed_at(&position.head),
        differs,
    };
    if size < position.size {
        return Ok(Some(lost(false)));
    }
    let root = read::root(backup, position.size).await;
    let same = root.is_ok_and(|root| root.to_string() == position.root);
    Ok((!same).then(|| lost(true)))
}

/// Leaves of the record there is; none if there is none that can be read, which may be why a backup
/// is needed.
async fn leaves_there(data_dir: &Path) -> Option<u64> {
    let path = data_dir.join(names::DATABASE);
    let mut connection = open(&path, true).await.ok()?;
    read::size(&mut connection).await.ok()
}

/// Checks the backup `path` and puts it into `data_dir`, on which no authority may be running. What
/// was there is moved to a folder beside it, which is given back.
///
/// # Errors
/// [`BackupError`]. Nothing was changed, but for an error while putting things in place: then the
/// record is in the folder beside, and restoring again goes on.
pub async fn restore(
    data_dir: &Path,
    path: &Path,
    options: &RestoreOptions,
    now: i64,
) -> Result<(Plan, Option<PathBuf>), BackupError> {
    let held = DataDir::open(data_dir)?;
    let (plan, found) = checked(data_dir, path, options).await?;
    if let Some(lost) = plan.lost.as_ref().filter(|_| !options.accept_lost) {
        return Err(BackupError::Lost(lost.clone()));
    }
    let database = data_dir.join(names::DATABASE);
    let copy = files::unfinished(&database)?;
    let copied = copy_record(path, &copy).await;
    if copied.is_err() {
        std::fs::remove_file(&copy).ok();
    }
    copied?;
    for file in found.iter().filter(|file| plan.files.contains(&file.name)) {
        write_file(data_dir, file)?;
    }
    let aside = put_aside(data_dir, now)?;
    std::fs::rename(&copy, &database).map_err(io_error("put in place", &database))?;
    files::sync_dir(data_dir).map_err(io_error("sync", data_dir))?;
    let beside = LogOptions::beside(&database);
    let log_options = LogOptions {
        position: position_path(data_dir, options),
        accept_lost: options.accept_lost,
        ..beside
    };
    // Opening it numbers the lists on, and puts into the log what was accepted.
    let (inventory, writer) =
        Inventory::open_with(&database, &plan.manifest.trust_domain, &log_options).await?;
    inventory.close_readers().await;
    drop(inventory);
    writer.await.ok();
    drop(held);
    Ok((plan, aside))
}

async fn copy_record(path: &Path, copy: &Path) -> Result<(), BackupError> {
    files::write_private(copy, b"").map_err(io_error("create", copy))?;
    // Onto the file made above, so that its mode stays.
    let mut from = std::fs::File::open(path).map_err(io_error("read", path))?;
    let mut to = std::fs::OpenOptions::new()
        .write(true)
        .open(copy)
        .map_err(io_error("write", copy))?;
    std::io::copy(&mut from, &mut to).map_err(io_error("write", copy))?;
    drop(to);
    let failed = || database_error("write", copy);
    let mut connection = open(copy, false).await.map_err(failed())?;
    content::remove(&mut connection).await.map_err(failed())?;
    connection.close().await.map_err(failed())?;
    std::fs::File::open(copy)
        .and_then(|file| file.sync_all())
        .map_err(io_error("sync", copy))
}

fn write_file(data_dir: &Path, file: &Content) -> Result<(), BackupError> {
    let path = data_dir.join(&file.name);
    if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
        use std::os::unix::fs::DirBuilderExt as _;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(io_error("create", folder))?;
    }
    let written = if file.is_key {
        files::write_private(&path, &file.bytes)
    } else {
        files::replace_public(&path, &file.bytes)
    };
    written.map_err(io_error("write", &path))
}

/// Moves the database with what SQLite keeps beside it, which must never meet another one.
fn put_aside(data_dir: &Path, now: i64) -> Result<Option<PathBuf>, BackupError> {
    let there: Vec<String> = ["", "-wal", "-shm"]
        .iter()
        .map(|end| format!("{}{end}", names::DATABASE))
        .filter(|name| data_dir.join(name).exists())
        .collect();
    if there.is_empty() {
        return Ok(None);
    }
    let folder = data_dir.join(format!("before-restore-{now}"));
    match files::create_private_dir(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(io_error("create", &folder)(error));
        }
        _ => {}
    }
    for name in there {
        let from = data_dir.join(&name);
        std::fs::rename(&from, folder.join(&name)).map_err(io_error("move", &from))?;
    }
    Ok(Some(folder))
}
