//! What a decision costs as policies grow: no filter, Envoy's own RBAC, our filter, an `ext_authz` service.
//!
//! The figures that the project's limits are stated in: CPU per request of the server's Envoy, over open
//! connections with mutual TLS, HTTP/1.1. All cases run at once and take turns, as in [`super::envoy`].

use std::path::{Path, PathBuf};

use lab::bench::{Report, median, resident_kib};
use lab::http::{Identity, Resumption, ServerCheck, Tls, Version};
use lab::upstream::Echo;

use crate::envoy::lanes::{self, Lane};
use crate::envoy::policies::{self, Shape};
use crate::envoy::servers::{Guard, Servers};
use crate::ext_authz::ExtAuthz;
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
}

const FULL: Plan = Plan {
    rounds: 40,
    requests: 5_000,
    warm_up: 5_000,
};
const QUICK: Plan = Plan {
    rounds: 3,
    requests: 400,
    warm_up: 400,
};

/// What a case is called, what decides in it, and the module where it is not the one that ships.
type Case<'a> = (&'static str, Guard, Option<&'a PathBuf>);

/// The first one is what the others are compared with.
const CASES: [(&str, Guard); 15] = [
    ("none", Guard::Nothing),
    ("floor", Guard::Floor),
    ("native-1", native(1)),
    ("native-10", native(10)),
    ("native-100", native(100)),
    ("native-500", native(500)),
    ("native-5000", native(5_000)),
    ("ours-1", ours(1)),
    ("ours-10", ours(10)),
    ("ours-100", ours(100)),
    ("ours-500", ours(500)),
    ("ours-5000", ours(5_000)),
    ("ours-10000", ours(10_000)),
    ("ours-10000-paths", Guard::Filter(Shape::Paths(10_000))),
    ("ext-authz", Guard::ExtAuthz),
];

const fn native(policies: u32) -> Guard {
    Guard::Native(Shape::Callers(policies))
}

const fn ours(policies: u32) -> Guard {
    Guard::Filter(Shape::Callers(policies))
}

/// Another build of the module, to be compared with the one that ships.
#[derive(Clone, Debug)]
pub(crate) struct Build {
    name: &'static str,
    module: PathBuf,
}

/// Reads `NAME=FILE`.
pub(crate) fn build(text: &str) -> Result<Build, String> {
    let (name, module) = text.split_once('=').ok_or("NAME=FILE is expected")?;
    let module = Path::new(module).canonicalize();
    Ok(Build {
        // Cases are named once in a run and are named by every failure.
        name: Box::leak(name.to_owned().into_boxed_str()),
        module: module.map_err(|error| error.to_string())?,
    })
}

pub(crate) async fn figures(
    quick: bool,
    only: &[String],
    builds: &[Build],
    dir: &tempfile::TempDir,
) -> Result<Report, Failure> {
    let cases: Vec<Case<'_>> = CASES
        .into_iter()
        .filter(|(name, guard)| {
            only.is_empty() || matches!(guard, Guard::Nothing) || only.iter().any(|one| one == name)
        })
        .map(|(name, guard)| (name, guard, None))
        .chain(
            builds
                .iter()
                .map(|build| (build.name, ours(1), Some(&build.module))),
        )
        .collect();
    let plan = if quick { QUICK } else { FULL };
    let dir = dir.path();
    let mut authority = Authority::start(dir).await?;
    let httpbin = workload("httpbin");
    let agent = Agent::start(&mut authority, dir, &httpbin).await?;
    let tls = client(&mut authority, dir, httpbin).await?;
    let echo = Echo::start().await.map_err(Failure::part("application"))?;
    let servers = Servers::new(dir, agent.socket(), echo.address(), &mut authority).await?;
    say(&format!(
        "Envoy {}, {} rounds of {} requests for each of {} cases",
        servers.release(),
        plan.rounds,
        plan.requests,
        cases.len()
    ));
    let service = ExtAuthz::start().await?;
    let mut started = Vec::new();
    for (index, (name, guard, module)) in cases.iter().copied().enumerate() {
        say(&format!("starting {name}"));
        let change = |bootstrap: &mut _| match guard {
            Guard::ExtAuthz => service.guard(bootstrap),
            _ => Ok(()),
        };
        let servers = module.map_or_else(|| servers.clone(), |module| servers.with_module(module));
        let server = servers.start_with(index, name, guard, change).await?;
        server.is_guarded(guard, &tls).await?;
        started.push(server);
    }
    let mut measured = Vec::new();
    for server in &started {
        measured.push(Lane::open(server, &tls, Version::Http1, plan.warm_up).await?);
    }
    lanes::take_turns(&mut started, &mut measured, plan.rounds, plan.requests, "").await?;
    let mut report = Report::new("filter");
    let bare = measured.first().map(|lane| lane.rounds().to_vec());
    for (server, lane) in started.iter_mut().zip(&measured) {
        let name = server.name();
        tell(
            &mut report,
            name,
            lane.rounds(),
            bare.as_deref().unwrap_or_default(),
        );
        let kib = resident_kib(server.process_id()).map_err(Failure::part("memory of Envoy"))?;
        report.add(name, "memory", f64::from(kib) / 1024.0, "MiB");
    }
    limits(&mut report, &cases, &measured);
    for server in started {
        server.stop().await?;
    }
    agent.stop().await?;
    authority.stop().await?;
    Ok(report)
}

