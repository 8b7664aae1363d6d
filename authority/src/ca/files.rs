//! Files that are whole on disk or not there.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::crypto::{NoRandomness, random_bytes};

/// Creates a folder only its owner can enter.
///
/// # Errors
/// What the system says; `AlreadyExists` too.
pub(crate) fn create_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// Writes a new file with mode 0600 and syncs it to disk.
///
/// # Errors
/// What the system says; `AlreadyExists` too.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_new(path, bytes, 0o600)
}

/// Changes the mode of a file.
///
/// # Errors
/// What the system says.
pub(crate) fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Puts `bytes` at `path`, replacing what was there at once and durably, readable by everybody.
///
/// # Errors
/// What the system says.
pub(crate) fn replace_public(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, 0o644)
}

/// Puts `bytes` at `path`, replacing what was there at once and durably, for its owner alone.
///
/// # Errors
/// What the system says.
pub(crate) fn replace_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, 0o600)
}

fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let name = path.file_name();
    let mut name = name.ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    match fs::remove_file(&temporary) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    write_new(&temporary, bytes, mode)?;
    fs::rename(&temporary, path)?;
    sync_parent(path)
}

/// A new name, `<path>.new-<16 hex digits>`, for what is moved to `path` once it is whole.
///
/// # Errors
/// [`NoRandomness`] if the system's generator fails.
pub(crate) fn unfinished(path: &Path) -> Result<PathBuf, NoRandomness> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!("{UNFINISHED}{}", hex::encode(random_bytes::<8>()?)));
    Ok(PathBuf::from(name))
}

/// Of which file or folder `name` is an [`unfinished`] one; `None` if of none.
pub(crate) fn finished_name(name: &str) -> Option<&str> {
    let (finished, digits) = name.rsplit_once(UNFINISHED)?;
    let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (digits.len() == 16 && digits.bytes().all(is_digit)).then_some(finished)
}

/// Makes the names in a folder durable.
///
/// # Errors
/// What the system says.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes the name `path` durable in its folder.
///
/// # Errors
/// What the system says.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => sync_dir(Path::new(".")),
        Some(parent) => sync_dir(parent),
        None => Ok(()),
    }
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

const UNFINISHED: &str = ".new-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unfinished_is_known_by_its_name() {
        let path = unfinished(Path::new("folder/ca")).unwrap();
        assert_eq!(path.parent(), Some(Path::new("folder")));
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(finished_name(name), Some("ca"));
        for other in [
            "ca",
            "ca.new-",
            "ca.new-0123456789abcde",
            "ca.new-0123456789abcdef0",
            "ca.new-0123456789ABCDEF",
            "ca.new-0123456789abcdeg",
            "ca.new-0123456789abcdef.away",
        ] {
            assert_eq!(finished_name(other), None, "{other}");
        }
    }

    #[test]
    fn a_path_without_a_name_is_refused_and_leaves_nothing() {
        let dir = tempfile::TempDir::new().unwrap();
        let error = replace_public(&dir.path().join(".."), b"x").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
