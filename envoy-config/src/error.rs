//! Why a spec is refused.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use identity::chain;
use policy::CompileError;
use policy::config::ConfigError;

use crate::age::ConnectionAge;
use crate::emit::EmitError;

/// One thing wrong with a spec, and where.
///
/// Displays whole, causes included, so that a list of them can be shown; it therefore has no source.
#[derive(Debug)]
pub struct SpecError {
    /// Path of the field in the spec, such as `upstreams[1].retry.perTryTimeout`.
    pub path: String,
    /// What is wrong with it.
    pub problem: Problem,
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, chain(&self.problem))
    }
}

impl std::error::Error for SpecError {}

/// What can be wrong with a field of a spec.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Nothing where something is needed.
    #[error("is empty")]
    Empty,
    /// The text is not what Envoy accepts here.
    #[error("{value:?} is not accepted here: {expected}")]
    BadText {
        /// What was given.
        value: String,
        /// What would be accepted.
        expected: &'static str,
    },
    /// The same name, host or address twice.
    #[error("{value:?} is already used by {by}")]
    Duplicate {
        /// What was given.
        value: String,
        /// Path of the field that has it.
        by: String,
    },
    /// The plaintext listener would let others speak with this workload's identity.
    #[error("{address} is not a loopback address")]
    NotLoopback {
        /// What was given.
        address: SocketAddr,
    },
    /// Port 0 in a place where the port must be known.
    #[error("port 0 is not accepted here")]
    NoPort,
    /// Too short or too long.
    #[error("{found:?} is outside {min:?} to {max:?}")]
    OutOfRange {
        /// What was given.
        found: Duration,
        /// Least accepted.
        min: Duration,
        /// Most accepted.
        max: Duration,
    },
    /// No identity may answer: an empty set denies, so the cluster could never be used.
    #[error("no SPIFFE ID is allowed, so no server could ever be accepted")]
    NoIdentity,
    /// An identity that Envoy's matcher and the filter cannot both be held to.
    #[error("the hold {rule}")]
    Hold {
        /// The rule broken.
        rule: HoldRule,
    },
    /// Two settings contradict each other.
    #[error("contradicts {other}: {why}")]
    Contradicts {
        /// Path of the other field.
        other: String,
        /// How.
        why: &'static str,
    },
    /// The filter would refuse the plug-in configuration.
    #[error("the filter would refuse it")]
    Plugin(#[source] ConfigError),
    /// A policy that Envoy's own filters cannot be told.
    #[error("cannot be written for Envoy")]
    Policy(#[source] CompileError),
    /// More than the filter reads.
    #[error("is {bytes} bytes of JSON, limit is {limit}")]
    TooLarge {
        /// Length found.
        bytes: usize,
        /// Most accepted.
        limit: usize,
    },
    /// More policies than belong in a plug-in configuration.
    #[error(
        "make a plug-in configuration of {bytes} bytes, limit is {limit}: publish them (`countersign policy publish \
         NAME …`) and name the bundle in `policyBundle` instead"
    )]
    PoliciesTooLarge {
        /// Length of the configuration with them.
        bytes: usize,
        /// Most accepted.
        limit: usize,
    },
    /// The plug-in configuration does not serialize.
    #[error("cannot be written")]
    Emit(#[source] EmitError),
}

/// What the request hold needs of its cluster.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HoldRule {
    /// Without TLS there is no peer to wait for and the request would hang.
    #[error("needs TLS on its cluster")]
    NeedsTls,
    /// With hedging the filter sees the newest attempt's peer and may release an older one's request.
    #[error("cannot be combined with hedging")]
    NoHedging,
    /// Very short per-try timeouts race with the hold.
    #[error("needs a per-try timeout of at least {min} ms", min = MIN_PER_TRY_TIMEOUT.as_millis())]
    PerTryTimeout,
    /// The cluster asks for the hold but the client has no filter.
    #[error("needs the Wasm filter of the client")]
    NeedsFilter,
}

/// The shortest per-try timeout on a cluster with the hold.
pub const MIN_PER_TRY_TIMEOUT: Duration = Duration::from_millis(20);

/// Everything wrong with a spec; never empty.
#[derive(Debug)]
pub struct SpecErrors(Vec<SpecError>);

impl SpecErrors {
    /// The problems, in the order of the fields.
    #[must_use]
    pub fn problems(&self) -> &[SpecError] {
        &self.0
    }

    /// The problems, owned.
    #[must_use]
    pub fn into_problems(self) -> Vec<SpecError> {
        self.0
    }
}

impl fmt::Display for SpecErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SpecErrors {}

/// Collects problems while a spec is checked.
#[derive(Debug, Default)]
pub(crate) struct Checks(Vec<SpecError>);

impl Checks {
    pub(crate) fn refuse(&mut self, path: impl Into<String>, problem: Problem) {
        self.0.push(SpecError {
            path: path.into(),
            problem,
        });
    }

    pub(crate) fn not_empty(&mut self, path: &str, text: &str) {
        if text.is_empty() {
            self.refuse(path, Problem::Empty);
        }
    }

    /// Envoy takes paths as UTF-8; an empty one would name the working folder.
    pub(crate) fn file_path(&mut self, path: &str, file: &std::path::Path) {
        match file.to_str() {
            Some("") => self.refuse(path, Problem::Empty),
            Some(_) => {}
            None => self.refuse(
                path,
                Problem::BadText {
                    value: file.to_string_lossy().into_owned(),
                    expected: "a path in UTF-8",
                },
            ),
        }
    }

    /// A Unix socket's path has to fit `sockaddr_un` with its closing NUL (unix(7)).
    pub(crate) fn socket_path(&mut self, path: &str, socket: &std::path::Path) {
        self.file_path(path, socket);
        if socket.as_os_str().len() > 107 {
            self.refuse(
                path,
                Problem::BadText {
                    value: socket.to_string_lossy().into_owned(),
                    expected: "a socket path of at most 107 bytes",
                },
            );
        }
    }

    pub(crate) fn age(&mut self, path: &str, age: ConnectionAge) {
        self.range(
            path,
            age.limit(),
            ConnectionAge::MIN,
            Duration::from_secs(30 * 24 * 3600),
        );
    }

    pub(crate) fn range(&mut self, path: &str, found: Duration, min: Duration, max: Duration) {
        if found < min || found > max {
            self.refuse(path, Problem::OutOfRange { found, min, max });
        }
    }

    pub(crate) fn done(self) -> Result<(), SpecErrors> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(SpecErrors(self.0))
        }
    }
}
