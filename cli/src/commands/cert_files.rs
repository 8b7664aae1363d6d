//! Key, chain and root as files for whoever has no agent.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::failure::Failure;

/// Makes `folder` if it is not there, and tries whether files can be written to it; gives the
/// folder back if it was made here.
///
/// # Errors
/// When it cannot be made or written to.
pub(crate) fn prepare(folder: &Path) -> Result<Option<&Path>, Failure> {
    let made = (!folder.exists()).then_some(folder);
    fs::create_dir_all(folder).map_err(|error| Failure::file("create", folder, error))?;
    let probe = folder.join(".countersign-probe");
    replace(&probe, b"", 0o600)
        .and_then(|()| fs::remove_file(&probe))
        .map_err(|error| Failure::file("write to", folder, error))?;
    Ok(made)
}

/// Removes what [`prepare`] made, where nothing came of it.
pub(crate) fn forget(made: Option<&Path>) {
    // Best effort: an empty folder is a trace, not a fault.
    if let Some(folder) = made {
        fs::remove_dir(folder).ok();
    }
}

/// Writes `key.pem` (owner only), `cert-chain.pem` (leaf first) and `root-cert.pem` into `folder`.
///
/// # Errors
/// When the folder or a file cannot be written; files that exist are replaced.
pub(crate) fn write(folder: &Path, key: &str, chain: &str, root: &str) -> Result<(), Failure> {
    for (name, text, mode) in [
        ("key.pem", key, 0o600),
        ("cert-chain.pem", chain, 0o644),
        ("root-cert.pem", root, 0o644),
    ] {
        let path = folder.join(name);
        replace(&path, text.as_bytes(), mode)
            .map_err(|error| Failure::file("write", &path, error))?;
    }
    Ok(())
}

/// Writes a file that nobody ever sees half written or with wider rights than `mode`.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let scratch = path.with_extension("new");
    if let Err(error) = fs::remove_file(&scratch)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&scratch)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&scratch, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_is_for_its_owner_alone_even_where_it_replaces_a_wider_file() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key.pem");
        fs::write(&key, "old").unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        prepare(folder.path()).unwrap();

        write(folder.path(), "key", "chain", "root").unwrap();

        assert_eq!(fs::read_to_string(&key).unwrap(), "key");
        assert_eq!(
            fs::metadata(&key).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
}
