//! Certificates per second of the authority, each recorded durably before the answer leaves.
//!
//! Over the network: `CreateCertificate` by an agent with its own certificate, for workloads it is parent of,
//! against the authority's process. In process: the same path without gRPC and TLS. Beside them stands what
//! the disk alone takes for one durable write, since that is the floor of a single request. At the end a cold
//! storm: agents that all start at once, as unmodified istio-agents do.

mod caller;
mod disk;
mod load;
mod storm;

use std::sync::Arc;
use std::time::Duration;

use authority::bench::InProcess;
use identity::{SpiffeId, TrustDomain};
use lab::bench::{Report, UsageError, cpu_time, median, quantile};

use self::caller::Caller;
use self::load::{Round, round};
use crate::failure::Failure;
use crate::mesh::{Authority, LEAF_SECONDS, TRUST_DOMAIN, agent, workload};
use crate::{keys, say};

/// Requests under way at a time.
const IN_FLIGHT: [usize; 4] = [1, 16, 64, 256];
/// In process the plain name is that of this many in flight.
const USUAL: usize = 64;
/// Different workloads, each with a key of its own.
const WORKLOADS: u32 = 64;

/// How much is measured: rounds, and how long each lasts. The cases take turns.
struct Plan {
    rounds: u32,
    lasts: Duration,
    /// Agents that start at once.
    storm: u32,
}

const FULL: Plan = Plan {
    rounds: 3,
    lasts: Duration::from_secs(5),
    storm: 10_000,
};
const QUICK: Plan = Plan {
    rounds: 1,
    lasts: Duration::from_millis(500),
    storm: 200,
};

/// A certificate to ask for.
pub(crate) struct Wanted {
    pub(crate) id: String,
    pub(crate) csr_pem: String,
}

pub(crate) async fn figures(
    quick: bool,
    only_storm: Option<u32>,
    dir: &tempfile::TempDir,
) -> Result<Report, Failure> {
    let plan = if quick { QUICK } else { FULL };
    let dir = dir.path();
    if let Some(agents) = only_storm {
        let mut report = Report::new("authority-storm");
        storm::storm(agents, dir, &mut report).await?;
        return Ok(report);
    }
    say(&format!(
        "authority, {} rounds of {:?} for each of {IN_FLIGHT:?} in flight, by gRPC and in process",
        plan.rounds, plan.lasts
    ));
    let mut wanted = Vec::new();
    for index in 0..WORKLOADS {
        let csr_pem = keys::request()?.csr_pem;
        let id = workload(&format!("workload-{index}"));
        wanted.push(Wanted { id, csr_pem });
    }
    let wanted = Arc::new(wanted);
    let mut report = Report::new("authority");
    let written = disk::durable_writes(dir).map_err(Failure::part("durable writes"))?;
    add_latencies(&mut report, "disk", &written);
    over_network(&plan, dir, &wanted, &mut report).await?;
    in_process(&plan, dir, &wanted, &mut report).await?;
    storm::storm(plan.storm, dir, &mut report).await?;
    Ok(report)
}

async fn over_network(
    plan: &Plan,
    dir: &std::path::Path,
    wanted: &Arc<Vec<Wanted>>,
    report: &mut Report,
) -> Result<(), Failure> {
    let mut authority = Authority::start(dir).await?;
    let parent = agent("bench");
    for one in wanted.iter() {
        authority.register(&parent, &one.id).await?;
    }
    let token = authority.join_token(&parent).await?;
    let caller = Caller::join(&authority, &token).await?;
    let pid = authority.process_id();
    let mut cases = cases(|in_flight| format!("grpc-{in_flight}"));
    for _ in 0..plan.rounds {
        for case in &mut cases {
            let callers = caller.connections(&authority, case.in_flight).await?;
            let issue = |lane: usize, index: usize| {
                let caller = callers.get(lane % callers.len().max(1)).cloned();
                let wanted = Arc::clone(wanted);
                async move {
                    match (caller, wanted.get(index % wanted.len().max(1))) {
                        (Some(mut caller), Some(one)) => caller.create(one, LEAF_SECONDS).await,
                        _ => Ok(Vec::new()),
                    }
                }
            };
            case.measure(plan, pid, issue).await?;
        }
    }
    for case in &cases {
        case.tell(report);
    }
    authority.stop().await
}

