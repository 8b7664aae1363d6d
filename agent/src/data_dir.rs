//! The agent's own files: its key and certificate, only readable by itself.
//!
//! `agent.pem` holds key and chain in one file, so that a crash cannot leave a key with another
//! key's certificate. `join.key` is the key of a join that has not been answered yet: the authority
//! answers a repeated join only to the same key. `agent.lock` keeps a second agent out.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use identity::x509::SvidProfile;
use rustix::fs::{FlockOperation, flock};
use zeroize::Zeroizing;

use crate::{
    key::{KeyAlgorithm, KeyError, PrivateKey},
    svid::{ChainError, Svid},
};

/// The folder, open and locked for this process until dropped.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    /// Holds the lock while open.
    _lock: File,
}

impl DataDir {
    /// [`Self::open`] that waits up to [`LOCK_WAIT`] for another holder of the lock to let go of it: an agent
    /// that is about to end, or a child process between fork and exec, which has every open file of its parent.
    pub(crate) async fn open_once_free(path: &Path) -> Result<Self, DataDirError> {
        let deadline = Instant::now() + LOCK_WAIT;
        loop {
            match Self::open(path) {
                Err(DataDirError::InUse { .. }) if Instant::now() < deadline => {
                    tokio::time::sleep(LOCK_PAUSE).await;
                }
                opened => return opened,
            }
        }
    }

