//! Starting processes so that they die with this one.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{LazyLock, mpsc};
use std::thread;

/// A program to start and where its handle goes.
type Job = (Command, mpsc::Sender<io::Result<Child>>);

/// Linux sends the parent-death signal when the *thread* that forked ends, not the process. One thread that
/// never ends starts them all: neither a finished test nor an idle worker of a runtime kills a child.
static SPAWNER: LazyLock<io::Result<mpsc::Sender<Job>>> = LazyLock::new(|| {
    let (sender, jobs) = mpsc::channel::<Job>();
    thread::Builder::new()
        .name("lab-spawner".to_owned())
        .spawn(move || {
            for (mut command, reply) in jobs {
                if let Err(mpsc::SendError(Ok(mut child))) =
                    reply.send(command.process_group(0).spawn())
                    && child.kill().and_then(|()| child.wait()).is_err()
                {
                    tracing::warn!(
                        id = child.id(),
                        "a process nobody waits for could not be killed"
                    );
                }
            }
        })?;
    Ok(sender)
});

/// `setpriv` of util-linux, which sets the parent-death signal and becomes the program. (Doing so between
/// fork and exec in this process would need unsafe code.)
static SETPRIV: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    let found = on_path("setpriv")?;
    let works = Command::new(&found)
        .args(["--pdeathsig", "KILL", "--", "true"])
        .output();
    works
        .is_ok_and(|output| output.status.success())
        .then_some(found)
});

pub(super) fn setpriv() -> Option<&'static Path> {
    SETPRIV.as_deref()
}

pub(super) fn spawn(command: Command) -> io::Result<Child> {
    let spawner = SPAWNER
        .as_ref()
        .map_err(|error| io::Error::new(error.kind(), error.to_string()))?;
    let (reply, started) = mpsc::channel();
    spawner.send((command, reply)).map_err(io::Error::other)?;
    started.recv().map_err(io::Error::other)?
}

/// Whether `program` can be executed; a bare name is looked for on `PATH`.
pub(super) fn executable(program: &Path) -> io::Result<()> {
    let found = match program.to_str() {
        Some(name) if program.components().count() == 1 => {
            on_path(name).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?
        }
        _ => program.to_owned(),
    };
    let metadata = found.metadata()?;
    if metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 {
        Ok(())
    } else {
        Err(io::Error::from(io::ErrorKind::PermissionDenied))
    }
}

/// The first executable file of that name on `PATH`.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| {
            file.metadata()
                .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        })
}
