//! The administration socket: owner-only from its first moment, and never taken from an authority
//! that is alive.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

use crate::ca::files;
use crate::crypto::{NoRandomness, random_bytes};

/// Why there is no administration socket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminSocketError {
    /// Somebody answers on it.
    #[error("somebody answers on the administration socket {}", path.display())]
    InUse {
        /// Its path.
        path: PathBuf,
    },
    /// The path is longer than the system allows for sockets.
    #[error(
        "the administration socket's path {} is {length} bytes, limit is {MAX_PATH_BYTES}: \
         choose a data folder with a shorter path",
        path.display()
    )]
    PathTooLong {
        /// Its path.
        path: PathBuf,
        /// Length found, in bytes.
        length: usize,
    },
    /// It cannot be made.
    #[error("cannot create the administration socket {}", path.display())]
    Io {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// No random name.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// Binds the socket at `path` with mode 0600, replacing one that nobody answers on.
///
/// It is bound inside a folder of mode 0700 and then renamed, so it is never open to others and
/// `path` is at no moment missing.
///
/// # Errors
/// [`AdminSocketError`].
pub(crate) async fn bind(path: &Path) -> Result<UnixListener, AdminSocketError> {
    let length = path.as_os_str().len();
    // The folder it is born in has a longer path.
    if length > MAX_PATH_BYTES {
        return Err(AdminSocketError::PathTooLong {
            path: path.to_owned(),
            length,
        });
    }
    match UnixStream::connect(path).await {
        Ok(_) => {
            return Err(AdminSocketError::InUse {
                path: path.to_owned(),
            });
        }
        Err(e) if is_dead(&e) => {}
        Err(source) => {
            return Err(AdminSocketError::Io {
                path: path.to_owned(),
                source,
            });
        }
    }
    let folder = path.with_file_name(format!(".{}", hex::encode(random_bytes::<4>()?)));
    let bound = bind_in(&folder, path);
    fs::remove_dir_all(&folder).ok();
    bound.map_err(|source| AdminSocketError::Io {
        path: path.to_owned(),
        source,
    })
}

fn is_dead(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
    )
}

fn bind_in(folder: &Path, path: &Path) -> io::Result<UnixListener> {
    files::create_private_dir(folder)?;
    let born = folder.join("s");
    let listener = UnixListener::bind(&born)?;
    fs::set_permissions(&born, Permissions::from_mode(0o600))?;
    fs::rename(&born, path)?;
    Ok(listener)
}

/// `sun_path` has 108 bytes, one of them zero; the name it is born under takes at most one more
/// than `admin.sock`.
const MAX_PATH_BYTES: usize = 106;
