//! Who is at the other end of the Unix socket, by the kernel's word.
//!
//! The connecting process is held by a pidfd for as long as its connection lasts, and its executable
//! by an open file, so neither can be exchanged for another of the same number or name. Proof is
//! good for one connection: a process that hands its connected socket to another hands on what it
//! may have itself.
//!
//! What a process is, is looked at once, when its connection is accepted. Where several programs of
//! one user can reach the socket, `path` and `sha256` tell them apart only as long as they do not
//! cheat: a program can connect, leave the connection to a child, and become another by `exec`
//! before it is looked at. Users are told apart in any case.
//!
//! Not closed: between `connect` and our `pidfd_open` the process can exit and its number be given
//! to another process *of the same user*, since `SO_PEERPIDFD` cannot be asked for without `unsafe`.

use std::{
    collections::HashMap,
    fs::File,
    io,
    os::{
        fd::OwnedFd,
        unix::fs::{FileExt, MetadataExt},
    },
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use aws_lc_rs::digest::{Context, SHA256};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};
use tokio::{net::UnixStream, sync::OnceCell};

use crate::{cgroup, selector::ProcessFacts};

/// A process that connected.
#[derive(Clone, Debug)]
pub(crate) struct Peer(Arc<Proof>);

#[derive(Debug)]
struct Proof {
    pid: i32,
    uid: u32,
    gid: u32,
    executable: Option<Executable>,
    cgroup: Option<String>,
    digest: OnceCell<Option<[u8; 32]>>,
    digests: Digests,
    /// Keeps the process's number from being used again.
    process: OwnedFd,
}

#[derive(Debug)]
struct Executable {
    file: Arc<File>,
    path: PathBuf,
}

impl Peer {
    /// Attests the process at the other end.
    ///
    /// # Errors
    /// [`PeerError`]: it has no process here, or not any more. A process whose executable may not
    /// be looked at is no error; it has no path and no digest.
    pub(crate) fn attest(stream: &UnixStream, digests: &Digests) -> Result<Self, PeerError> {
        let credentials = stream
            .peer_cred()
            .map_err(|source| PeerError::Credentials { source })?;
        let (pid, process) = credentials
            .pid()
            .and_then(|number| Pid::from_raw(number).map(|pid| (number, pid)))
            .ok_or(PeerError::NoProcess)?;
        let pidfd =
            pidfd_open(process, PidfdFlags::empty()).map_err(|source| PeerError::Process {
                pid,
                source: source.into(),
            })?;
        let executable = Executable::of(pid);
        let cgroup = cgroup::of(pid);
        // Only now is it sure that /proc/PID was this process when it was looked at.
        if has_exited(&pidfd).map_err(|source| PeerError::Process { pid, source })? {
            return Err(PeerError::Exited { pid });
        }
        Ok(Self(Arc::new(Proof {
            pid,
            uid: credentials.uid(),
            gid: credentials.gid(),
            executable,
            cgroup,
            digest: OnceCell::new(),
            digests: digests.clone(),
            process: pidfd,
        })))
    }

    /// Process number, for logs.
    pub(crate) fn pid(&self) -> i32 {
        self.0.pid
    }

    /// Whether the process that was attested still runs. When it does not, its connection is held
    /// by another that nothing is known of.
    pub(crate) fn is_alive(&self) -> bool {
        has_exited(&self.0.process).is_ok_and(|exited| !exited)
    }

    /// What is known of it. Reads the whole executable, once, if the digest is asked for.
    pub(crate) async fn facts(&self, with_digest: bool) -> ProcessFacts {
        let sha256 = match &self.0.executable {
            Some(executable) if with_digest => {
                *self
                    .0
                    .digest
                    .get_or_init(|| self.0.digests.of(Arc::clone(&executable.file)))
                    .await
            }
            _ => None,
        };
        ProcessFacts {
            uid: self.0.uid,
            gid: self.0.gid,
            path: self.0.executable.as_ref().map(|one| one.path.clone()),
            sha256,
            cgroup: self.0.cgroup.clone(),
        }
    }
}

impl Executable {
    /// The executable of a process, if this agent may open it. The path is that of the file opened,
    /// asked of the open file and not of the process a second time.
    fn of(pid: i32) -> Option<Self> {
        use std::os::fd::AsRawFd;
        let file = File::open(format!("/proc/{pid}/exe")).ok()?;
        let path = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
        Some(Self {
            file: Arc::new(file),
            path,
        })
    }
}

/// Digests of executables, remembered by what tells one file's content from another's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Digests(Arc<Mutex<HashMap<FileKey, [u8; 32]>>>);

