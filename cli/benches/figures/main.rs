//! Figures: CPU per request of a server's Envoy with and without the filter, and how many certificates a
//! second the authority issues.
//!
//! Everything measured is what ships: a real Envoy with the built `.wasm`, and authority and agent as
//! processes of the `countersign` binary that cargo built with this bench. `docs/performance.md` says what
//! the figures mean. Nothing here passes or fails by time.

mod envoy;
mod ext_authz;
mod failure;
mod filter;
mod issuance;
mod keys;
mod mesh;
mod reload;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use lab::bench::Report;

use crate::failure::Failure;

/// Figures of Envoy with the filter, and of the authority.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Args {
    /// What to measure; all of it when nothing is named
    #[arg(value_enum)]
    benches: Vec<Bench>,
    /// Fewer and shorter rounds: to see that it works, not for figures
    #[arg(long)]
    quick: bool,
    /// Of `filter`, only these cases besides `none`; the table then lacks what it compares with
    #[arg(long, value_name = "NAME")]
    case: Vec<String>,
    /// Of `filter`, a further case of one policy with another build of the module
    #[arg(long, value_name = "NAME=FILE", value_parser = filter::build)]
    build: Vec<filter::Build>,
    /// Of `authority`, only the cold storm, with so many agents
    #[arg(long, value_name = "AGENTS")]
    storm: Option<u32>,
    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

/// One table.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Bench {
    /// CPU per request of a server's Envoy
    Envoy,
    /// What a decision costs as policies grow; not part of "all of it": it takes half an hour
    Filter,
    /// Memory over a thousand new configurations; not part of "all of it" either
    Reload,
    /// Certificates per second of the authority, and a cold storm
    #[value(alias = "issuance")]
    Authority,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {}", failure.chain());
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Failure> {
    // Fails only where a provider is already installed, and nothing before this line installs one.
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .ok();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::part("runtime"))?;
    let wanted = |bench| args.benches.is_empty() || args.benches.contains(&bench);
    if wanted(Bench::Envoy) {
        publish(&runtime.block_on(envoy::figures(args.quick, &scratch()?))?)?;
    }
    if args.benches.contains(&Bench::Filter) {
        publish(&runtime.block_on(filter::figures(
            args.quick,
            &args.case,
            &args.build,
            &scratch()?,
        ))?)?;
    }
    if args.benches.contains(&Bench::Reload) {
        publish(&runtime.block_on(reload::figures(args.quick, &scratch()?))?)?;
    }
    if wanted(Bench::Authority) {
        publish(&runtime.block_on(issuance::figures(args.quick, args.storm, &scratch()?))?)?;
    }
    Ok(())
}

/// Prints the table and writes the file.
fn publish(report: &Report) -> Result<(), Failure> {
    let path = report
        .write(&folder())
        .map_err(Failure::part("writing the figures"))?;
    let mut out = std::io::stdout().lock();
    write!(out, "\n{report}\n{}\n", path.display()).map_err(Failure::part("printing the figures"))
}

/// `target/bench`.
fn folder() -> PathBuf {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    scratch.parent().unwrap_or(scratch).join("bench")
}

/// A folder that goes away, on the same disk as the checkout: where the system keeps temporary files in RAM,
/// a durable write there would cost nothing.
fn scratch() -> Result<tempfile::TempDir, Failure> {
    std::fs::create_dir_all(folder())
        .and_then(|()| tempfile::Builder::new().prefix("run-").tempdir_in(folder()))
        .map_err(Failure::part("a folder to work in"))
}

/// Says on standard error what is being done.
fn say(what: &str) {
    eprintln!("bench: {what}");
}
