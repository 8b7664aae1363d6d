//! Waiting until something is so, with a limit and a name.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use crate::http::{self, Target};
use crate::process::{Child, ProcessError};

/// First and longest pause between two looks.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Why something is not so yet; the last one is in the error.
#[derive(Clone, Debug)]
pub struct NotYet(pub String);

impl<E: std::error::Error> From<E> for NotYet {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        Self(text)
    }
}

/// It did not come.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadyError {
    /// The limit was reached.
    #[error("{what} did not come within {limit:?}: {last}{}", Log(log))]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        limit: Duration,
        /// What the last look found.
        last: String,
        /// End of the process' log, if one was watched.
        log: Option<String>,
    },
    /// The process that was to bring it about has ended.
    #[error("{what} did not come: {name} ended with {status}{}", Log(&Some(log.clone())))]
    Ended {
        /// What was waited for.
        what: String,
        /// The process.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// End of its log.
        log: String,
    },
    /// The process could not be asked.
    #[error("{what} could not be waited for")]
    Process {
        /// What was waited for.
        what: String,
        /// Why.
        #[source]
        source: ProcessError,
    },
}

struct Log<'a>(&'a Option<String>);

impl fmt::Display for Log<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .as_ref()
            .map_or(Ok(()), |log| write!(f, "; its log ends with:\n{log}"))
    }
}

/// Looks with `probe` until it gives a value, at most for `limit`; ends early when `child` does.
///
/// # Errors
/// [`ReadyError`], naming `what`.
pub async fn until<T>(
    what: &str,
    limit: Duration,
    mut child: Option<&mut Child>,
    mut probe: impl AsyncFnMut() -> Result<T, NotYet>,
) -> Result<T, ReadyError> {
    let begun = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        let left = limit.saturating_sub(begun.elapsed());
        let last = match tokio::time::timeout(left, probe()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(NotYet(last))) => last,
            Err(_) => "no answer".to_owned(),
        };
        if let Some(child) = child.as_deref_mut() {
            let status = child.exit_status();
            let failed = |source| ReadyError::Process {
                what: what.to_owned(),
                source,
            };
            if let Some(status) = status.map_err(failed)? {
                let (name, log) = (child.name().to_owned(), child.log_tail());
                return Err(ReadyError::Ended {
                    what: what.to_owned(),
                    name,
                    status,
                    log,
                });
            }
        }
        if begun.elapsed() >= limit {
            let log = child.map(|child| child.log_tail());
            return Err(ReadyError::TimedOut {
                what: what.to_owned(),
                limit,
                last,
                log,
            });
        }
        tokio::time::sleep(pause.min(limit.saturating_sub(begun.elapsed()))).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Waits until `GET path` at `target` answers 200; gives the body.
///
/// # Errors
/// [`ReadyError`].
pub async fn http_ok(
    target: &Target,
    path: &str,
    limit: Duration,
    child: Option<&mut Child>,
) -> Result<String, ReadyError> {
    let what = format!("answer 200 to GET {path} at {target}");
    until(&what, limit, child, async || {
        let answer = http::get(target, path).await?;
        if answer.status == 200 {
            Ok(answer.text())
        } else {
            Err(NotYet(format!(
                "status {}: {}",
                answer.status,
                answer.text().trim()
            )))
        }
    })
    .await
}

/// Waits until somebody accepts connections on the Unix socket.
///
/// # Errors
/// [`ReadyError`].
pub async fn unix_socket(
    path: &Path,
    limit: Duration,
    child: Option<&mut Child>,
) -> Result<(), ReadyError> {
    let what = format!("connection to {}", path.display());
    until(&what, limit, child, async || {
        tokio::net::UnixStream::connect(path).await?;
        Ok(())
    })
    .await
}

/// Waits until somebody accepts connections on the TCP address.
///
/// # Errors
/// [`ReadyError`].
pub async fn tcp(
    address: SocketAddr,
    limit: Duration,
    child: Option<&mut Child>,
) -> Result<(), ReadyError> {
    let what = format!("connection to {address}");
    until(&what, limit, child, async || {
        tokio::net::TcpStream::connect(address).await?;
        Ok(())
    })
    .await
}

/// Waits until the file exists and is not empty; gives its bytes.
///
/// # Errors
/// [`ReadyError`].
pub async fn file(
    path: &Path,
    limit: Duration,
    child: Option<&mut Child>,
) -> Result<Vec<u8>, ReadyError> {
    let what = format!("file {}", path.display());
    until(&what, limit, child, async || {
        let bytes = tokio::fs::read(path).await?;
        if bytes.is_empty() {
            Err(NotYet("it is empty".to_owned()))
        } else {
            Ok(bytes)
        }
    })
    .await
}

/// Waits until the process has printed a whole line of JSON with `"event": event` on its standard output;
/// gives the first such line.
///
/// # Errors
/// [`ReadyError`].
pub async fn event(
    child: &mut Child,
    event: &str,
    limit: Duration,
) -> Result<serde_json::Value, ReadyError> {
    let what = format!("line with event {event:?} from {}", child.name());
    let stdout = child.stdout().to_owned();
    until(&what, limit, Some(child), async || {
        let text = tokio::fs::read_to_string(&stdout).await?;
        text.split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .find(|line| line.get("event").and_then(|value| value.as_str()) == Some(event))
            .ok_or_else(|| NotYet("no such line".to_owned()))
    })
    .await
}