async fn in_process(
    plan: &Plan,
    dir: &std::path::Path,
    wanted: &Arc<Vec<Wanted>>,
    report: &mut Report,
) -> Result<(), Failure> {
    let trust_domain = TrustDomain::new(TRUST_DOMAIN).map_err(Failure::part("trust domain"))?;
    let authority = InProcess::open(&dir.join("in-process"), trust_domain)
        .await
        .map_err(Failure::part("authority"))?;
    let mut subjects = Vec::new();
    for one in wanted.iter() {
        let id: SpiffeId = one.id.parse().map_err(Failure::part("SPIFFE ID"))?;
        subjects.push((one.csr_pem.clone(), id));
    }
    let subjects = Arc::new(subjects);
    let mut cases = cases(|in_flight| match in_flight {
        USUAL => "inprocess".to_owned(),
        _ => format!("inprocess-{in_flight}"),
    });
    for _ in 0..plan.rounds {
        for case in &mut cases {
            let issue = |_lane: usize, index: usize| {
                let (authority, subjects) = (authority.clone(), Arc::clone(&subjects));
                async move {
                    match subjects.get(index % subjects.len().max(1)) {
                        Some((csr, id)) => authority.issue(csr, id.clone()).await,
                        None => Ok(Vec::new()),
                    }
                }
            };
            case.measure(plan, std::process::id(), issue).await?;
        }
    }
    for case in &cases {
        case.tell(report);
    }
    Ok(())
}

/// One number of requests in flight.
struct Case {
    name: String,
    in_flight: usize,
    rounds: Vec<Round>,
}

fn cases(name: impl Fn(usize) -> String) -> Vec<Case> {
    let case = |in_flight| Case {
        name: name(in_flight),
        in_flight,
        rounds: Vec::new(),
    };
    IN_FLIGHT.into_iter().map(case).collect()
}

impl Case {
    /// One round after a short warm-up.
    async fn measure<I, F, E>(&mut self, plan: &Plan, pid: u32, issue: I) -> Result<(), Failure>
    where
        I: Fn(usize, usize) -> F + Clone + Send + Sync,
        F: Future<Output = Result<Vec<String>, E>> + Send + 'static,
        E: std::error::Error + Send + Sync + 'static,
    {
        say(&self.name);
        let used =
            || cpu_time(pid).map_err(Failure::part::<UsageError>("CPU time of the authority"));
        round(self.in_flight, plan.lasts / 10, &issue).await?;
        let before = used()?;
        let mut measured = round(self.in_flight, plan.lasts, &issue).await?;
        measured.cpu = used()?.saturating_sub(before);
        self.rounds.push(measured);
        Ok(())
    }

    /// Rates are medians over the rounds, latencies those of all requests together.
    fn tell(&self, report: &mut Report) {
        let rates: Vec<_> = self.rounds.iter().map(Round::per_second).collect();
        if let Some(rate) = median(&rates) {
            report.add(&self.name, "rate", rate, "1/s");
        }
        let latencies = self.rounds.iter().flat_map(|round| &round.latencies);
        let latencies: Vec<_> = latencies.copied().collect();
        add_latencies(report, &self.name, &latencies);
        let cpu: Vec<_> = self.rounds.iter().map(Round::cpu_each).collect();
        if let Some(cpu) = median(&cpu) {
            report.add(&self.name, "CPU/certificate", cpu, "µs");
        }
    }
}

fn add_latencies(report: &mut Report, case: &str, latencies: &[Duration]) {
    for (metric, per_mille) in [("p50", 500), ("p99", 990)] {
        if let Some(latency) = quantile(latencies, per_mille) {
            report.add(case, metric, latency.as_secs_f64() * 1e3, "ms");
        }
    }
}
