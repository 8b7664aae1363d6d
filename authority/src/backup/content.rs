//! What a backup holds beside the record.

use std::path::{Path, PathBuf};

use sqlx::{Row as _, SqliteConnection};

use super::{BackupError, Manifest, io_error, signed};
use crate::crypto::sha256_hex;
use crate::settings::names;

/// A file of the data folder.
pub(super) struct Content {
    /// Its path in the data folder.
    pub(super) name: String,
    /// Whether it holds, or may hold, a private key.
    pub(super) is_key: bool,
    pub(super) bytes: zeroize::Zeroizing<Vec<u8>>,
}

/// The files of `data_dir` that belong to the record; those with keys only on demand.
pub(super) fn collect(data_dir: &Path, with_keys: bool) -> Result<Vec<Content>, BackupError> {
    let mut paths: Vec<PathBuf> = PUBLIC
        .iter()
        .chain(&KEYS)
        .chain(&[NEXT_KEY])
        .map(PathBuf::from)
        .collect();
    walk(data_dir, Path::new(names::CA_DIR), 0, &mut paths)?;
    paths.sort();
    let mut found = Vec::new();
    for name in paths {
        let path = data_dir.join(&name);
        let length = match path.metadata() {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(io_error("look at", &path)(error)),
        };
        if length > MAX_FILE_BYTES {
            let error = std::io::Error::other(format!("{length} bytes, limit is {MAX_FILE_BYTES}"));
            return Err(io_error("read", &path)(error));
        }
        let bytes = std::fs::read(&path).map_err(io_error("read", &path))?;
        let bytes = zeroize::Zeroizing::new(bytes);
        let is_key = !is_public(&bytes);
        if with_keys || !is_key {
            found.push(Content {
                name: name.to_string_lossy().into_owned(),
                is_key,
                bytes,
            });
        }
    }
    Ok(found)
}

fn walk(
    data_dir: &Path,
    folder: &Path,
    depth: usize,
    paths: &mut Vec<PathBuf>,
) -> Result<(), BackupError> {
    let path = data_dir.join(folder);
    let entries = match std::fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io_error("read", &path)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(io_error("read", &path))?;
        let name = folder.join(entry.file_name());
        let kind = entry.file_type().map_err(io_error("look at", &path))?;
        // Links lead elsewhere, and sockets hold nothing.
        if kind.is_file() {
            paths.push(name);
        } else if kind.is_dir() && depth < MAX_DEPTH {
            walk(data_dir, &name, depth.saturating_add(1), paths)?;
        }
        if paths.len() > MAX_FILES {
            let error = std::io::Error::other(format!("more than {MAX_FILES} files"));
            return Err(io_error("back up", &path)(error));
        }
    }
    Ok(())
}

/// Whether a file has nothing in it but PEM of public things. Whatever else it is counts as a key.
fn is_public(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let mut labels = text.split("-----BEGIN ").skip(1).peekable();
    let public = ["CERTIFICATE-----", "X509 CRL-----", "PUBLIC KEY-----"];
    labels.peek().is_some()
        && labels.all(|label| public.iter().any(|public| label.starts_with(public)))
}