/// The client that the policies let through.
pub(crate) async fn client(
    authority: &mut Authority,
    dir: &Path,
    server: String,
) -> Result<Tls, Failure> {
    let files = authority.certify(&workload(policies::CALLER), dir).await?;
    let identity =
        Identity::from_pem_files(&files.chain, &files.key).map_err(Failure::part("client"))?;
    Tls::new(
        &authority.bundle(),
        Some(identity),
        ServerCheck::SpiffeId(server),
        Resumption::Never,
    )
    .map_err(Failure::part("client"))
}

/// Medians over the rounds; *added* is the median of the differences within each round.
fn tell(report: &mut Report, case: &str, rounds: &[f64], bare: &[f64]) {
    let lowest = rounds.iter().copied().reduce(f64::min);
    let highest = rounds.iter().copied().reduce(f64::max);
    for (metric, value) in [
        ("cpu_us_per_request", median(rounds)),
        ("lowest", lowest),
        ("highest", highest),
        ("added", median(&lanes::added(rounds, bare))),
    ] {
        if let Some(value) = value {
            report.add(case, metric, value, "µs");
        }
    }
}

/// The ratios that the limits are stated in, and the number of policies from which our filter is cheaper.
fn limits(report: &mut Report, cases: &[Case<'_>], lanes: &[Lane]) {
    let bare = lanes.first().map(Lane::rounds).unwrap_or_default();
    let added = |wanted: &str| {
        let place = cases.iter().position(|(name, ..)| *name == wanted)?;
        median(&lanes::added(lanes.get(place)?.rounds(), bare))
    };
    let mut ratio = |case: &str, over: Option<f64>, under: Option<f64>| {
        if let (Some(over), Some(under)) = (over, under) {
            report.add(case, "ratio", over / under, "×");
        }
    };
    let (native, ours) = (added("native-500"), added("ours-500"));
    ratio("native-500 to ours-500, added", native, ours);
    ratio(
        "ours-10000 to ours-1, added",
        added("ours-10000"),
        added("ours-1"),
    );
    let found = break_even(
        &[1, 10, 100, 500, 5_000].map(|policies| (policies, added(&format!("native-{policies}")))),
        &[1, 10, 100, 500, 5_000].map(|policies| (policies, added(&format!("ours-{policies}")))),
    );
    if let Some(policies) = found {
        report.add("break-even", "policies", policies, "");
    }
}

/// Where the lines through the points cross: from there on ours costs less.
fn break_even(native: &[(u32, Option<f64>)], ours: &[(u32, Option<f64>)]) -> Option<f64> {
    let gaps: Vec<(f64, f64)> = native
        .iter()
        .zip(ours)
        .filter_map(|((policies, native), (_, ours))| {
            Some((f64::from(*policies), (*native)? - (*ours)?))
        })
        .collect();
    if gaps.first().is_some_and(|(_, gap)| *gap >= 0.0) {
        return gaps.first().map(|(policies, _)| *policies);
    }
    gaps.iter()
        .zip(gaps.iter().skip(1))
        .find_map(|(below, above)| {
            let crosses = below.1 < 0.0 && above.1 >= 0.0;
            crosses.then(|| below.0 + (above.0 - below.0) * -below.1 / (above.1 - below.1))
        })
}
