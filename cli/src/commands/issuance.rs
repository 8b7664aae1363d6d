//! `countersign issuance`: rules of who may have which certificate.

mod check;
mod diff;
mod explain;
mod live;
mod test;

use std::path::Path;

use authority::issuance::{BUILTIN_FILE, BUILTIN_TEXT, MAX_FILE_BYTES, Policy, Problem, schema};
use identity::TrustDomain;
use wasm_tests::runner;

use crate::args::IssuanceCommand;
use crate::failure::Failure;
use crate::output::{self, Format};

pub(crate) async fn run(command: IssuanceCommand) -> Result<(), Failure> {
    match command {
        IssuanceCommand::Check(args) => check::run(&args),
        IssuanceCommand::Test(args) => test::run(&args),
        IssuanceCommand::Explain(args) => explain::run(&args),
        IssuanceCommand::Diff(args) => diff::run(&args).await,
        IssuanceCommand::Requests { admin, last } => live::requests(&admin, last).await,
        IssuanceCommand::Show {
            admin,
            output,
            text,
        } => live::show(&admin, output.output, text).await,
        IssuanceCommand::Builtin => output::line(BUILTIN_TEXT.trim_end()),
        IssuanceCommand::Schema => output::object(Format::Json, &schema::json_schema(), Vec::new()),
    }
}

/// The rules of a file, or the built-in ones; all problems where there are some.
fn policy(path: &Path) -> Result<Policy, Vec<Problem>> {
    if path.as_os_str() == BUILTIN_FILE {
        return Ok(Policy::builtin());
    }
    let name = path.display().to_string();
    let text = text(path)?;
    Policy::compile(&name, &text)
}

/// The text of a file, at most as long as rules may be.
fn text(path: &Path) -> Result<String, Vec<Problem>> {
    let name = path.display().to_string();
    let text = runner::read_text(path).map_err(|problem| {
        vec![Problem {
            line: problem.line,
            ..Problem::of_file(&name, problem.problem)
        }]
    })?;
    if text.len() > MAX_FILE_BYTES {
        let problem = format!("is longer than {MAX_FILE_BYTES} bytes");
        return Err(vec![Problem::of_file(&name, problem)]);
    }
    Ok(text)
}

/// The failure that says all of these problems.
fn failed(problems: &[Problem]) -> Failure {
    Failure::Policies(problems.iter().map(ToString::to_string).collect())
}

fn trust_domain(name: &str) -> Result<TrustDomain, Failure> {
    crate::commands::authority::trust_domain(name)
}
