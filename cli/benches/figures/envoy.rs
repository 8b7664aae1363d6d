//! CPU per request of a server's Envoy: no filter, Envoy's own RBAC filter, our filter.
//!
//! One Envoy for each case, all at once: the same certificate by SDS, the same listener, one worker. Requests
//! go over a few open connections, and the rounds of the cases take turns, so that noise of the machine hits
//! all of them alike; what counts is the ratio to the case without a filter of the same round.

pub(crate) mod lanes;
mod load;
pub(crate) mod policies;
pub(crate) mod servers;

use std::path::Path;

use lab::bench::{Report, median, resident_kib};
use lab::http::{Identity, Resumption, ServerCheck, Tls, Version};
use lab::upstream::Echo;

use self::lanes::Lane;
use self::policies::Shape;
use self::servers::{Guard, Server, Servers};
use crate::failure::Failure;
use crate::mesh::{Agent, Authority, workload};
use crate::say;

/// How much is measured.
struct Plan {
    rounds: u32,
    /// Requests of one case in one round.
    requests: u32,
    /// Requests of one case before the first round. V8 compiles anew what is hot.
    warm_up: u32,
    /// Certificates on the deny list in the last part.
    revoked: u32,
}

const FULL: Plan = Plan {
    rounds: 15,
    requests: 4000,
    warm_up: 4000,
    revoked: 10_000,
};
const QUICK: Plan = Plan {
    rounds: 3,
    requests: 400,
    warm_up: 400,
    revoked: 640,
};

/// The first one is what the others are compared with.
const CASES: [(&str, Guard); 8] = [
    ("no filter", Guard::Nothing),
    ("RBAC, 1 policy", Guard::Native(Shape::One)),
    ("filter, 1 policy", Guard::Filter(Shape::One)),
    ("filter, 1 policy, all logged", Guard::Logging(Shape::One)),
    ("RBAC, 500 callers", Guard::Native(Shape::Callers(500))),
    ("filter, 500 callers", Guard::Filter(Shape::Callers(500))),
    ("RBAC, 500 paths", Guard::Native(Shape::Paths(500))),
    ("filter, 500 paths", Guard::Filter(Shape::Paths(500))),
];

/// The cases measured once more when many certificates are revoked.
const WITH_LONG_LIST: [&str; 2] = ["no filter", "filter, 1 policy"];

pub(crate) async fn figures(quick: bool, dir: &tempfile::TempDir) -> Result<Report, Failure> {
    let plan = if quick { QUICK } else { FULL };
    let dir = dir.path();
    let mut authority = Authority::start(dir).await?;
    let httpbin = workload("httpbin");
    let agent = Agent::start(&mut authority, dir, &httpbin).await?;
    let files = authority.certify(&workload(policies::CALLER), dir).await?;
    let identity =
        Identity::from_pem_files(&files.chain, &files.key).map_err(Failure::part("client"))?;
    let tls = Tls::new(
        &authority.bundle(),
        Some(identity),
        ServerCheck::SpiffeId(httpbin),
        Resumption::Never,
    )
    .map_err(Failure::part("client"))?;
    let echo = Echo::start().await.map_err(Failure::part("application"))?;
    let servers = Servers::new(dir, agent.socket(), echo.address(), &mut authority).await?;
    say(&format!(
        "Envoy {}, {} rounds of {} requests for each of {} cases, over HTTP/1.1 and HTTP/2",
        servers.release(),
        plan.rounds,
        plan.requests,
        CASES.len()
    ));

    let mut started = Vec::new();
    for (index, (name, guard)) in CASES.into_iter().enumerate() {
        let server = servers.start(index, name, guard).await?;
        server.is_guarded(guard, &tls).await?;
        started.push(server);
    }
    let mut report = Report::new("envoy");
    for (version, label) in [(Version::Http1, "HTTP/1.1"), (Version::Http2, "HTTP/2")] {
        measure(&plan, &mut started, &tls, (version, label), &mut report).await?;
    }
    let (kept, done) = started
        .into_iter()
        .partition::<Vec<_>, _>(|server| WITH_LONG_LIST.contains(&server.name()));
    started = kept;
    for server in done {
        server.stop().await?;
    }
    say(&format!("revoking {} certificates", plan.revoked));
    let sequence = authority.revoke(&workload("gone"), plan.revoked).await?;
    if let Some(filtered) = started.last() {
        filtered.has_list(sequence).await?;
    }
    let label = format!("HTTP/1.1, {} revoked", plan.revoked);
    let run = (Version::Http1, label.as_str());
    measure(&plan, &mut started, &tls, run, &mut report).await?;
    for server in started {
        server.stop().await?;
    }
    agent.stop().await?;
    authority.stop().await?;
    Ok(report)
}

async fn measure(
    plan: &Plan,
    servers: &mut [Server],
    tls: &Tls,
    (version, label): (Version, &str),
    report: &mut Report,
) -> Result<(), Failure> {
    let mut lanes = Vec::new();
    for server in servers.iter() {
        lanes.push(Lane::open(server, tls, version, plan.warm_up).await?);
    }
    let said = format!("{label}, ");
    lanes::take_turns(servers, &mut lanes, plan.rounds, plan.requests, &said).await?;
    let Some(bare) = lanes.first().map(|lane| lane.rounds().to_vec()) else {
        return Ok(());
    };
    for (server, lane) in servers.iter_mut().zip(&lanes) {
        let name = format!("{label}, {}", server.name());
        tell(report, &name, lane.rounds(), &bare);
        let kib = resident_kib(server.process_id()).map_err(Failure::part("memory of Envoy"))?;
        report.add(&name, "memory", f64::from(kib) / 1024.0, "MiB");
    }
    Ok(())
}

/// Medians over the rounds; difference and ratio are taken within each round.
fn tell(report: &mut Report, case: &str, rounds: &[f64], bare: &[f64]) {
    let added = lanes::added(rounds, bare);
    let pairs = rounds.iter().zip(bare);
    let ratio: Vec<_> = pairs.map(|(ours, bare)| ours / bare).collect();
    let lowest = rounds.iter().copied().reduce(f64::min);
    let highest = rounds.iter().copied().reduce(f64::max);
    for (metric, value, unit) in [
        ("CPU/request", median(rounds), "µs"),
        ("lowest", lowest, "µs"),
        ("highest", highest, "µs"),
        ("added", median(&added), "µs"),
        ("to no filter", median(&ratio), "×"),
    ] {
        if let Some(value) = value {
            report.add(case, metric, value, unit);
        }
    }
}

/// Where one Envoy's files are: its sockets must have short paths.
fn admin_socket(dir: &Path, index: usize) -> std::path::PathBuf {
    dir.join(format!("e{index}.sock"))
}
