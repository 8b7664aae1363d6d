//! Whether the authority is well: readiness for machines, findings with remedies for people.
//!
//! Everything is asked of what is in force at the moment: the issuer that signs, the list that is
//! published, the files that are there. Nothing is remembered from the start but the record's size.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use identity::chain;
use tokio::sync::Mutex;
use tokio::time::Instant;

pub(crate) use self::finding::Finding;
use crate::issue::Issuance;
use crate::limits::peers::Peers;
use crate::revoke::Publisher;
use crate::serve::attendance::Attendance;
use crate::serve::front::Front;
use crate::serve::tls::ServingCertificate;

mod diagnose;
pub(crate) mod files;
mod finding;

/// What health is read from; shared by whoever tells it.
#[derive(Debug)]
pub(crate) struct Health {
    pub(crate) issuance: Issuance,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) attendance: Attendance,
    pub(crate) front: Front,
    pub(crate) peers: Peers,
    pub(crate) serving: Arc<ServingCertificate>,
    pub(crate) data_dir: PathBuf,
    pub(crate) metrics_listen: Option<std::net::SocketAddr>,
    /// When it started, and the record's size then.
    pub(crate) started: (Instant, u64),
    /// The last probe of the record.
    pub(crate) probed: Mutex<Option<(Instant, Result<(), &'static str>)>>,
}

/// Something that keeps the authority from issuing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Obstacle {
    /// Stable name.
    pub(crate) check: &'static str,
    /// What is wrong.
    pub(crate) problem: String,
}

impl Health {
    /// What keeps the authority from issuing; nothing if it is ready.
    pub(crate) async fn obstacles(&self) -> Vec<Obstacle> {
        let now = self.issuance.now();
        let mut found = Vec::new();
        let mut add = |check, problem| found.push(Obstacle { check, problem });
        let validity = self.issuance.issuer().validity();
        if now > validity.not_after {
            add("issuer", format!("it expired at {}", validity.not_after));
        }
        if now < validity.not_before {
            let begins = validity.not_before;
            add(
                "issuer",
                format!("it is not valid before {begins}, and it is {now}"),
            );
        }
        if now > self.issuance.issuer().root().not_after() {
            let ended = self.issuance.issuer().root().not_after();
            add("root", format!("it expired at {ended}"));
        }
        if self.publisher.watch().borrow().history.list().is_stale(now) {
            add("deny_list", "the list in force has expired".to_owned());
        }
        if let Err(problem) = self.record_is_writable().await {
            add("record", problem.to_owned());
        }
        found
    }

    /// Writes to the record, at most once in [`PROBE_PERIOD`] however many ask: each costs a sync. Where
    /// certificates are being recorded nothing is tried: in a storm a probe would wait behind them,
    /// and who is busy must not be taken for who is broken.
    async fn record_is_writable(&self) -> Result<(), &'static str> {
        let written = self.issuance.telemetry().since_issued();
        if written.is_some_and(|ago| ago < PROBE_PERIOD) {
            return Ok(());
        }
        let mut probed = self.probed.lock().await;
        if let Some((at, outcome)) = *probed
            && at.elapsed() < PROBE_PERIOD
        {
            return outcome;
        }
        let probe = self.issuance.inventory().probe();
        let outcome = match tokio::time::timeout(PROBE_PATIENCE, probe).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                tracing::error!(error = chain(&error), "the record cannot be written");
                Err("it cannot be written; the log says why")
            }
            Err(_elapsed) => Err("a write did not end within 5 s"),
        };
        *probed = Some((Instant::now(), outcome));
        outcome
    }
}

const PROBE_PERIOD: Duration = Duration::from_secs(5);
const PROBE_PATIENCE: Duration = Duration::from_secs(5);
