//! The data folder: made for its owner only, held by one authority at a time.

use std::fs::{self, DirEntry, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::ca::{self, files};
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
    /// [`Self::open`] that waits up to [`LOCK_WAIT`] for another holder of the lock to let go of it: an authority
    /// that is about to end, or a child process between fork and exec, which has every open file of its parent.
    ///
    /// # Errors
    /// [`DataDirError`].
    pub(crate) async fn open_once_free(path: &Path) -> Result<Self, DataDirError> {
        let deadline = Instant::now() + LOCK_WAIT;
        loop {
            match Self::open(path) {
                Err(DataDirError::Locked { .. }) if Instant::now() < deadline => {
                    tokio::time::sleep(LOCK_PAUSE).await;
                }
                opened => return opened,
            }
        }
    }

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

    /// Removes what a start that was killed left: keys that were never moved to their place and
    /// that nobody uses. What cannot be removed is logged; it is never read.
    ///
    /// The CA must be in its place: then no folder beside it, not even one that `ca init` is writing
    /// at this moment, can become the CA any more.
    pub(crate) fn sweep(&self) {
        let failed = |path: &Path, error: &io::Error| {
            tracing::warn!(%error, path = %path.display(), "a left-over of an earlier start stays");
        };
        let found = match fs::read_dir(&self.path) {
            Ok(found) => found,
            Err(error) => return failed(&self.path, &error),
        };
        for entry in found {
            let outcome = entry.map(|entry| (entry.path(), sweep_one(&entry)));
            match outcome {
                Ok((path, Ok(true))) => {
                    tracing::info!(path = %path.display(), "removed a left-over of an earlier start");
                }
                Ok((_, Ok(false))) => {}
                Ok((path, Err(error))) => failed(&path, &error),
                Err(error) => failed(&self.path, &error),
            }
        }
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether an authority runs on the data folder `path`: another process holds its lock. False where
/// there is no folder.
#[must_use]
pub fn is_running(path: &Path) -> bool {
    File::open(path.join(names::LOCK))
        .is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
}

/// Removes `entry` if it is an unfinished CA folder or list key, and its owner's (ours) alone; true
/// if it was. Of a folder only our own files go, so that one with anything else in it stays.
fn sweep_one(entry: &DirEntry) -> io::Result<bool> {
    let name = entry.file_name();
    let finished = name.to_str().and_then(files::finished_name);
    let Some(finished) = finished else {
        return Ok(false);
    };
    // Of a link this is about the link itself.
    let found = entry.metadata()?;
    if found.uid() != rustix::process::geteuid().as_raw() || found.mode() & 0o077 != 0 {
        return Ok(false);
    }
    let path = entry.path();
    match finished {
        names::CA_DIR if found.is_dir() => {
            for name in ca::names::ALL {
                match fs::remove_file(path.join(name)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            fs::remove_dir(&path)?;
            Ok(true)
        }
        names::DENY_LIST_KEY | names::DENY_LIST_NEXT_KEY | names::AUDIT_KEY | names::DATABASE
            if found.is_file() =>
        {
            fs::remove_file(&path)?;
            Ok(true)
        }
        _ => Ok(false),
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

/// How long the lock of somebody who is about to let go of it is waited for, and between two looks.
const LOCK_WAIT: Duration = Duration::from_secs(1);
const LOCK_PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lock_that_is_let_go_of_in_time_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(dir.path()).unwrap();
        assert!(matches!(
            DataDir::open(dir.path()),
            Err(DataDirError::Locked { .. })
        ));
        let holder = std::thread::spawn(move || {
            std::thread::sleep(LOCK_WAIT / 5);
            drop(first);
        });
        DataDir::open_once_free(dir.path()).await.unwrap();
        holder.join().unwrap();
    }

    #[tokio::test]
    async fn a_lock_that_is_held_is_refused_after_the_wait() {
        let dir = tempfile::tempdir().unwrap();
        let _first = DataDir::open(dir.path()).unwrap();
        let begun = Instant::now();
        let refused = DataDir::open_once_free(dir.path()).await.unwrap_err();
        assert!((LOCK_WAIT..LOCK_WAIT * 5).contains(&begun.elapsed()));
        let path = dir.path().display();
        assert_eq!(
            refused.to_string(),
            format!("another authority is running on the data folder {path}")
        );
    }
}
