//! The Unix socket: bound privately, served as gRPC (HTTP/2) and HTTP/1.1 on one path.

use std::{
    fs::{self, DirBuilder, File, Permissions},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use identity::chain;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;
use tracing::{debug, warn};

use crate::peer::{Digests, Peer};

/// A bound socket. Its file is removed when this is dropped, unless another took its place.
#[derive(Debug)]
pub(crate) struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file.
    file: (u64, u64),
}

impl Socket {
    /// Binds `path`, replacing a socket nobody answers on.
    ///
    /// The socket comes to life inside a folder of mode 0700 and is moved to its place with mode
    /// 0600: at no moment can anybody but the owner connect.
    pub(crate) async fn bind(path: &Path) -> Result<Self, SocketError> {
        let length = path.as_os_str().len();
        if length > MAX_PATH_BYTES {
            return Err(SocketError::PathTooLong {
                path: path.to_owned(),
                length,
            });
        }
        free(path).await?;
        bind_private(path).map_err(|source| SocketError::Bind {
            path: path.to_owned(),
            source,
        })
    }

    /// Serves connections until `stop`, then waits for those that are open to end.
    pub(crate) async fn serve(self, router: Router, stop: CancellationToken) {
        let digests = Digests::default();
        let connections = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stop.cancelled() => break,
            };
            match accepted {
                Ok((stream, _address)) => match Peer::attest(&stream, &digests) {
                    Ok(peer) => {
                        connections.spawn(converse(stream, peer, router.clone(), stop.clone()));
                    }
                    Err(error) => {
                        warn!(error = %chain(&error), "connection refused: the peer cannot be attested");
                    }
                },
                Err(error) => {
                    // Out of file descriptors, most likely: some will be closed in a while.
                    warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        connections.close();
        if tokio::time::timeout(DRAIN, connections.wait())
            .await
            .is_err()
        {
            warn!(open = connections.len(), "connections left open at the end");
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|meta| (meta.dev(), meta.ino()) == self.file);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            warn!(path = %self.path.display(), %error, "cannot remove the socket");
        }
    }
}

/// Why the socket cannot be bound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// Somebody answers there.
    #[error("{} is in use: something answers on it", path.display())]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// Nobody could connect to it by this path.
    #[error(
        "the socket's path {} is {length} bytes, limit is {MAX_PATH_BYTES}: choose a shorter one",
        path.display()
    )]
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// Its length, in bytes.
        length: usize,
    },
    /// Something else than a socket is there; it is left alone.
    #[error("{} exists and is not a socket", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The file system refuses.
    #[error("cannot bind {}", path.display())]
    Bind {
        /// The path.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// `sun_path` has 108 bytes, one of them zero.
const MAX_PATH_BYTES: usize = 107;
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);
/// How long open requests may take when the agent stops.
const DRAIN: std::time::Duration = std::time::Duration::from_secs(2);

async fn converse(stream: UnixStream, peer: Peer, router: Router, stop: CancellationToken) {
    let pid = peer.pid();
    let service = hyper::service::service_fn(move |mut request: http::Request<_>| {
        request.extensions_mut().insert(peer.clone());
        router.clone().oneshot(request)
    });
    let server = auto::Builder::new(TokioExecutor::new());
    let connection = server.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(pid, %error, "connection ended");
    }
}

/// Makes sure that nobody uses the path.
async fn free(path: &Path) -> Result<(), SocketError> {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            return Err(SocketError::Bind {
                path: path.to_owned(),
                source,
            });
        }
    };
    if !meta.file_type().is_socket() {
        return Err(SocketError::NotASocket {
            path: path.to_owned(),
        });
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(SocketError::Bind {
            path: path.to_owned(),
            source,
        }),
        Ok(_answered) => Err(SocketError::InUse {
            path: path.to_owned(),
        }),
    }
}

fn bind_private(path: &Path) -> io::Result<Socket> {
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let nursery = parent.join(format!(".{}.{}", name.display(), std::process::id()));
    if let Err(error) = fs::remove_dir_all(&nursery)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    DirBuilder::new().mode(0o700).create(&nursery)?;
    let bound = bind_inside(&nursery, path);
    let removed = fs::remove_dir_all(&nursery);
    let listener = bound?;
    removed?;
    let meta = fs::symlink_metadata(path)?;
    Ok(Socket {
        listener,
        path: path.to_owned(),
        file: (meta.dev(), meta.ino()),
    })
}

/// Addresses the new socket by the open folder: a Unix socket's path is limited to 107 bytes, and
/// the folder's name must not use up what the final path leaves.
fn bind_inside(nursery: &Path, path: &Path) -> io::Result<UnixListener> {
    let folder = File::open(nursery)?;
    let inside = format!("/proc/self/fd/{}/socket", folder.as_raw_fd());
    let listener = UnixListener::bind(&inside)?;
    fs::set_permissions(&inside, Permissions::from_mode(0o600))?;
    fs::rename(&inside, path)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn binds_privately_and_cleans_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.sock");
        let socket = Socket::bind(&path).await.unwrap();
        let mode = fs::symlink_metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        UnixStream::connect(&path).await.unwrap();
        drop(socket);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn replaces_a_dead_socket_but_not_a_living_one_nor_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let living = Socket::bind(&path).await.unwrap();
        assert!(matches!(
            Socket::bind(&path).await,
            Err(SocketError::InUse { .. })
        ));
        drop(living);
        fs::write(&path, "precious").unwrap();
        assert!(matches!(
            Socket::bind(&path).await,
            Err(SocketError::NotASocket { .. })
        ));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn refuses_a_path_that_nobody_could_connect_to() {
        let dir = tempfile::tempdir().unwrap();
        let room = 107 - dir.path().as_os_str().len() - 1;
        let longest = dir.path().join("s".repeat(room));
        let _socket = Socket::bind(&longest).await.unwrap();
        UnixStream::connect(&longest).await.unwrap();
        let too_long = dir.path().join("s".repeat(room + 1));
        assert!(matches!(
            Socket::bind(&too_long).await,
            Err(SocketError::PathTooLong { length: 108, .. })
        ));
    }

    #[tokio::test]
    async fn leaves_alone_a_socket_that_took_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.sock");
        let first = Socket::bind(&path).await.unwrap();
        fs::remove_file(&path).unwrap();
        let _second = Socket::bind(&path).await.unwrap();
        drop(first);
        UnixStream::connect(&path).await.unwrap();
    }
}
