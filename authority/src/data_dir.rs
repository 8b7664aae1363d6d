//! The data folder: made for its owner only, held by one authority at a time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::ca::files;
use crate::settings::names;

/// A data folder this process holds until it drops this.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    /// Held open for its lock; the system lets go of it however the process ends.
    _lock: File,
}

/// Why the data folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataDirError {
    /// It cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The folder, or a file in it.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// It is something else.
    #[error("{} is not a folder", path.display())]
    NotAFolder {
        /// What is there.
        path: PathBuf,
    },
    /// Everybody can write to it.
    #[error(
        "the data folder {} can be written to by everybody (mode {mode:o}), so what is in it \
         proves nothing: take that right away (`chmod o-w`) or choose another folder",
        path.display()
    )]
    OpenToAll {
        /// The folder.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Another authority is running on it.
    #[error("another authority is running on the data folder {}", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
}

impl DataDir {
    /// Makes the folder if needed (and its parents), and takes its lock.
    ///
    /// # Errors
    /// [`DataDirError`].
    pub(crate) fn open(path: &Path) -> Result<Self, DataDirError> {
        let failed = |action, path: &Path| {
            let path = path.to_owned();
            move |source| DataDirError::Io {
                action,
                path,
                source,
            }
        };
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => check_not_open_to_all(path, found.mode())?,
            Ok(_) => {
                return Err(DataDirError::NotAFolder {
                    path: path.to_owned(),
                });
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => create(path)?,
            Err(source) => return Err(failed("look at", path)(source)),
        }
        fs::read_dir(path).map_err(failed("read", path))?;
        let lock_path = path.join(names::LOCK);
        let lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(failed("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(DataDirError::Locked {
                path: path.to_owned(),
            }),
            Err(TryLockError::Error(source)) => Err(failed("lock", &lock_path)(source)),
        }
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Whoever can write to a folder can put a CA of their own into it before we do.
fn check_not_open_to_all(path: &Path, mode: u32) -> Result<(), DataDirError> {
    if mode & 0o002 == 0 {
        return Ok(());
    }
    Err(DataDirError::OpenToAll {
        path: path.to_owned(),
        mode: mode & 0o7777,
    })
}

fn create(path: &Path) -> Result<(), DataDirError> {
    let failed = |action| {
        let path = path.to_owned();
        move |source| DataDirError::Io {
            action,
            path,
            source,
        }
    };
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        fs::create_dir_all(parent).map_err(failed("create the folder of"))?;
    }
    match files::create_private_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map_err(failed("create")),
    }
}
