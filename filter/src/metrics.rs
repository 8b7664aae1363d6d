//! Counters, gauges and histograms, defined in the proxy when first used.
//!
//! Names are made of fixed words, so that there is a known, small number of them; `docs/metrics.md` lists them
//! and says how the proxy reads the words as labels. Allowed requests are counted here and told to the
//! proxy about once a second: a call for each of them would be a good part of what the filter costs.

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
    allowed: RefCell<Vec<Waiting>>,
}

/// Allowed requests that the proxy was not told of yet.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    reason: &'static str,
    count: u32,
}

impl<H: Host> Metrics<H> {
    /// No metric yet.
    pub fn new(host: H) -> Self {
        Self {
            host,
            known: RefCell::default(),
            allowed: RefCell::default(),
        }
    }

    /// Adds one to a counter.
    pub fn count(&self, name: &str) {
        self.add(name, 1);
    }

    /// Counts a decision as `countersign_decision_<verdict>_<reason>`: a denial at once, an allowed request
    /// with the next [`Metrics::flush`].
    pub fn count_decision(&self, allowed: bool, reason: &'static str) {
        if !allowed {
            return self.count(&format!("countersign_decision_deny_{reason}"));
        }
        let Ok(mut waiting) = self.allowed.try_borrow_mut() else {
            return;
        };
        match waiting.iter_mut().find(|known| known.reason == reason) {
            Some(known) => known.count = known.count.saturating_add(1),
            // A handful of reasons: see `policy::AllowReason`.
            None => waiting.push(Waiting { reason, count: 1 }),
        }
    }

    /// Tells the proxy of the allowed requests since the last time.
    pub fn flush(&self) {
        let Ok(mut waiting) = self.allowed.try_borrow_mut() else {
            return;
        };
        let counted: Vec<_> = waiting
            .iter_mut()
            .filter(|known| known.count > 0)
            .map(|known| (known.reason, std::mem::take(&mut known.count)))
            .collect();
        drop(waiting);
        for (reason, count) in counted {
            self.add(
                &format!("countersign_decision_allow_{reason}"),
                count.into(),
            );
        }
    }

    /// Whether there are allowed requests that the proxy was not told of yet.
    pub fn is_waiting(&self) -> bool {
        let waiting = self.allowed.try_borrow();
        waiting.is_ok_and(|waiting| waiting.iter().any(|known| known.count > 0))
    }

    /// Sets a gauge.
    pub fn set(&self, name: &str, value: u64) {
        if let Some(metric) = self.find(MetricKind::Gauge, name) {
            self.host.record_metric(metric, value).ok();
        }
    }

    /// Adds a value to a histogram.
    pub fn observe(&self, name: &str, value: u64) {
        if let Some(metric) = self.find(MetricKind::Histogram, name) {
            self.host.record_metric(metric, value).ok();
        }
    }

    fn add(&self, name: &str, by: i64) {
        if let Some(metric) = self.find(MetricKind::Counter, name) {
            self.host.increment_metric(metric, by).ok();
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
