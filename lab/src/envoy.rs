//! A real Envoy: found, checked, started, asked and stopped.

mod admin;
mod find;
mod validate;

pub use admin::{AdminClient, AdminError};
pub use find::{Binary, FindError, Places, find};
pub use validate::{ValidateError, validate};

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use envoy_config::address::Admin;
use envoy_config::{Bootstrap, EmitError};

use crate::process::{Child, Command, ProcessError};
use crate::ready::{self, ReadyError};

/// How long Envoy may take to be ready. Compiling the filter takes V8 some hundred milliseconds; the rest is for
/// busy machines and an agent that starts at the same time.
pub const READY_LIMIT: Duration = Duration::from_secs(30);

/// Why an Envoy did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The bootstrap has no administration interface, so nobody could ask whether it is ready.
    #[error("{name}: the bootstrap has no administration interface")]
    NoAdmin {
        /// Name given to the Envoy.
        name: String,
    },
    /// The bootstrap could not be turned into YAML.
    #[error("{name}: the bootstrap cannot be written as YAML")]
    Emit {
        /// Name given to the Envoy.
        name: String,
        /// Why.
        #[source]
        source: EmitError,
    },
    /// The bootstrap could not be written to its file.
    #[error("{name}: {} cannot be written", path.display())]
    Write {
        /// Name given to the Envoy.
        name: String,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The process did not start or could not be controlled.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Somebody else has a port or socket of the bootstrap.
    #[error("{name}: an address of the bootstrap is already in use: {line}")]
    AddressInUse {
        /// Name given to the Envoy.
        name: String,
        /// Envoy's own message.
        line: String,
    },
    /// It did not become ready.
    #[error(transparent)]
    Ready(#[from] ReadyError),
}

impl StartError {
    /// Whether another process was faster to a port, so that another port may do.
    #[must_use]
    pub const fn is_address_in_use(&self) -> bool {
        matches!(self, Self::AddressInUse { .. })
    }
}

/// How to start an Envoy.
#[derive(Clone, Debug)]
pub struct Options {
    name: String,
    dir: PathBuf,
    concurrency: u32,
    log_level: String,
    ready_limit: Duration,
}

impl Options {
    /// `name` is for files and messages; bootstrap and logs go to `dir`. Two workers, level `info`.
    #[must_use]
    pub fn new(name: &str, dir: impl Into<PathBuf>) -> Self {
        Self {
            name: name.to_owned(),
            dir: dir.into(),
            concurrency: 2,
            log_level: "info".to_owned(),
            ready_limit: READY_LIMIT,
        }
    }

    /// Number of worker threads; each has its own connections, pools and Wasm VM.
    #[must_use]
    pub const fn concurrency(mut self, workers: u32) -> Self {
        self.concurrency = workers;
        self
    }

    /// Level, or `component:level` pairs after a level: `warning` or `info,wasm:debug`.
    #[must_use]
    pub fn log_level(mut self, level: &str) -> Self {
        level.clone_into(&mut self.log_level);
        self
    }

    /// How long it may take to become ready, instead of 30 s.
    #[must_use]
    pub const fn ready_limit(mut self, limit: Duration) -> Self {
        self.ready_limit = limit;
        self
    }

    fn command(&self, binary: &Binary, config: &Path) -> Command {
        let (level, components) = self
            .log_level
            .split_once(',')
            .unwrap_or((&self.log_level, ""));
        let command = Command::new(&self.name, binary.path(), &self.dir)
            .arg("--config-path")
            .arg(config)
            // No shared memory with, and no hand-over to, another Envoy on the machine.
            .arg("--disable-hot-restart")
            .args(["--concurrency", &self.concurrency.to_string()])
            .args(["--log-level", level])
            .args(["--drain-time-s", "5", "--drain-strategy", "immediate"]);
        if components.is_empty() {
            return command;
        }
        command.args(["--component-log-level", components])
    }
}

/// A running Envoy. Dropping it kills it.
#[derive(Debug)]
pub struct Envoy {
    child: Child,
    admin: AdminClient,
    config: PathBuf,
}

impl Envoy {
    /// Starts Envoy and waits until it is ready: listeners open, secrets there, filter loaded.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(
        binary: &Binary,
        bootstrap: &Bootstrap,
        options: &Options,
    ) -> Result<Self, StartError> {
        let mut envoy = Self::launch(binary, bootstrap, options)?;
        envoy.wait_ready(options.ready_limit).await?;
        Ok(envoy)
    }

    /// Starts Envoy without waiting, see [`Envoy::wait_ready`].
    ///
    /// # Errors
    /// [`StartError`].
    pub fn launch(
        binary: &Binary,
        bootstrap: &Bootstrap,
        options: &Options,
    ) -> Result<Self, StartError> {
        let failed = |source| StartError::Emit {
            name: options.name.clone(),
            source,
        };
        let yaml = bootstrap.to_yaml().map_err(failed)?;
        Self::launch_yaml(binary, &yaml, bootstrap.admin(), options)
    }

    /// The same with a bootstrap from elsewhere, whose administration interface is at `admin`.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn launch_yaml(
        binary: &Binary,
        yaml: &str,
        admin: &Admin,
        options: &Options,
    ) -> Result<Self, StartError> {
        let name = &options.name;
        let no_admin = || StartError::NoAdmin { name: name.clone() };
        let admin = AdminClient::new(admin).ok_or_else(no_admin)?;
        let config = options.dir.join(format!("{name}.yaml"));
        let written =
            std::fs::create_dir_all(&options.dir).and_then(|()| std::fs::write(&config, yaml));
        let failed = |source| StartError::Write {
            name: name.clone(),
            path: config.clone(),
            source,
        };
        written.map_err(failed)?;
        let child = options.command(binary, &config).start()?;
        Ok(Self {
            child,
            admin,
            config,
        })
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// [`StartError::Ready`], or [`StartError::AddressInUse`] when its log says so.
    pub async fn wait_ready(&mut self, limit: Duration) -> Result<(), StartError> {
        let target = self.admin.target().clone();
        match ready::http_ok(&target, "/ready", limit, Some(&mut self.child)).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.address_in_use().unwrap_or(StartError::Ready(error))),
        }
    }

    fn address_in_use(&self) -> Option<StartError> {
        let log = std::fs::read_to_string(self.child.stderr()).ok()?;
        let line = log
            .lines()
            .find(|line| line.contains("Address already in use"))?
            .to_owned();
        Some(StartError::AddressInUse {
            name: self.child.name().to_owned(),
            line,
        })
    }

    /// Its administration interface.
    #[must_use]
    pub const fn admin(&self) -> &AdminClient {
        &self.admin
    }

    /// The process, for its logs and exit status.
    #[must_use]
    pub const fn process(&mut self) -> &mut Child {
        &mut self.child
    }

    /// The file its bootstrap was written to.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Its log so far.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn log(&self) -> io::Result<String> {
        std::fs::read(self.child.stderr()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Ends it: SIGTERM, SIGKILL after five seconds.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub async fn stop(mut self) -> Result<ExitStatus, ProcessError> {
        self.child.stop(Duration::from_secs(5)).await
    }
}