/// Writes the tables.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    manifest: &Manifest,
    files: &[Content],
) -> Result<(), sqlx::Error> {
    sqlx::query(CREATE_MANIFEST)
        .execute(&mut *connection)
        .await?;
    sqlx::query(CREATE_FILES).execute(&mut *connection).await?;
    sqlx::query(INSERT_MANIFEST)
        .bind(VERSION)
        .bind(manifest.made_at)
        .bind(&manifest.trust_domain)
        .bind(signed(manifest.size)?)
        .bind(&manifest.root)
        .bind(manifest.with_keys)
        .execute(&mut *connection)
        .await?;
    for file in files {
        sqlx::query(INSERT_FILE)
            .bind(&file.name)
            .bind(file.is_key)
            .bind(sha256_hex(&file.bytes))
            .bind(file.bytes.as_slice())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Reads the tables.
pub(super) async fn read(
    connection: &mut SqliteConnection,
    path: &Path,
) -> Result<(Manifest, Vec<Content>), BackupError> {
    let not = |problem: String| BackupError::NotABackup {
        path: path.to_owned(),
        problem,
    };
    let failed = |error: sqlx::Error| not(error.to_string());
    let row = sqlx::query(SELECT_MANIFEST)
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    let version: i64 = row.try_get("version").map_err(failed)?;
    if version != VERSION {
        return Err(not(format!("version {version}, expected {VERSION}")));
    }
    let size: i64 = row.try_get("size").map_err(failed)?;
    let mut manifest = Manifest {
        made_at: row.try_get("made_at").map_err(failed)?,
        trust_domain: row.try_get("trust_domain").map_err(failed)?,
        size: size.unsigned_abs(),
        root: row.try_get("root").map_err(failed)?,
        with_keys: row.try_get("with_keys").map_err(failed)?,
        files: Vec::new(),
    };
    let rows = sqlx::query(SELECT_FILES)
        .fetch_all(connection)
        .await
        .map_err(failed)?;
    let mut files = Vec::new();
    for row in rows {
        let name: String = row.try_get("name").map_err(failed)?;
        let bytes: Vec<u8> = row.try_get("bytes").map_err(failed)?;
        let sha256: String = row.try_get("sha256").map_err(failed)?;
        if !is_ours(&name) {
            return Err(not(format!("it holds the file {name:?}")));
        }
        if sha256_hex(&bytes) != sha256 {
            return Err(BackupError::Damaged {
                first: format!("file {name}: its bytes are not those of its digest"),
                total: 1,
            });
        }
        manifest.files.push(name.clone());
        files.push(Content {
            name,
            is_key: row.try_get("is_key").map_err(failed)?,
            bytes: bytes.into(),
        });
    }
    Ok((manifest, files))
}

/// Whether a file may be written into a data folder: one of ours, and nowhere else.
fn is_ours(name: &str) -> bool {
    let path = Path::new(name);
    let plain = path
        .components()
        .all(|part| matches!(part, std::path::Component::Normal(_)));
    plain
        && (PUBLIC.contains(&name)
            || KEYS.contains(&name)
            || name == NEXT_KEY
            || (path.starts_with(names::CA_DIR) && path != Path::new(names::CA_DIR)))
}

/// Takes the tables out again.
pub(super) async fn remove(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query("DROP TABLE backup_files")
        .execute(&mut *connection)
        .await?;
    sqlx::query("DROP TABLE backup_manifest")
        .execute(connection)
        .await?;
    Ok(())
}

const PUBLIC: [&str; 2] = [names::BUNDLE, names::AUDIT_PUBLIC_KEY];
/// Made anew where it is missing.
const NEXT_KEY: &str = names::DENY_LIST_NEXT_KEY;
/// Without these an authority does not start on a record.
pub(super) const KEYS: [&str; 2] = [names::AUDIT_KEY, names::DENY_LIST_KEY];
const VERSION: i64 = 1;
const MAX_FILES: usize = 1000;
const MAX_FILE_BYTES: u64 = 1024 * 1024;
const MAX_DEPTH: usize = 4;

const CREATE_MANIFEST: &str = "CREATE TABLE backup_manifest (version INTEGER NOT NULL, \
     made_at INTEGER NOT NULL, trust_domain TEXT NOT NULL, size INTEGER NOT NULL, \
     root TEXT NOT NULL, with_keys INTEGER NOT NULL)";
const CREATE_FILES: &str = "CREATE TABLE backup_files (name TEXT NOT NULL PRIMARY KEY, \
     is_key INTEGER NOT NULL, sha256 TEXT NOT NULL, bytes BLOB NOT NULL)";
const INSERT_MANIFEST: &str = "INSERT INTO backup_manifest \
     (version, made_at, trust_domain, size, root, with_keys) VALUES (?, ?, ?, ?, ?, ?)";
const INSERT_FILE: &str =
    "INSERT INTO backup_files (name, is_key, sha256, bytes) VALUES (?, ?, ?, ?)";
const SELECT_MANIFEST: &str =
    "SELECT version, made_at, trust_domain, size, root, with_keys FROM backup_manifest";
const SELECT_FILES: &str = "SELECT name, is_key, sha256, bytes FROM backup_files ORDER BY name";
