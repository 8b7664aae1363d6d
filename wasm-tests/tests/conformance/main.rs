//! Envoy's own RBAC filters beside our filter, in one real Envoy: the same policies, certificates and requests,
//! and on both sides the same verdict by the same rule.
//!
//! Two sources: Istio's own cases (`../shared/conformance/istio-authz` beside the checkout, or the folder that
//! `COUNTERSIGN_ISTIO_AUTHZ` names), and generated sets over every field. `COUNTERSIGN_CONFORMANCE_SEED` chooses
//! others, `COUNTERSIGN_CONFORMANCE_SETS` how many, `COUNTERSIGN_CONFORMANCE_ONLY` those whose name contains it.
//! Ends with `N cases, D differences, E explained`, and with failure if D is not 0.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::string_slice,
    reason = "a test fails by panicking, and this one reports on its own"
)]

mod aim;
mod certificates;
mod client;
mod dice;
mod envoy;
mod explain;
mod generate;
mod group;
mod istio;
mod outcome;
mod pools;
mod protobuf;
mod report;
mod request;
mod run;
mod tcp;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use envoy_config::tls::TlsSource;
use policy::Protocol;
use wasm_tests::artefact;
use wasm_tests::fixtures::HTTPBIN;
use wasm_tests::fixtures::ca::Authority;

use crate::envoy::Setting;
use crate::explain::Explained;
use crate::group::Group;
use crate::report::Report;
use crate::request::Caller;
use crate::run::Leaves;

/// Sets that are generated: ten requests each.
const SETS: u64 = 300;
const SEED: u64 = 4;

fn main() -> ExitCode {
    // Run beside tests that have a harness: listing them lists nothing here.
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    if runtime.block_on(suite()).finish() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The page that tells users what these differences are.
const PAGE: &str = include_str!("../../../docs/compatibility.md");

async fn suite() -> Report {
    let begun = Instant::now();
    for rule in Explained::ALL {
        let row = format!("| {} |", rule.name());
        assert!(
            PAGE.contains(&row),
            "docs/compatibility.md has no row for {row:?}"
        );
    }
    let binary = lab::envoy::find().unwrap_or_else(|error| panic!("{error}"));
    let module = artefact::path();
    assert!(
        module.is_file(),
        "no filter at {}: run `just wasm`",
        module.display()
    );
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    let authority = Authority::new(now);
    let dir = tempfile::TempDir::new().expect("a folder");
    let setting = Setting {
        dir: dir.path(),
        tls: server_files(dir.path(), &authority),
        module: module.canonicalize().expect("it is there"),
        authority: &authority,
        binary: &binary,
    };
    let mut report = Report::new(binary.version());
    let told = |what: &str, report: &Report| {
        let seconds = begun.elapsed().as_secs_f64();
        println!(
            "{what}: {} cases by now, after {seconds:.1} s",
            report.cases()
        );
    };
    println!("Envoy {}", binary.version());

    let groups = sets(Protocol::Http);
    if !groups.is_empty() {
        let leaves = leaves(&authority, &groups);
        http(&setting, groups, leaves, &mut report).await;
        told("HTTP", &report);
    }
    let groups = sets(Protocol::Tcp);
    if !binary.version().has_upstream_connect_mode() {
        println!("NOT RUN: TCP, which the filter does not guard in an Envoy before 1.37");
    } else if !groups.is_empty() {
        let leaves = leaves(&authority, &groups);
        tcp::run(&setting, groups, leaves, &mut report).await;
        told("TCP", &report);
    }
    report
}

async fn http(setting: &Setting<'_>, groups: Vec<Group>, leaves: Leaves, report: &mut Report) {
    let mut running = setting.start(&groups).await;
    let groups = Arc::new(groups);
    let answers = run::all(&groups, &running, &Arc::new(leaves)).await;
    running
        .child
        .stop(Duration::from_secs(5))
        .await
        .expect("Envoy stops");
    let log = std::fs::read(running.child.stderr()).expect("Envoy's log");
    report.http(&groups, &answers, &String::from_utf8_lossy(&log));
}

fn leaves(authority: &Authority, groups: &[Group]) -> Leaves {
    let requests = groups.iter().flat_map(|group| &group.requests);
    Leaves::of(authority, requests.map(|request| &request.link.caller))
}

fn sets(protocol: Protocol) -> Vec<Group> {
    let seed = number("COUNTERSIGN_CONFORMANCE_SEED").unwrap_or(SEED);
    let generated = number("COUNTERSIGN_CONFORMANCE_SETS").unwrap_or(SETS);
    let folder = istio::folder();
    let (part, cases, generated) = match protocol {
        Protocol::Http => ("http", istio::HTTP, generated),
        Protocol::Tcp => ("tcp", istio::TCP, generated / 5),
    };
    let mut groups = Vec::new();
    if folder.is_dir() {
        groups.extend(istio::groups(&folder, part, cases, seed));
        println!("{part}: {} sets from Istio's cases", groups.len());
    } else {
        println!(
            "NOT RUN: Istio's {part} cases, there is nothing at {}",
            folder.display()
        );
    }
    println!(
        "{part}: {generated} generated sets of seed {seed}; COUNTERSIGN_CONFORMANCE_SEED=N for others"
    );
    let generated = usize::try_from(generated).expect("fewer");
    groups.extend((0..generated).map(|number| generate::group(seed, number, protocol)));
    if protocol == Protocol::Http {
        groups.extend(certificates::groups());
    } else {
        // There is no plaintext in these chains: their handshake is what the filter waits for.
        for group in &mut groups {
            group
                .requests
                .retain(|request| request.link.caller != Caller::Plaintext);
        }
    }
    if let Ok(only) = std::env::var("COUNTERSIGN_CONFORMANCE_ONLY") {
        groups.retain(|group| group.name.contains(&only));
    }
    groups
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|error| panic!("{variable}: {error}")),
    )
}

fn server_files(dir: &std::path::Path, authority: &Authority) -> TlsSource {
    let leaf = authority.svid(HTTPBIN);
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::write(&path, text).expect("writable");
        path
    };
    TlsSource::Files {
        certificate: write("server.pem", &leaf.chain_pem),
        key: write("server.key", &leaf.key_pem),
        root: write("root.pem", &authority.root_pem),
    }
}
