//! `countersign`: argument parsing and wiring, nothing else.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use tracing_subscriber::EnvFilter;

use crate::args::{Cli, Command};
use crate::failure::Failure;

mod admin;
mod args;
mod commands;
mod failure;
mod output;
mod up;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match start(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {}", failure.chain());
            ExitCode::from(1)
        }
    }
}

fn start(cli: Cli) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&cli.log)
        .map_err(|error| Failure::Check(format!("--log {:?}: {error}", cli.log)))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    // Fails only where a provider is already installed, and nothing before this line installs one.
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        tracing::debug!("a crypto provider was already installed");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::part("runtime", error))?;
    runtime.block_on(run(cli.command))
}

async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Up(args) => up::run(args).await,
        Command::Authority(command) => commands::authority::run(command).await,
        Command::Agent(command) => commands::agent::run(command).await,
        Command::Ca(command) => commands::ca::run(command).await,
        Command::Cert(command) => commands::cert::run(command).await,
        Command::Audit(command) => commands::audit::run(command).await,
        Command::Entry(command) => commands::entry::run(command).await,
        Command::Token(command) => commands::token::run(command).await,
        Command::Issuance(command) => commands::issuance::run(command).await,
        Command::Policy(command) => commands::policy::run(command).await,
        Command::Envoy(command) => commands::envoy::run(command),
        Command::Doctor(args) => commands::doctor::run(args).await,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "countersign", &mut script);
            output::line(String::from_utf8_lossy(&script).trim_end())
        }
    }
}
