//! A number of requests kept in flight for some time.

use std::error::Error;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::failure::Failure;

/// What a round came to.
pub(super) struct Round {
    /// Of each request.
    pub(super) latencies: Vec<Duration>,
    /// From the first request to the last answer.
    pub(super) elapsed: Duration,
    /// Used by the process that issued; filled in by who knows it.
    pub(super) cpu: Duration,
}

impl Round {
    fn count(&self) -> f64 {
        u32::try_from(self.latencies.len()).map_or(f64::NAN, f64::from)
    }

    pub(super) fn per_second(&self) -> f64 {
        self.count() / self.elapsed.as_secs_f64()
    }

    /// Microseconds of CPU for each certificate.
    pub(super) fn cpu_each(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.count()
    }
}

/// Keeps `in_flight` requests under way for `lasts`; `issue` is told the lane and a running number. Every
/// request must bring a chain.
pub(super) async fn round<I, F, E>(
    in_flight: usize,
    lasts: Duration,
    issue: &I,
) -> Result<Round, Failure>
where
    I: Fn(usize, usize) -> F + Clone + Send + Sync,
    F: Future<Output = Result<Vec<String>, E>> + Send + 'static,
    E: Error + Send + Sync + 'static,
{
    let begun = Instant::now();
    let mut latencies = Vec::new();
    let mut flying = JoinSet::new();
    let send = |lane: usize, index: usize, flying: &mut JoinSet<_>| {
        let issuing = issue(lane, index);
        flying.spawn(async move {
            let sent = Instant::now();
            let answer = issuing.await;
            (lane, answer, sent.elapsed())
        });
    };
    for lane in 0..in_flight {
        send(lane, lane, &mut flying);
    }
    let mut index = in_flight;
    while let Some(landed) = flying.join_next().await {
        let (lane, answer, latency) = landed.map_err(Failure::part("load"))?;
        let chain = answer.map_err(Failure::part("issuing"))?;
        if chain.len() < 2 {
            return Err(Failure::Unexpected {
                case: "issuing".to_owned(),
                wanted: "a chain of a leaf and its issuer",
                found: format!("{} certificates", chain.len()),
            });
        }
        latencies.push(latency);
        if begun.elapsed() < lasts {
            send(lane, index, &mut flying);
            index = index.wrapping_add(1);
        }
    }
    Ok(Round {
        latencies,
        elapsed: begun.elapsed(),
        cpu: Duration::ZERO,
    })
}
