//! Counters, gauges and histograms, shared by name as Envoy's stats scope shares them.

use super::status::Status;

/// What a metric counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Holds the last value.
    Gauge,
    /// Keeps every recorded value (this host keeps the last).
    Histogram,
}

#[derive(Debug)]
struct Metric {
    kind: MetricKind,
    name: String,
    value: u64,
}

/// Every metric that was defined, in order.
#[derive(Debug, Default)]
pub struct Metrics(Vec<Metric>);

impl Metrics {
    /// The value of a metric, by name.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<u64> {
        self.0
            .iter()
            .find(|metric| metric.name == name)
            .map(|metric| metric.value)
    }

    /// Names of the metrics, in the order of their definition.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.0.iter().map(|metric| metric.name.as_str()).collect()
    }

    pub(super) fn define(&mut self, kind: u32, name: &[u8]) -> Result<u32, Status> {
        let kind = match kind {
            0 => MetricKind::Counter,
            1 => MetricKind::Gauge,
            2 => MetricKind::Histogram,
            _ => return Err(Status::BadArgument),
        };
        let name = String::from_utf8(name.to_vec()).map_err(|_utf8| Status::BadArgument)?;
        let known = self
            .0
            .iter()
            .position(|have| have.kind == kind && have.name == name);
        let at = known.unwrap_or_else(|| {
            self.0.push(Metric {
                kind,
                name,
                value: 0,
            });
            self.0.len().saturating_sub(1)
        });
        u32::try_from(at).map_err(|_large| Status::InternalFailure)
    }

    pub(super) fn get(&self, id: u32) -> Result<u64, Status> {
        let at = usize::try_from(id).map_err(|_large| Status::NotFound)?;
        self.0
            .get(at)
            .map(|metric| metric.value)
            .ok_or(Status::NotFound)
    }

    pub(super) fn record(&mut self, id: u32, value: u64) -> Result<(), Status> {
        let metric = self.metric(id)?;
        metric.value = match metric.kind {
            MetricKind::Counter => metric.value.saturating_add(value),
            MetricKind::Gauge | MetricKind::Histogram => value,
        };
        Ok(())
    }

    pub(super) fn increment(&mut self, id: u32, offset: i64) -> Result<(), Status> {
        let metric = self.metric(id)?;
        match metric.kind {
            MetricKind::Counter if offset < 0 => Err(Status::BadArgument),
            MetricKind::Histogram => Err(Status::BadArgument),
            MetricKind::Counter | MetricKind::Gauge => {
                metric.value = metric.value.saturating_add_signed(offset);
                Ok(())
            }
        }
    }

    fn metric(&mut self, id: u32) -> Result<&mut Metric, Status> {
        let at = usize::try_from(id).map_err(|_large| Status::NotFound)?;
        self.0.get_mut(at).ok_or(Status::NotFound)
    }
}