/// Device, inode, size, and time of last change (seconds, nanoseconds) of content and of inode.
type FileKey = (u64, u64, u64, (i64, i64), (i64, i64));

impl Digests {
    /// How many are remembered; beyond it they are forgotten and computed anew.
    const MOST: usize = 256;

    /// SHA-256 of a file, read from its start; `None` if it cannot be read.
    async fn of(&self, file: Arc<File>) -> Option<[u8; 32]> {
        let known = self.clone();
        tokio::task::spawn_blocking(move || known.compute(&file).ok())
            .await
            .ok()
            .flatten()
    }

    fn compute(&self, file: &File) -> io::Result<[u8; 32]> {
        let meta = file.metadata()?;
        let key = (
            meta.dev(),
            meta.ino(),
            meta.size(),
            (meta.mtime(), meta.mtime_nsec()),
            (meta.ctime(), meta.ctime_nsec()),
        );
        if let Some(digest) = self.lock().get(&key) {
            return Ok(*digest);
        }
        let digest = read_digest(file)?;
        let mut known = self.lock();
        if known.len() >= Self::MOST {
            known.clear();
        }
        known.insert(key, digest);
        Ok(digest)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<FileKey, [u8; 32]>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a connection is not served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum PeerError {
    /// The kernel does not tell.
    #[error("cannot read the credentials of the peer")]
    Credentials {
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It is in a PID namespace that cannot be seen from here.
    #[error("the peer has no process number in this PID namespace")]
    NoProcess,
    /// It cannot be held.
    #[error("cannot hold process {pid}")]
    Process {
        /// Its number.
        pid: i32,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It is gone, so nothing can be said of it.
    #[error("process {pid} exited before it was attested")]
    Exited {
        /// Its number.
        pid: i32,
    },
}

/// A pidfd becomes readable when its process exits.
fn has_exited(pidfd: &OwnedFd) -> io::Result<bool> {
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    Ok(poll(&mut fds, Some(&at_once))? > 0)
}

fn read_digest(file: &File) -> io::Result<[u8; 32]> {
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 1 << 20];
    let mut offset = 0;
    loop {
        let read = file.read_at(&mut buffer, offset)?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        context.update(bytes);
        offset += u64::try_from(read).map_err(io::Error::other)?;
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn attests_this_very_process() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let digests = Digests::default();
        let peer = Peer::attest(&ours, &digests).unwrap();
        let facts = peer.facts(true).await;
        let executable = std::env::current_exe().unwrap();
        assert_eq!(peer.pid(), i32::try_from(std::process::id()).unwrap());
        assert_eq!(facts.uid, rustix::process::geteuid().as_raw());
        assert_eq!(facts.gid, rustix::process::getegid().as_raw());
        assert_eq!(facts.path.as_ref(), Some(&executable));
        assert_eq!(facts.cgroup, cgroup::of(peer.pid()));
        let expected = crate::svid::digest(&std::fs::read(executable).unwrap());
        assert_eq!(facts.sha256, Some(expected));
        assert_eq!(digests.lock().len(), 1);
    }

    #[tokio::test]
    async fn reads_no_executable_unless_asked() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let digests = Digests::default();
        let peer = Peer::attest(&ours, &digests).unwrap();
        assert_eq!(peer.facts(false).await.sha256, None);
        assert!(digests.lock().is_empty());
    }

    #[test]
    fn notices_that_a_process_has_exited() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        assert!(!has_exited(&pidfd).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(has_exited(&pidfd).unwrap());
    }

    #[tokio::test]
    async fn a_process_that_is_gone_has_nobody_to_speak_for_it() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let alive = Peer::attest(&ours, &Digests::default()).unwrap();
        assert!(alive.is_alive());
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let gone = Peer(Arc::new(Proof {
            pid: i32::try_from(child.id()).unwrap(),
            uid: 0,
            gid: 0,
            executable: None,
            cgroup: None,
            digest: OnceCell::new(),
            digests: Digests::default(),
            process: pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap(),
        }));
        assert!(gone.is_alive());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!gone.is_alive());
    }

    #[test]
    fn a_changed_file_has_another_digest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        let digests = Digests::default();
        std::fs::write(&path, "one").unwrap();
        let one = digests.compute(&File::open(&path).unwrap()).unwrap();
        std::fs::write(&path, "another").unwrap();
        let other = digests.compute(&File::open(&path).unwrap()).unwrap();
        assert_eq!(one, crate::svid::digest(b"one"));
        assert_eq!(other, crate::svid::digest(b"another"));
    }
}
