//! Why a command failed, as the person who typed it needs to read it.

use std::error::Error;
use std::io;
use std::path::PathBuf;

/// A command's failure; printed once, with its causes, and the process exits with 1.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Failure {
    /// Standard output could not be written.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
    /// A result has no JSON or YAML form.
    #[error("cannot print the result: {0}")]
    Serialize(String),
    /// A file or folder could not be used.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried: "read", "write", "create".
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The authority did not answer on its admin socket.
    #[error("no authority answers on {} (is `countersign authority serve` running, with this data folder?)", socket.display())]
    NoAuthority {
        /// The socket that was tried.
        socket: PathBuf,
        /// Why there is no connection.
        #[source]
        source: tonic::transport::Error,
    },
    /// The authority answered with a refusal.
    #[error("the authority refused: {message} ({code:?})")]
    Refused {
        /// gRPC status code.
        code: tonic::Code,
        /// Its message.
        message: String,
    },
    /// Policies that do not compile; one line each.
    #[error("{}", .0.join("\n"))]
    Policies(Vec<String>),
    /// A check found what it should not have.
    #[error("{0}")]
    Check(String),
    /// A part of the system could not do its work.
    #[error("{part}")]
    Part {
        /// Which: "authority", "agent", "Envoy httpbin".
        part: String,
        /// What it said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

impl Failure {
    /// A file that could not be read, written or created.
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::File {
            action,
            path: path.into(),
            source,
        }
    }

    /// An error of a part, under that part's name.
    pub(crate) fn part(
        part: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::Part {
            part: part.into(),
            source: source.into(),
        }
    }

    /// The message with its causes, outermost first, each once.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let message = error.to_string();
            if !text.contains(&message) {
                text.push_str(": ");
                text.push_str(&message);
            }
            cause = error.source();
        }
        text
    }
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        Self::Refused {
            code: status.code(),
            message: status.message().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_each_cause_once() {
        let inner = io::Error::new(io::ErrorKind::PermissionDenied, "permission denied");
        let failure = Failure::part("authority", Failure::file("read", "/x/ca.key", inner));
        assert_eq!(
            failure.chain(),
            "authority: cannot read /x/ca.key: permission denied"
        );
    }
}
