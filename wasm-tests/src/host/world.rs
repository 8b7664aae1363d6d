//! What the VMs of one Envoy have in common.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::clock::Clock;
use super::metrics::Metrics;
use super::shared::SharedStore;

/// What every VM of one Envoy shares: the clock, shared data and queues, and the metrics.
#[derive(Clone, Debug)]
pub struct World {
    /// The wall clock.
    pub clock: Clock,
    shared: Arc<Mutex<SharedStore>>,
    metrics: Arc<Mutex<Metrics>>,
}

impl World {
    /// An empty world whose clock stands at `seconds` since the epoch.
    #[must_use]
    pub fn at(seconds: u64) -> Self {
        Self {
            clock: Clock::at(seconds),
            shared: Arc::default(),
            metrics: Arc::default(),
        }
    }

    /// Shared data and queues.
    pub fn shared(&self) -> MutexGuard<'_, SharedStore> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Metrics of all VMs.
    pub fn metrics(&self) -> MutexGuard<'_, Metrics> {
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
