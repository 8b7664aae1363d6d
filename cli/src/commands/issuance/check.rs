//! `countersign issuance check`: do files of rules compile, and are they what was meant?

use authority::issuance::{Effect, Finding, Problem, lint};
use serde::Serialize;

use crate::args::IssuanceCheckArgs;
use crate::commands::policy::check::counted;
use crate::failure::Failure;
use crate::output::{self, Format, Row};

/// What a program is told.
#[derive(Debug, Serialize)]
struct Checked {
    rules: Vec<Listed>,
    problems: Vec<Problem>,
    warnings: Vec<Warning>,
}

#[derive(Debug, Serialize)]
struct Listed {
    file: String,
    line: u64,
    rule: String,
    effect: Effect,
}

#[derive(Debug, Serialize)]
struct Warning {
    file: String,
    #[serde(flatten)]
    finding: Finding,
}

pub(super) fn run(args: &IssuanceCheckArgs) -> Result<(), Failure> {
    let mut checked = Checked {
        rules: Vec::new(),
        problems: Vec::new(),
        warnings: Vec::new(),
    };
    for path in &args.files {
        let file = path.display().to_string();
        match super::policy(path) {
            Ok(policy) => {
                let own = policy.rules().iter().filter(|rule| !rule.is_builtin());
                checked.rules.extend(own.map(|rule| Listed {
                    file: file.clone(),
                    line: rule.line(),
                    rule: rule.id().to_owned(),
                    effect: rule.effect(),
                }));
                let found = lint(&policy).into_iter();
                checked.warnings.extend(found.map(|finding| Warning {
                    file: file.clone(),
                    finding,
                }));
            }
            Err(problems) => checked.problems.extend(problems),
        }
    }
    let format = args.output.output;
    if format == Format::Table {
        for warning in &checked.warnings {
            let Finding {
                rule,
                line,
                code,
                message,
            } = &warning.finding;
            let file = &warning.file;
            output::line(&format!(
                "{file}:{line}: warning: {code}: rule {rule}: {message}"
            ))?;
        }
        if checked.problems.is_empty() {
            output::list(format, &checked.rules)?;
            output::line(&counted(
                checked.rules.len(),
                "rule compiles",
                "rules compile",
            ))?;
        }
    } else {
        output::object(format, &checked, Vec::new())?;
    }
    verdict(args, &checked)
}

fn verdict(args: &IssuanceCheckArgs, checked: &Checked) -> Result<(), Failure> {
    let mut lines: Vec<String> = match args.output.output {
        Format::Table => checked.problems.iter().map(ToString::to_string).collect(),
        // They are in the document already.
        Format::Json | Format::Yaml => Vec::new(),
    };
    if !checked.problems.is_empty() {
        lines.push(counted(checked.problems.len(), "problem", "problems"));
    }
    if args.strict && !checked.warnings.is_empty() {
        lines.push(counted(checked.warnings.len(), "warning", "warnings"));
    }
    if lines.is_empty() {
        Ok(())
    } else {
        Err(Failure::Policies(lines))
    }
}

impl Row for Listed {
    const HEADS: &'static [&'static str] = &["rule", "effect", "file", "line"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.rule.clone(),
            self.effect.to_string(),
            self.file.clone(),
            self.line.to_string(),
        ]
    }
}
