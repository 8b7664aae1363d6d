//! `countersign policy test`: requests, and the verdicts expected of them.

mod show;

use std::fs;
use std::path::PathBuf;

use serde::Serialize;
use wasm_tests::runner::{
    self, CaseReport, Coverage, Folders, Problem, Report, RuleCoverage, TestFile,
};

use super::check::counted;
use super::sources;
use super::style::Style;
use crate::args::{TestArgs, TestFormat};
use crate::failure::Failure;
use crate::output::{self, Format};

/// What a program is told.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome<'r> {
    total: usize,
    failed: usize,
    cases: Vec<CaseOutcome<'r>>,
    coverage: CoverageOutcome,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CaseOutcome<'r> {
    passed: bool,
    #[serde(flatten)]
    case: &'r CaseReport,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CoverageOutcome {
    rules: usize,
    matched: usize,
    percent: usize,
    never_matched: Vec<RuleCoverage>,
}

pub(super) fn run(args: &TestArgs) -> Result<(), Failure> {
    let (report, problems) = report(args)?;
    if let Some(file) = &args.junit {
        fs::write(file, runner::junit(&report))
            .map_err(|error| Failure::file("write", file, error))?;
    }
    let coverage = report.coverage();
    match args.output {
        TestFormat::Table if report.files.is_empty() => {}
        TestFormat::Table => show::table(&report, &coverage, args, Style::of_stdout())?,
        TestFormat::Tap => output::line(runner::tap(&report).trim_end())?,
        TestFormat::Json => document(Format::Json, &report, &coverage)?,
        TestFormat::Yaml => document(Format::Yaml, &report, &coverage)?,
    }
    verdict(args, &report, &coverage, &problems)
}

/// Reads and runs all files; what is wrong with some of them does not keep the others from being run.
fn report(args: &TestArgs) -> Result<(Report, Vec<Problem>), Failure> {
    let filter = Filter::load(args)?;
    let mut report = Report::default();
    let mut problems = Vec::new();
    for test in read(&args.paths, &mut problems) {
        let test = match &args.only {
            Some(text) => test.only(text),
            None => test,
        };
        match runner::run(&test) {
            Ok(mut file) => {
                filter.run(&test, &mut file)?;
                report.files.push(file);
            }
            Err(found) => problems.extend(found),
        }
    }
    if report.total() == 0 && problems.is_empty() {
        let problem = match &args.only {
            Some(text) => format!("no case has {text:?} in its name"),
            None => "no test among these files (none has cases)".to_owned(),
        };
        return Err(Failure::Check(problem));
    }
    Ok((report, problems))
}

/// The test files: those named, and those of folders that are meant as tests.
pub(super) fn read(paths: &[PathBuf], problems: &mut Vec<Problem>) -> Vec<TestFile> {
    let mut tests = Vec::new();
    for path in paths {
        let (files, found) = runner::expand(std::slice::from_ref(path), Folders::Deep);
        problems.extend(found);
        let named = !path.is_dir();
        for file in files {
            // Of a folder, policies that lie beside the tests are no tests.
            let meant =
                named || runner::read_text(&file).map_or(true, |text| TestFile::is_meant_by(&text));
            if meant {
                match TestFile::read(&file) {
                    Ok(test) => tests.push(test),
                    Err(found) => problems.extend(found),
                }
            }
        }
    }
    tests
}

fn document(format: Format, report: &Report, coverage: &Coverage) -> Result<(), Failure> {
    let case = |case| CaseOutcome {
        passed: CaseReport::passed(case),
        case,
    };
    let outcome = Outcome {
        total: report.total(),
        failed: report.failed(),
        cases: report.cases().map(case).collect(),
        coverage: CoverageOutcome {
            rules: coverage.total(),
            matched: coverage.covered(),
            percent: coverage.percent(),
            never_matched: coverage.rules().filter(|rule| rule.matches == 0).collect(),
        },
    };
    output::object(format, &outcome, Vec::new())
}

/// Whether all is well.
fn verdict(
    args: &TestArgs,
    report: &Report,
    coverage: &Coverage,
    problems: &[Problem],
) -> Result<(), Failure> {
    let mut faults: Vec<String> = problems.iter().map(ToString::to_string).collect();
    if report.failed() > 0 {
        let total = counted(report.total(), "case", "cases");
        faults.push(format!("{} of {total} failed", report.failed()));
    }
    let wanted = args.min_coverage.map_or(0, usize::from);
    if coverage.covered() * 100 < wanted * coverage.total() {
        let (covered, total) = (coverage.covered(), coverage.total());
        faults.push(format!(
            "{covered} of {total} rules matched a request ({} %), at least {wanted} % are asked for",
            coverage.percent()
        ));
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(Failure::Policies(faults))
    }
}

/// The built filter, where it is asked for.
#[cfg(feature = "wasm")]
struct Filter(Option<runner::Filter>);

#[cfg(feature = "wasm")]
impl Filter {
    fn load(args: &TestArgs) -> Result<Self, Failure> {
        let load =
            || runner::Filter::load(&args.filter).map_err(|error| Failure::part("--wasm", error));
        Ok(Self(args.wasm.then(load).transpose()?))
    }

    fn run(&self, test: &TestFile, report: &mut runner::FileReport) -> Result<(), Failure> {
        match &self.0 {
            Some(filter) => filter
                .run(test, report)
                .map_err(|error| Failure::part("--wasm", error)),
            None => Ok(()),
        }
    }
}

/// This binary was built without the means to run the filter.
#[cfg(not(feature = "wasm"))]
struct Filter;

#[cfg(not(feature = "wasm"))]
impl Filter {
    fn load(args: &TestArgs) -> Result<Self, Failure> {
        if args.wasm {
            let problem = "--wasm: this binary was built without it; `cargo build -p countersign --features wasm` builds one with it";
            return Err(Failure::Check(problem.to_owned()));
        }
        Ok(Self)
    }

    #[expect(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "the same face as the one with the feature"
    )]
    fn run(&self, _test: &TestFile, _report: &mut runner::FileReport) -> Result<(), Failure> {
        Ok(())
    }
}

/// The problems of files that were to be replayed.
pub(super) fn require(paths: &[PathBuf]) -> Result<Vec<TestFile>, Failure> {
    let mut problems = Vec::new();
    let tests = read(paths, &mut problems);
    if problems.is_empty() {
        Ok(tests)
    } else {
        Err(sources::failed(&problems))
    }
}