    /// Opens the folder, making it (mode 0700) if need be.
    pub(crate) fn open(path: &Path) -> Result<Self, DataDirError> {
        let failed = |what, at: &Path| {
            let path = at.to_owned();
            move |source| DataDirError::Io { what, path, source }
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed("make the folder", path))?;
        let mode = fs::metadata(path)
            .map_err(failed("look at", path))?
            .permissions()
            .mode();
        // Whoever can write to it can put a key of their own there.
        if mode & 0o002 != 0 {
            return Err(DataDirError::OpenToAll {
                path: path.to_owned(),
                mode: mode & 0o7777,
            });
        }
        let lock_path = path.join("agent.lock");
        let lock = private_file()
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(failed("open", &lock_path))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            rustix::io::Errno::WOULDBLOCK => DataDirError::InUse {
                path: path.to_owned(),
                source: error.into(),
            },
            other => failed("lock", &lock_path)(other.into()),
        })?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// The key and certificate kept last time, if any.
    pub(crate) fn load(&self, profile: SvidProfile) -> Result<Option<Svid>, DataDirError> {
        let path = self.path.join(OWN);
        let Some(text) = self.read(&path)? else {
            return Ok(None);
        };
        let key = PrivateKey::from_pem(text.as_bytes()).map_err(|source| DataDirError::Key {
            path: path.clone(),
            source,
        })?;
        let chain = certificates_of(&text);
        Svid::new(key, chain, profile)
            .map(Some)
            .map_err(|source| DataDirError::Chain { path, source })
    }

    /// Keeps key and certificate, durable before it returns.
    pub(crate) fn store(&self, svid: &Svid) -> Result<(), DataDirError> {
        let mut text = Zeroizing::new(String::new());
        text.reserve_exact(svid.key_pem().len() + svid.chain_pem().len() + 1);
        text.push_str(svid.key_pem());
        text.push_str(svid.chain_pem());
        self.replace(OWN, text.as_bytes())
    }

    /// The key to join with: that of an unanswered join, or a new one, durable before it is used.
    pub(crate) fn join_key(&self, algorithm: KeyAlgorithm) -> Result<PrivateKey, DataDirError> {
        let path = self.path.join(JOIN_KEY);
        if let Some(text) = self.read(&path)? {
            return PrivateKey::from_pem(text.as_bytes())
                .map_err(|source| DataDirError::Key { path, source });
        }
        let key = PrivateKey::generate(algorithm).map_err(|source| DataDirError::Key {
            path: path.clone(),
            source,
        })?;
        self.replace(JOIN_KEY, key.to_pem().as_bytes())?;
        Ok(key)
    }

    /// Whether `svid` is the answer to the join whose key is still here.
    pub(crate) fn join_was_answered(&self, svid: &Svid) -> Result<bool, DataDirError> {
        let path = self.path.join(JOIN_KEY);
        let Some(text) = self.read(&path)? else {
            return Ok(false);
        };
        let key = PrivateKey::from_pem(text.as_bytes())
            .map_err(|source| DataDirError::Key { path, source })?;
        Ok(key.spki_der() == svid.spki_der())
    }

    /// Forgets the key of a join that has been answered.
    pub(crate) fn forget_join_key(&self) -> Result<(), DataDirError> {
        let path = self.path.join(JOIN_KEY);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(DataDirError::Io {
                what: "remove",
                path,
                source,
            }),
            _ => Ok(()),
        }
    }

    fn read(&self, path: &Path) -> Result<Option<Zeroizing<String>>, DataDirError> {
        match fs::read_to_string(path) {
            Ok(text) => Ok(Some(Zeroizing::new(text))),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(DataDirError::Io {
                what: "read",
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Replaces a file as a whole: temporary file, fsync, rename, fsync of the folder.
    fn replace(&self, name: &str, content: &[u8]) -> Result<(), DataDirError> {
        let path = self.path.join(name);
        let temporary = self.path.join(format!("{name}.new"));
        let write = || -> io::Result<()> {
            // A left-over of that name may have another mode, or be a link to somewhere else.
            match fs::remove_file(&temporary) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = private_file().create_new(true).open(&temporary)?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(|source| DataDirError::Io {
            what: "write",
            path: path.clone(),
            source,
        })
    }
}

/// Why the data folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataDirError {
    /// The file system refuses.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
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
    /// Another agent has it.
    #[error("{} is in use by another agent", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// What the lock says.
        #[source]
        source: io::Error,
    },
    /// A key in it cannot be used.
    #[error("cannot use the private key in {}; to start over, move the file away and join with a new token", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with the key.
        #[source]
        source: KeyError,
    },
    /// The certificate in it cannot be used.
    #[error("cannot use the certificate in {}; to start over, move the file away and join with a new token", path.display())]
    Chain {
        /// The file.
        path: PathBuf,
        /// What is wrong with the certificate.
        #[source]
        source: ChainError,
    },
}

/// How long the lock of somebody who is about to let go of it is waited for, and between two looks.
const LOCK_WAIT: Duration = Duration::from_secs(1);
const LOCK_PAUSE: Duration = Duration::from_millis(20);

const OWN: &str = "agent.pem";
const JOIN_KEY: &str = "join.key";

fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

/// What follows the private key: the certificates, so that the key is not copied with them. Nothing
/// where there is none, which is refused as a chain without a leaf.
fn certificates_of(text: &str) -> String {
    text.find("-----BEGIN CERTIFICATE-----")
        .and_then(|start| text.get(start..))
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_join_key_is_private_and_stays_the_same_until_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let data = DataDir::open(&path).unwrap();
        let key = data.join_key(KeyAlgorithm::EcdsaP256).unwrap();
        let again = data.join_key(KeyAlgorithm::EcdsaP256).unwrap();
        assert_eq!(key.spki_der(), again.spki_der());
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join(JOIN_KEY)), 0o600);
        data.forget_join_key().unwrap();
        data.forget_join_key().unwrap();
        let other = data.join_key(KeyAlgorithm::EcdsaP256).unwrap();
        assert_ne!(key.spki_der(), other.spki_der());
    }

    #[test]
    fn refuses_a_folder_that_everybody_can_write_to() {
        let dir = tempfile::tempdir().unwrap();
        for open in [0o777, 0o1777, 0o702] {
            fs::set_permissions(dir.path(), Permissions::from_mode(open)).unwrap();
            assert!(matches!(
                DataDir::open(dir.path()),
                Err(DataDirError::OpenToAll { mode, .. }) if mode == open
            ));
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn writes_a_key_through_nobodys_link() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(&dir.path().join("data")).unwrap();
        let elsewhere = dir.path().join("elsewhere");
        fs::write(&elsewhere, "untouched").unwrap();
        let planted = dir.path().join("data").join(format!("{JOIN_KEY}.new"));
        std::os::unix::fs::symlink(&elsewhere, planted).unwrap();
        data.join_key(KeyAlgorithm::EcdsaP256).unwrap();
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "untouched");
        let key = fs::symlink_metadata(dir.path().join("data").join(JOIN_KEY)).unwrap();
        assert!(key.is_file());
    }

    #[tokio::test]
    async fn keeps_a_second_agent_out_and_frees_the_folder_when_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(dir.path()).unwrap();
        assert!(matches!(
            DataDir::open(dir.path()),
            Err(DataDirError::InUse { .. })
        ));
        drop(first);
        DataDir::open_once_free(dir.path()).await.unwrap();
    }

    #[tokio::test]
    async fn a_lock_that_is_let_go_of_in_time_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(dir.path()).unwrap();
        assert!(matches!(
            DataDir::open(dir.path()),
            Err(DataDirError::InUse { .. })
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
        let in_use = format!("{} is in use by another agent", dir.path().display());
        assert_eq!(refused.to_string(), in_use);
    }

    #[test]
    fn a_damaged_file_is_an_error_and_not_a_fresh_start() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        assert!(data.load(SvidProfile::Strict).unwrap().is_none());
        fs::write(dir.path().join(OWN), "damaged").unwrap();
        assert!(matches!(
            data.load(SvidProfile::Strict),
            Err(DataDirError::Key { .. })
        ));
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        fs::write(dir.path().join(OWN), key.to_pem().as_bytes()).unwrap();
        assert!(matches!(
            data.load(SvidProfile::Strict),
            Err(DataDirError::Chain {
                source: ChainError::NoLeaf,
                ..
            })
        ));
    }
}
