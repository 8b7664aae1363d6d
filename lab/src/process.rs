//! Child processes that do not outlive whoever started them.

pub(crate) mod spawner;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// How often a process is asked whether it has ended.
const POLL: Duration = Duration::from_millis(10);
/// What an error shows of a log, in bytes.
const TAIL: u64 = 2048;

/// What went wrong with a process.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// A log file or its folder cannot be written.
    #[error("{name}: log {} cannot be written", path.display())]
    Log {
        /// Process.
        name: String,
        /// Log file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program could not be started.
    #[error("{name}: {} cannot be started", program.display())]
    Start {
        /// Process.
        name: String,
        /// Program.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The process could not be asked or signalled.
    #[error("{name}: cannot {action}")]
    Control {
        /// Process.
        name: String,
        /// What was tried.
        action: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It did not end in time.
    #[error("{name}: still running after {waited:?}; its log ends with:\n{tail}")]
    StillRunning {
        /// Process.
        name: String,
        /// Time given.
        waited: Duration,
        /// End of its log.
        tail: String,
    },
}

/// A program to start.
#[derive(Clone, Debug)]
pub struct Command {
    name: String,
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    log_dir: PathBuf,
}

impl Command {
    /// `program`, called `name` in messages; output goes to `NAME.stdout` and `NAME.stderr` in `log_dir`.
    #[must_use]
    pub fn new(name: &str, program: impl Into<PathBuf>, log_dir: impl Into<PathBuf>) -> Self {
        Self {
            name: name.to_owned(),
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            log_dir: log_dir.into(),
        }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<I: IntoIterator<Item = A>, A: AsRef<OsStr>>(mut self, args: I) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// One more environment variable.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env
            .push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Starts it, in a process group of its own so that a Ctrl-C at the terminal reaches only the parent, which
    /// then stops its children in order.
    ///
    /// Should the parent be killed, the kernel kills the child, where `setpriv` (util-linux) is installed;
    /// elsewhere a child can outlive a parent that was killed by SIGKILL. What the child itself started is not
    /// killed then; [`Child::stop`], [`Child::kill`] and dropping reach it, too.
    ///
    /// # Errors
    /// [`ProcessError::Log`] and [`ProcessError::Start`].
    pub fn start(&self) -> Result<Child, ProcessError> {
        let stdout = self.log_dir.join(format!("{}.stdout", self.name));
        let stderr = self.log_dir.join(format!("{}.stderr", self.name));
        let log = |path: &Path| {
            fs::create_dir_all(&self.log_dir)
                .and_then(|()| File::create(path))
                .map_err(|source| ProcessError::Log {
                    name: self.name.clone(),
                    path: path.to_owned(),
                    source,
                })
        };
        let mut command = match spawner::setpriv() {
            Some(setpriv) => {
                let mut command = std::process::Command::new(setpriv);
                command
                    .args(["--pdeathsig", "KILL", "--"])
                    .arg(&self.program);
                command
            }
            None => std::process::Command::new(&self.program),
        };
        command
            .args(&self.args)
            .envs(self.env.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(log(&stdout)?)
            .stderr(log(&stderr)?);
        let failed = |source| ProcessError::Start {
            name: self.name.clone(),
            program: self.program.clone(),
            source,
        };
        // With setpriv in between, a missing program would only show in a log.
        spawner::executable(&self.program).map_err(failed)?;
        let child = spawner::spawn(command).map_err(failed)?;
        Ok(Child {
            name: self.name.clone(),
            child,
            stdout,
            stderr,
        })
    }
}

/// A running, or ended, child process. Dropping it kills it.
#[derive(Debug)]
pub struct Child {
    name: String,
    child: std::process::Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Child {
    /// Name used in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// File with its standard output.
    #[must_use]
    pub fn stdout(&self) -> &Path {
        &self.stdout
    }

    /// File with its standard error.
    #[must_use]
    pub fn stderr(&self) -> &Path {
        &self.stderr
    }

    /// How it ended, `None` while it runs.
    ///
    /// # Errors
    /// [`ProcessError::Control`] when the system cannot say.
    pub fn exit_status(&mut self) -> Result<Option<ExitStatus>, ProcessError> {
        self.child
            .try_wait()
            .map_err(|source| self.control("ask how it ended", source))
    }

    /// Waits for its end, at most `limit`.
    ///
    /// # Errors
    /// [`ProcessError::StillRunning`] after `limit`.
    pub async fn exit_within(&mut self, limit: Duration) -> Result<ExitStatus, ProcessError> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.exit_status()? {
                return Ok(status);
            }
            if begun.elapsed() >= limit {
                return Err(ProcessError::StillRunning {
                    name: self.name.clone(),
                    waited: limit,
                    tail: self.log_tail(),
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Asks it to end (SIGTERM); after `grace` it and what it started are killed.
    ///
    /// # Errors
    /// [`ProcessError::Control`], or [`ProcessError::StillRunning`] when even SIGKILL did not end it.
    pub async fn stop(&mut self, grace: Duration) -> Result<ExitStatus, ProcessError> {
        if let Some(status) = self.exit_status()? {
            return Ok(status);
        }
        self.signal(Signal::TERM)?;
        match self.exit_within(grace).await {
            Err(ProcessError::StillRunning { .. }) => self.kill().await,
            outcome => outcome,
        }
    }

    /// Kills it and what it started (SIGKILL).
    ///
    /// # Errors
    /// As [`Child::stop`].
    pub async fn kill(&mut self) -> Result<ExitStatus, ProcessError> {
        self.signal(Signal::KILL)?;
        self.exit_within(Duration::from_secs(10)).await
    }

    /// Sends a signal to its process group, unless it has ended.
    ///
    /// # Errors
    /// [`ProcessError::Control`].
    pub fn signal(&mut self, signal: Signal) -> Result<(), ProcessError> {
        // While it is not reaped its id, which is the group's, cannot belong to anybody else.
        if self.exit_status()?.is_some() {
            return Ok(());
        }
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let Some(group) = group else { return Ok(()) };
        kill_process_group(group, signal).map_err(|error| self.control("signal it", error.into()))
    }

    /// The end of its standard error and output, for messages.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let mut text = tail(&self.stderr);
        text.push_str(&tail(&self.stdout));
        if text.is_empty() {
            "(empty)".to_owned()
        } else {
            text
        }
    }

    fn control(&self, action: &'static str, source: io::Error) -> ProcessError {
        ProcessError::Control {
            name: self.name.clone(),
            action,
            source,
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.signal(Signal::KILL).is_ok() && self.child.wait().is_err() {
            tracing::warn!(process = self.name, "could not be waited for");
        }
    }
}

fn tail(path: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_or_else(
        |error| format!("({} cannot be read: {error})\n", path.display()),
        |bytes| String::from_utf8_lossy(&bytes).into_owned(),
    )
}
