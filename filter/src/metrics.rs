//! Counters and gauges, defined in the proxy when first used.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::host::{Host, MetricKind};

/// Most metrics one root context makes. Names come from fixed lists; this bounds a mistake.
const MAX_METRICS: usize = 256;

/// The metrics of one root context.
///
/// A metric that the proxy refuses is left out: counting must not decide about a request.
#[derive(Debug)]
pub struct Metrics<H> {
    host: H,
    known: RefCell<HashMap<String, u32>>,
}

impl<H: Host> Metrics<H> {
    /// No metric yet.
    pub fn new(host: H) -> Self {
        Self {
            host,
            known: RefCell::default(),
        }
    }

    /// Adds one to a counter.
    pub fn count(&self, name: &str) {
        if let Some(metric) = self.find(MetricKind::Counter, name) {
            self.host.increment_metric(metric, 1).ok();
        }
    }

    /// Counts a decision as `countersign_decision_<verdict>_<reason>`.
    pub fn count_decision(&self, verdict: &str, reason: &str) {
        self.count(&format!("countersign_decision_{verdict}_{reason}"));
    }

    /// Sets a gauge.
    pub fn set(&self, name: &str, value: u64) {
        if let Some(metric) = self.find(MetricKind::Gauge, name) {
            self.host.record_metric(metric, value).ok();
        }
    }

    fn find(&self, kind: MetricKind, name: &str) -> Option<u32> {
        let known = self.known.try_borrow().ok()?.get(name).copied();
        if known.is_some() {
            return known;
        }
        let metric = self.host.define_metric(kind, name).ok()?;
        let mut metrics = self.known.try_borrow_mut().ok()?;
        if metrics.len() < MAX_METRICS {
            metrics.insert(name.to_owned(), metric);
        }
        Some(metric)
    }
}
