//! A cold storm: every agent of a large mesh starts at once, without a certificate, and does what
//! istio-agent does until it has one.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lab::bench::Report;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use self::clients::istio_agent::{Counted, IstioAgent};
use self::clients::keys::WorkloadKey;
use self::clients::wire::{Credential, Target};
use super::add_latencies;
use crate::failure::Failure;
use crate::mesh::Authority;
use crate::say;

#[path = "../../../../authority/tests/all/clients.rs"]
#[allow(
    dead_code,
    reason = "shared with the authority's tests, which use all of it"
)]
mod clients;

/// Longer than any agent should need.
const PATIENCE: Duration = Duration::from_secs(600);
/// Namespaces the agents are of.
const NAMESPACES: u32 = 50;
/// Tokens made at a time.
const TOKENS_IN_FLIGHT: u32 = 64;

/// Starts `count` agents at once, each from an address of its own as pods have; all must be served.
pub(super) async fn storm(count: u32, dir: &Path, report: &mut Report) -> Result<(), Failure> {
    allow_connections(count)?;
    let mut authority = Authority::start(&dir.join("storm")).await?;
    let root_pem = std::fs::read_to_string(authority.bundle()).map_err(Failure::part("bundle"))?;
    say(&format!("storm: tokens for {count} agents"));
    let ids: Vec<_> = (0..count).map(identity).collect();
    let tokens = authority.join_tokens(&ids, TOKENS_IN_FLIGHT).await?;
    say(&format!("storm: {count} agents at once"));
    let start = Arc::new(Barrier::new(tokens.len() + 1));
    let mut agents = JoinSet::new();
    for (number, (id, token)) in (0_u32..).zip(ids.into_iter().zip(tokens)) {
        let target = Target {
            address: authority.address().to_owned(),
            name: "countersign-authority".to_owned(),
            root_pem: root_pem.clone(),
            source: Some(pod(number)),
        };
        let proof = Credential::Header(format!("Join {token}"));
        let mut agent = IstioAgent::new(target, proof, &id, u64::from(number) + 1);
        agent.key = WorkloadKey::EcdsaP256;
        let start = Arc::clone(&start);
        agents.spawn(async move {
            start.wait().await;
            let begun = Instant::now();
            let served = agent.warm_up(PATIENCE).await.is_some();
            (agent.counted, served.then(|| begun.elapsed()))
        });
    }
    start.wait().await;
    let begun = Instant::now();
    let ended = agents.join_all().await;
    tell(&ended, begun.elapsed(), report)?;
    authority.stop().await
}

fn tell(
    ended: &[(Counted, Option<Duration>)],
    took: Duration,
    report: &mut Report,
) -> Result<(), Failure> {
    let served: Vec<_> = ended.iter().filter_map(|(_, latency)| *latency).collect();
    if served.len() != ended.len() {
        return Err(Failure::Unexpected {
            case: "storm".to_owned(),
            wanted: "every agent served",
            found: format!("{} of {}", served.len(), ended.len()),
        });
    }
    let sum = |of: fn(&Counted) -> u32| ended.iter().map(|(c, _)| f64::from(of(c))).sum::<f64>();
    let count = f64::from(u32::try_from(served.len()).unwrap_or(u32::MAX));
    report.add("storm", "rate", count / took.as_secs_f64(), "1/s");
    add_latencies(report, "storm", &served);
    report.add("storm", "back-offs", sum(|counted| counted.back_offs), "");
    report.add("storm", "given up", sum(|counted| counted.given_up), "");
    let longest = ended.iter().map(|(c, _)| c.longest_warm_up_ms).max();
    let longest = Duration::from_millis(longest.unwrap_or(0));
    report.add("storm", "longest pause", longest.as_secs_f64() * 1e3, "ms");
    Ok(())
}

fn identity(number: u32) -> String {
    let namespace = number % NAMESPACES;
    format!("spiffe://cluster.local/ns/team-{namespace}/sa/app-{number}")
}

/// 127.1.0.0 and on: all of 127.0.0.0/8 is loopback.
fn pod(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 0).to_bits() + number).into()
}

/// Room for a connection each.
fn allow_connections(count: u32) -> Result<(), Failure> {
    let limit = getrlimit(Resource::Nofile);
    let needed = u64::from(count) + 256;
    if limit.maximum.is_some_and(|most| most < needed) {
        return Err(Failure::Unexpected {
            case: "storm".to_owned(),
            wanted: "a limit of open files (ulimit -Hn) above the number of agents",
            found: format!("{:?}", limit.maximum),
        });
    }
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).map_err(Failure::part("limit of open files"))
}
