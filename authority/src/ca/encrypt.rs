//! Encrypting key files that are there.

use std::fs;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::ca::init::io_error;
use crate::ca::key::{FileKey, is_encrypted};
use crate::ca::secret::Passphrase;
use crate::ca::{CaError, Pkcs11Uri, files};

/// What became of a key file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Encrypted {
    /// It is encrypted now.
    Now,
    /// It was encrypted.
    Already,
    /// It names a key in a token.
    InToken,
}

/// Encrypts the plain key files of the CA in `folder`; each is replaced at once and durably. What the
/// old file's blocks hold on the disk is not overwritten.
///
/// # Errors
/// [`CaError`]; files before the one at fault are encrypted.
pub fn encrypt_keys(
    folder: &Path,
    passphrase: &Passphrase,
) -> Result<Vec<(PathBuf, Encrypted)>, CaError> {
    let mut keys: Vec<PathBuf> = fs::read_dir(folder)
        .map_err(io_error("read", folder))?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "key"))
        .collect();
    keys.sort();
    let mut done = Vec::with_capacity(keys.len());
    for path in keys {
        let text = fs::read(&path)
            .map(Zeroizing::new)
            .map_err(io_error("read", &path))?;
        let state = if Pkcs11Uri::is_meant(&text) {
            Encrypted::InToken
        } else if is_encrypted(&text) {
            Encrypted::Already
        } else {
            let bad = |source| CaError::BadKey {
                path: path.clone(),
                source,
            };
            let key = FileKey::from_pem(&text).map_err(bad)?;
            let sealed = key.to_pem(Some(passphrase)).map_err(bad)?;
            files::replace_private(&path, sealed.as_bytes()).map_err(io_error("replace", &path))?;
            Encrypted::Now
        };
        done.push((path, state));
    }
    Ok(done)
}
