//! `countersign issuance test`: requests, and what is expected to become of them.

use std::fs;
use std::path::{Path, PathBuf};

use authority::issuance::{CaseFile, CaseReport, Policy, Problem, RuleTrace, run_cases};
use serde::Serialize;
use wasm_tests::runner::{self, Failed, Suite, SuiteCase};

use crate::args::{IssuanceTestArgs, TestFormat};
use crate::commands::policy::check::counted;
use crate::commands::policy::style::{Style, plain};
use crate::failure::Failure;
use crate::output::{self, Format};

/// One file and its cases.
#[derive(Debug, Serialize)]
struct FileReport {
    file: String,
    cases: Vec<CaseReport>,
}

/// What a program is told.
#[derive(Debug, Serialize)]
struct Outcome<'r> {
    total: usize,
    failed: usize,
    files: &'r [FileReport],
}

pub(super) fn run(args: &IssuanceTestArgs) -> Result<(), Failure> {
    let mut reports = Vec::new();
    let mut problems = Vec::new();
    for path in &args.files {
        match run_file(path, args.policy.as_deref()) {
            Ok(report) => reports.push(report),
            Err(found) => problems.extend(found),
        }
    }
    let suites: Vec<Suite> = reports.iter().map(suite).collect();
    if let Some(file) = &args.junit {
        fs::write(file, runner::junit_of("countersign issuance test", &suites))
            .map_err(|error| Failure::file("write", file, error))?;
    }
    let cases = || reports.iter().flat_map(|report| &report.cases);
    let total = cases().count();
    let failed = cases().filter(|case| !case.differences.is_empty()).count();
    let outcome = Outcome {
        total,
        failed,
        files: &reports,
    };
    match args.output {
        TestFormat::Table if reports.is_empty() => {}
        TestFormat::Table => table(&reports, failed, total, Style::of_stdout())?,
        TestFormat::Tap => output::line(runner::tap_of(&suites).trim_end())?,
        TestFormat::Json => output::object(Format::Json, &outcome, Vec::new())?,
        TestFormat::Yaml => output::object(Format::Yaml, &outcome, Vec::new())?,
    }
    let mut faults: Vec<String> = problems.iter().map(ToString::to_string).collect();
    if failed > 0 {
        let total = counted(total, "case", "cases");
        faults.push(format!("{failed} of {total} failed"));
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(Failure::Policies(faults))
    }
}

fn run_file(path: &Path, instead: Option<&Path>) -> Result<FileReport, Vec<Problem>> {
    let file = path.display().to_string();
    let cases = CaseFile::read(&file, &super::text(path)?)?;
    let policy = match (instead, &cases.policy) {
        (Some(instead), _) => super::policy(instead)?,
        (None, Some(named)) => {
            let beside: PathBuf = path.parent().map(|dir| dir.join(named)).unwrap_or_default();
            super::policy(&beside)?
        }
        (None, None) => Policy::builtin(),
    };
    Ok(FileReport {
        cases: run_cases(&cases, &policy),
        file,
    })
}

fn table(reports: &[FileReport], failed: usize, total: usize, style: Style) -> Result<(), Failure> {
    let mut lines = Vec::new();
    for report in reports {
        lines.push(style.strong(&plain(&report.file)));
        for case in &report.cases {
            lines.extend(one(case, style));
        }
        lines.push(String::new());
    }
    let passed = counted(total - failed, "case passed", "cases passed");
    lines.push(match failed {
        0 => style.good(&passed),
        failed => format!("{passed}, {}", style.bad(&format!("{failed} failed"))),
    });
    output::line(&lines.join("\n"))
}

fn one(case: &CaseReport, style: Style) -> Vec<String> {
    let name = plain(&case.name);
    if case.differences.is_empty() {
        return vec![format!("  {}    {name}", style.good("ok"))];
    }
    let at = format!("  (line {})", case.line);
    let mut lines = vec![format!(
        "  {}  {name}{}",
        style.bad("FAIL"),
        style.faint(&at)
    )];
    let (expected, found) = (case.expected.fields(), case.found.fields());
    for field in &case.differences {
        let of = |fields: &std::collections::BTreeMap<&'static str, String>| {
            fields
                .get(field)
                .map_or_else(|| "none".to_owned(), |value| plain(value))
        };
        let (expected, found) = (of(&expected), of(&found));
        lines.push(format!(
            "          {field:<10} expected {expected}, got {found}"
        ));
    }
    lines.push(format!("          {}", plain(&case.detail)));
    lines.extend(
        case.rules
            .iter()
            .map(|rule| format!("          {}", trace(rule))),
    );
    lines
}

/// A rule and why it did not match, in a line.
pub(super) fn trace(rule: &RuleTrace) -> String {
    let at = rule
        .line
        .map(|line| format!(" (line {line})"))
        .unwrap_or_default();
    let head = format!("{} {}{at}", rule.effect, rule.rule);
    match &rule.unmet {
        None => format!("{head}: matches"),
        Some(unmet) => format!(
            "{head}: {} wants {}, seen: {}",
            unmet.path,
            plain(&unmet.wanted),
            plain(&unmet.seen)
        ),
    }
}

fn suite(report: &FileReport) -> Suite {
    let case = |case: &CaseReport| {
        let (expected, found) = (case.expected.fields(), case.found.fields());
        let differing = case.differences.iter().map(|field| {
            let of = |fields: &std::collections::BTreeMap<&'static str, String>| {
                fields
                    .get(field)
                    .cloned()
                    .unwrap_or_else(|| "none".to_owned())
            };
            (*field, of(&expected), of(&found))
        });
        let fields: Vec<(String, String)> = differing
            .clone()
            .flat_map(|(field, expected, found)| {
                [
                    (format!("{field}.expected"), expected),
                    (format!("{field}.got"), found),
                ]
            })
            .chain([("at".to_owned(), format!("{}:{}", report.file, case.line))])
            .collect();
        let message: Vec<String> = differing
            .map(|(field, expected, found)| format!("{field}: expected {expected}, got {found}"))
            .collect();
        let traces: Vec<String> = case.rules.iter().map(trace).collect();
        SuiteCase {
            name: case.name.clone(),
            line: Some(case.line),
            failure: (!case.differences.is_empty()).then(|| Failed {
                message: message.join("; "),
                details: format!("{}\n{}", case.detail, traces.join("\n")),
                fields,
            }),
        }
    };
    Suite {
        file: report.file.clone(),
        cases: report.cases.iter().map(case).collect(),
    }
}
