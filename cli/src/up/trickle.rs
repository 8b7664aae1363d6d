//! A steady trickle of requests through both Envoys, every failure counted.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lab::http::{self, Target};
use tokio::task::JoinHandle;

/// The path asked for; the menu does not use it, so decisions on it can be told apart.
pub(crate) const PATH: &str = "/status/200";

/// Pause between two requests.
const PERIOD: Duration = Duration::from_millis(50);

/// What became of the requests.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    sent: AtomicU64,
    failed: AtomicU64,
    first_failure: Mutex<Option<String>>,
}

impl Tally {
    /// Requests answered or failed so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Those that were not answered 200. Nothing is tried again.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// What the first failure was.
    pub(crate) fn first_failure(&self) -> Option<String> {
        self.first_failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    async fn one(&self, target: &Target) {
        let failure = match http::get(target, PATH).await {
            Ok(answer) if answer.status == 200 => None,
            Ok(answer) => Some(format!("{} {}", answer.status, answer.text().trim())),
            Err(error) => Some(crate::failure::Failure::part("request", error).chain()),
        };
        if let Some(failure) = failure {
            self.failed.fetch_add(1, Ordering::Relaxed);
            self.first_failure
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert(failure);
        }
        self.sent.fetch_add(1, Ordering::Relaxed);
    }
}

/// A running trickle.
#[derive(Debug)]
pub(crate) struct Trickle {
    stop: tokio::sync::watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Trickle {
    /// Sends a request every 50 ms, each on a connection of its own, until stopped.
    pub(crate) fn start(address: SocketAddr, tally: Arc<Tally>) -> Self {
        let (stop, mut stopped) = tokio::sync::watch::channel(false);
        let target = Target::Tcp(address);
        let task = tokio::spawn(async move {
            loop {
                tally.one(&target).await;
                tokio::select! {
                    () = tokio::time::sleep(PERIOD) => {}
                    _ = stopped.changed() => return,
                }
            }
        });
        Self { stop, task }
    }

    /// Stops after the request under way, which still counts.
    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.task.await {
            tracing::warn!("the trickle ended early: {error}");
        }
    }
}
