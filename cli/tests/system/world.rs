//! A folder with an authority in it, and the commands that are run against it.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use api::admin::admin_service_client::AdminServiceClient;
use hyper_util::rt::TokioIo;
use lab::process::{Child, Command};
use lab::ready;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

/// The binary under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_countersign");
/// Everything that is waited for comes within this, on a machine that is busy with other tests, too.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);
/// How long a process that was asked to stop may take.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

pub(crate) const AGENT: &str = "spiffe://cluster.local/countersign/agent/one";
pub(crate) const HTTPBIN: &str = "spiffe://cluster.local/ns/default/sa/httpbin";
pub(crate) const SLEEP: &str = "spiffe://cluster.local/ns/default/sa/sleep";

/// A short-lived folder: `data` for the authority, `logs` for what processes print.
pub(crate) struct Home {
    dir: TempDir,
    runs: AtomicU32,
}

impl Home {
    pub(crate) fn new() -> Self {
        // Not below TMPDIR, which may be long: the path of a Unix socket has at most 107 bytes.
        let dir = tempfile::Builder::new().prefix("cs-").tempdir_in("/tmp");
        Self {
            dir: dir.unwrap(),
            runs: AtomicU32::new(0),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The authority's data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.data().join("admin.sock")
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// The binary with arguments, knowing this folder's authority.
    pub(crate) fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        Command::new(&format!("run-{run}"), PROGRAM, self.path("logs"))
            .args(args)
            .env("COUNTERSIGN_ADMIN", self.admin_socket())
            .env("COUNTERSIGN_LOG", "info")
            .env("NO_COLOR", "1")
    }

    /// Runs the binary to its end.
    pub(crate) async fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Outcome {
        self.finish(self.command(args)).await
    }

    /// Runs a command to its end; one that does not end is stopped, and the test fails.
    pub(crate) async fn finish(&self, command: Command) -> Outcome {
        let mut child = command.start().unwrap();
        let status = child.exit_within(LIMIT).await.unwrap();
        Outcome {
            code: status.code(),
            stdout: fs::read_to_string(child.stdout()).unwrap(),
            stderr: fs::read_to_string(child.stderr()).unwrap(),
            command: format!("{command:?}"),
        }
    }

    /// Runs a command that is one line without blanks inside arguments.
    pub(crate) async fn line(&self, line: &str) -> Outcome {
        self.run(line.split_whitespace()).await
    }

    /// The arguments of an authority on this folder.
    pub(crate) fn serve(&self, listen: SocketAddr) -> Command {
        self.serve_in(&self.data(), listen)
    }

    pub(crate) fn serve_in(&self, data: &Path, listen: SocketAddr) -> Command {
        self.command(["authority", "serve"])
            .args(["--listen", &listen.to_string()])
            .arg("--data-dir")
            .arg(data)
    }

    /// A running authority on a free port.
    pub(crate) async fn authority(&self) -> Authority {
        Authority::start(&self.serve(any_port())).await
    }

    /// The answer of `command -o json`.
    pub(crate) async fn json(&self, line: &str) -> Value {
        self.line(&format!("{line} -o json")).await.done().json()
    }
}

/// Loopback with a port of the system's choice.
pub(crate) fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Loopback with a port that is free, to start on more than once.
pub(crate) fn fixed_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], lab::ports::free().unwrap()))
}

/// A running authority; killed when dropped.
pub(crate) struct Authority {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    /// What it said when it listened.
    pub(crate) event: Value,
}

impl Authority {
    pub(crate) async fn start(command: &Command) -> Self {
        let mut child = command.start().unwrap();
        let event = ready::event(&mut child, "listening", LIMIT).await.unwrap();
        let address = event["address"].as_str().unwrap().parse().unwrap();
        Self {
            child,
            address,
            event,
        }
    }

    /// Waits until it listens.
    pub(crate) async fn listening(child: &mut Child) -> SocketAddr {
        let event = ready::event(child, "listening", LIMIT).await.unwrap();
        event["address"].as_str().unwrap().parse().unwrap()
    }

    pub(crate) async fn stop(mut self) {
        let status = self.child.stop(GRACE).await.unwrap();
        assert!(status.success(), "{status}: {}", self.child.log_tail());
    }
}

/// How a command ended and what it said.
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    command: String,
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            code,
            stdout,
            stderr,
            command,
        } = self;
        write!(
            f,
            "{command} ended with {code:?}\nstdout:\n{stdout}\nstderr:\n{stderr}"
        )
    }
}

impl Outcome {
    /// It must have succeeded.
    #[track_caller]
    pub(crate) fn done(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// It must have failed, with a last message that says all of `parts`.
    #[track_caller]
    pub(crate) fn fails(self, parts: &[&str]) -> Self {
        assert_eq!(self.code, Some(1), "{self:#?}");
        let message = self.message();
        assert!(message.starts_with("error: "), "{self:#?}");
        for part in parts {
            assert!(message.contains(part), "{part:?} is not said: {self:#?}");
        }
        self
    }

    /// It must have been refused as bad usage, with a message that says all of `parts`.
    #[track_caller]
    pub(crate) fn misused(self, parts: &[&str]) -> Self {
        assert_eq!(self.code, Some(2), "{self:#?}");
        for part in parts {
            assert!(
                self.stderr.contains(part),
                "{part:?} is not said: {self:#?}"
            );
        }
        assert_eq!(self.stdout, "", "{self:#?}");
        self
    }

    /// What is said at the end; the log before it may hold anything but a panic.
    #[track_caller]
    pub(crate) fn message(&self) -> String {
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
        self.stderr
            .split_inclusive('\n')
            .skip_while(|line| !line.starts_with("error: "))
            .collect()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    #[track_caller]
    pub(crate) fn yaml(&self) -> Value {
        serde_saphyr::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

/// A client of the admin socket; connects when it is used, and again.
pub(crate) fn admin(socket: &Path) -> AdminServiceClient<Channel> {
    AdminServiceClient::new(unix_channel(socket)).max_decoding_message_size(64 << 20)
}

pub(crate) fn unix_channel(socket: &Path) -> Channel {
    let socket = socket.to_owned();
    Endpoint::from_static("http://socket.invalid")
        .timeout(GRACE)
        .connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        }))
}

/// This process' user, as a selector.
pub(crate) fn me() -> String {
    format!("unix:uid:{}", rustix::process::geteuid().as_raw())
}
