//! A clock that moves only when told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The host's wall clock, in nanoseconds since the Unix epoch; clones share it.
#[derive(Clone, Debug)]
pub struct Clock(Arc<AtomicU64>);

impl Clock {
    /// A clock that stands at `seconds` since the epoch.
    #[must_use]
    pub fn at(seconds: u64) -> Self {
        Self(Arc::new(AtomicU64::new(
            seconds.saturating_mul(1_000_000_000),
        )))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.0.fetch_add(by, Ordering::SeqCst);
    }

    pub(super) fn advance_to(&self, nanoseconds: u64) {
        self.0.fetch_max(nanoseconds, Ordering::SeqCst);
    }

    /// Puts the clock at `seconds` since the epoch, backwards too.
    pub fn set(&self, seconds: u64) {
        self.0
            .store(seconds.saturating_mul(1_000_000_000), Ordering::SeqCst);
    }

    /// Nanoseconds since the epoch.
    #[must_use]
    pub fn nanoseconds(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    /// Whole seconds since the epoch.
    #[must_use]
    pub fn seconds(&self) -> u64 {
        self.nanoseconds() / 1_000_000_000
    }
}
