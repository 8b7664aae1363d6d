//! Files of the data folder: sizes, permissions, what is readable in them.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::ca;
use crate::settings::names;

/// Length of the record's files, in bytes: database, journal, index of the journal.
pub(crate) fn record_bytes(data_dir: &Path) -> u64 {
    ["", "-wal", "-shm"]
        .iter()
        .map(|end| length(&beside(data_dir, end)))
        .sum()
}

/// Length of the record's journal, in bytes.
pub(crate) fn journal_bytes(data_dir: &Path) -> u64 {
    length(&beside(data_dir, "-wal"))
}

fn beside(data_dir: &Path, end: &str) -> PathBuf {
    data_dir.join(format!("{}{end}", names::DATABASE))
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |found| found.len())
}

/// Room on a disk, in bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Room {
    /// For who is not the superuser.
    pub(crate) free: u64,
    /// Altogether.
    pub(crate) all: u64,
}

/// Room on the disk that holds `path`; `None` where the system does not tell.
pub(crate) fn room(path: &Path) -> Option<Room> {
    let told = rustix::fs::statvfs(path).ok()?;
    Some(Room {
        free: told.f_bavail.saturating_mul(told.f_frsize),
        all: told.f_blocks.saturating_mul(told.f_frsize),
    })
}

/// Files that only their owner should be able to open, as far as they are there.
pub(crate) fn private(data_dir: &Path) -> Vec<PathBuf> {
    let ca = data_dir.join(names::CA_DIR);
    [
        data_dir.join(names::DATABASE),
        beside(data_dir, "-wal"),
        data_dir.join(names::DENY_LIST_KEY),
        data_dir.join(names::DENY_LIST_NEXT_KEY),
        ca.join(ca::names::ROOT_KEY),
        ca.join(ca::names::INTERMEDIATE_KEY),
    ]
    .into_iter()
    .filter(|path| path.exists())
    .collect()
}

/// The permissions of what others than the owner can open, or that is somebody else's.
pub(crate) fn open_to_others(path: &Path) -> Option<u32> {
    let found = fs::metadata(path).ok()?;
    let mode = found.permissions().mode() & 0o7777;
    let ours = found.uid() == rustix::process::geteuid().as_raw();
    (mode & 0o077 != 0 || !ours).then_some(mode)
}

/// The CA's keys that lie there unencrypted: `(file, whether it is the root's)`.
pub(crate) fn plain_keys(data_dir: &Path) -> Vec<(PathBuf, bool)> {
    let ca = data_dir.join(names::CA_DIR);
    [
        (ca::names::ROOT_KEY, true),
        (ca::names::INTERMEDIATE_KEY, false),
    ]
    .into_iter()
    .map(|(name, root)| (ca.join(name), root))
    .filter(|(path, _)| is_plain(path))
    .collect()
}

/// Whether the first PEM line says that the key is not encrypted. The key itself is not kept.
fn is_plain(path: &Path) -> bool {
    use std::io::Read as _;
    let mut start = [0_u8; 40];
    let read = fs::File::open(path).and_then(|mut file| file.read(&mut start));
    let Ok(read) = read else { return false };
    let start = start.get(..read).unwrap_or_default();
    let labels: [&[u8]; 3] = [
        b"-----BEGIN PRIVATE KEY-----",
        b"-----BEGIN EC PRIVATE KEY-----",
        b"-----BEGIN RSA PRIVATE KEY-----",
    ];
    labels.iter().any(|label| start.starts_with(label))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_plain_keys_from_encrypted_ones_and_open_files_from_private_ones() {
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join(names::CA_DIR);
        fs::create_dir(&ca).unwrap();
        let key = ca.join(ca::names::INTERMEDIATE_KEY);
        let root = ca.join(ca::names::ROOT_KEY);
        fs::write(&key, "-----BEGIN PRIVATE KEY-----\nMIG").unwrap();
        fs::write(&root, "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIG").unwrap();
        assert_eq!(plain_keys(dir.path()), [(key.clone(), false)]);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        fs::set_permissions(&root, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(open_to_others(&key), Some(0o640));
        assert_eq!(open_to_others(&root), None);
        assert_eq!(private(dir.path()).len(), 2);
        assert_eq!(open_to_others(&dir.path().join("gone")), None);
        assert!(room(dir.path()).unwrap().all > 0);
        assert_eq!(record_bytes(dir.path()), 0);
    }
}
