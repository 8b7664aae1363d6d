//! `countersign policy`: Istio's policies on a laptop.

pub(crate) mod check;
mod diff;
mod explain;
mod lint;
mod publish;
mod published;
mod scope;
mod sources;
pub(crate) mod style;
mod test;
mod trace;

use std::path::PathBuf;

use policy::yaml::PolicyFiles;
use wasm_tests::runner::{self, Folders};

use crate::args::PolicyCommand;
use crate::failure::Failure;
use crate::output::{self, Format};

pub(crate) async fn run(command: PolicyCommand) -> Result<(), Failure> {
    match command {
        PolicyCommand::Check(args) => check::run(&args),
        PolicyCommand::Lint(args) => lint::run(&args),
        PolicyCommand::Test(args) => test::run(&args),
        PolicyCommand::Explain(args) => explain::run(&args),
        PolicyCommand::Diff(args) => diff::run(&args),
        PolicyCommand::Publish(args) => publish::run(&args).await,
        PolicyCommand::Published {
            admin,
            output,
            name,
        } => published::run(&admin, output.output, name.as_ref()).await,
        PolicyCommand::Schema => {
            output::object(Format::Json, &policy::config::json_schema(), Vec::new())
        }
    }
}

/// Reads every policy of these files, and of the YAML and JSON files of these folders.
pub(crate) fn read(paths: &[PathBuf]) -> Result<PolicyFiles, Failure> {
    let (files, problems) = runner::expand(paths, Folders::Flat);
    let mut problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
    let mut policies = PolicyFiles::new();
    for path in files {
        match runner::read_text(&path) {
            Ok(text) => {
                if let Err(errors) = policies.add(&path.display().to_string(), &text) {
                    problems.extend(errors.iter().map(ToString::to_string));
                }
            }
            Err(problem) => problems.push(problem.to_string()),
        }
    }
    if !problems.is_empty() {
        return Err(Failure::Policies(problems));
    }
    if policies.policies().is_empty() {
        let names = paths.iter().map(|path| path.display().to_string());
        let names = names.collect::<Vec<_>>().join(", ");
        return Err(Failure::Check(format!("no AuthorizationPolicy in {names}")));
    }
    Ok(policies)
}
