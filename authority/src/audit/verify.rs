//! Checking a whole record without a running authority: every hash of the log, every signed head,
//! and that rows and leaves tell the same.
//!
//! What is not found: somebody who has the log's key and rewrites everything consistently. Only who
//! has kept an earlier signed head elsewhere notices that, by a consistency proof.

use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

use crate::audit::key::LogPublicKey;
use crate::audit::merkle::Hash;
use crate::audit::note::TreeHead;
use crate::audit::position::Position;
use crate::inventory::log::read;

mod rows;
mod tables;
mod tree;

/// What to hold a record against.
#[derive(Clone, Debug)]
pub struct Expected {
    /// The log's public key, from a place that whoever can write the record cannot write.
    pub public_key: LogPublicKey,
    /// How far the record had come, where that is known.
    pub position: Option<Position>,
}

/// How far a check has come: which step, and how many of its rows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Progress {
    /// The step.
    pub step: &'static str,
    /// Rows looked at.
    pub done: u64,
}

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Leaves.
    pub size: u64,
    /// The root over all of them.
    pub root: Option<Hash>,
    /// Signed heads.
    pub heads: u64,
    /// The last of them.
    pub last_head: Option<TreeHead>,
    /// Leaves behind the last head, which only their rows vouch for.
    pub unsigned: u64,
    /// Certificates.
    pub certificates: u64,
    /// Of these, from before the log.
    pub before_the_log: u64,
    /// Refusals.
    pub refusals: u64,
    /// Of these, the newest, of which no leaf tells yet.
    pub refusals_without_leaf: u64,
    /// Everything that is wrong, up to [`MAX_FINDINGS`].
    pub findings: Vec<Finding>,
    /// How much is wrong.
    pub total_findings: u64,
}

/// Something that is wrong.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct Finding {
    /// Where: `leaf 17`, `certificate 4f2a…`.
    pub place: String,
    /// What.
    pub problem: String,
}

/// Why a record could not be checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// It cannot be opened.
    #[error("cannot open the database {}", path.display())]
    Open {
        /// Its file.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: sqlx::Error,
    },
    /// It cannot be read on.
    #[error("cannot read the {step}")]
    Read {
        /// In which step.
        step: &'static str,
        /// What SQLite says.
        #[source]
        source: sqlx::Error,
    },
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.total_findings == 0
    }

    pub(super) fn find(&mut self, place: impl Into<String>, problem: impl Into<String>) {
        self.total_findings = self.total_findings.saturating_add(1);
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(Finding {
                place: place.into(),
                problem: problem.into(),
            });
        }
    }
}

/// Checks the record in the file `path`, of a stopped or running authority or of a backup.
/// `progress` is told now and then.
///
/// # Errors
/// [`VerifyError`] if it cannot be read to its end. That something is wrong is no error but in the
/// report.
pub async fn verify(
    path: &Path,
    expected: &Expected,
    mut progress: impl FnMut(Progress) + Send,
) -> Result<Report, VerifyError> {
    let mut connection = open(path).await?;
    // One snapshot, whatever is written meanwhile.
    let read = |step| move |source| VerifyError::Read { step, source };
    let mut snapshot = connection.begin().await.map_err(read("database"))?;
    let mut report = Report::default();
    progress(Progress {
        step: "structure",
        done: 0,
    });
    let step = structure(&mut snapshot, &mut report).await;
    read_on(step, "structure", &mut report)?;
    let step = tree::check(&mut snapshot, expected, &mut report, &mut progress).await;
    let told = read_on(step, "leaves", &mut report)?;
    let step = rows::check(&mut snapshot, &told, &mut report, &mut progress).await;
    read_on(step, "certificates", &mut report)?;
    let step = tables::check(&mut snapshot, &told, &mut report).await;
    read_on(step, "rows", &mut report)?;
    let step = position(&mut snapshot, (expected, &told), &mut report).await;
    read_on(step, "position", &mut report)?;
    Ok(report)
}

/// A value that is none is a finding, which ends its step; everything else ends the check.
fn read_on<T: Default>(
    outcome: Result<T, sqlx::Error>,
    step: &'static str,
    report: &mut Report,
) -> Result<T, VerifyError> {
    match outcome {
        Ok(value) => Ok(value),
        Err(error @ (sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. })) => {
            report.find(step, error.to_string());
            Ok(T::default())
        }
        Err(source) => Err(VerifyError::Read { step, source }),
    }
}

/// Opens a record to read it. One in WAL mode needs the files beside it to be writable.
pub(crate) async fn open(path: &Path) -> Result<SqliteConnection, VerifyError> {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .read_only(true)
        .connect()
        .await
        .map_err(|source| VerifyError::Open {
            path: path.to_owned(),
            source,
        })
}

/// Pages, rows and indices fit together, as SQLite sees it.
async fn structure(
    connection: &mut SqliteConnection,
    report: &mut Report,
) -> Result<(), sqlx::Error> {
    let said: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check(20)")
        .fetch_all(connection)
        .await?;
    for line in said.into_iter().filter(|line| line != "ok") {
        report.find("database", line);
    }
    Ok(())
}

async fn position(
    connection: &mut SqliteConnection,
    (expected, told): (&Expected, &tree::Told),
    report: &mut Report,
) -> Result<(), sqlx::Error> {
    let numbers = read::numbers(&mut *connection).await?;
    if let Some(head) = &report.last_head {
        let (epoch, sequence) = (head.epoch, head.sequence);
        if (numbers.epoch, numbers.sequence) < (epoch, sequence) {
            report.find(
                "deny list",
                format!(
                    "its number {}.{} is below {epoch}.{sequence}, which was signed",
                    numbers.epoch, numbers.sequence
                ),
            );
        }
    }
    let Some(position) = &expected.position else {
        return Ok(());
    };
    if position.size > report.size {
        report.find(
            "position",
            format!(
                "the log has {} leaves, but one of {} was signed: the record is an older one",
                report.size, position.size
            ),
        );
    } else if told.root_at_position.map(|root| root.to_string()).as_ref() != Some(&position.root) {
        report.find("position", "the log is another one than was signed");
    }
    Ok(())
}

/// Most findings kept.
pub const MAX_FINDINGS: usize = 100;
/// Rows between two reports of progress.
const PROGRESS_ROWS: u64 = 10_000;
