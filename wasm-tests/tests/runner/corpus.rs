//! Every file of the corpus is a policy test.

use std::path::{Path, PathBuf};

use wasm_tests::artefact;
use wasm_tests::runner::{Filter, Folders, Report, TestFile, expand, run};

use crate::said;

fn corpus() -> Vec<TestFile> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policy/corpus");
    let (files, problems) = expand(&[folder], Folders::Flat);
    assert_eq!(problems, []);
    assert!(files.len() >= 40, "{files:?}");
    let read = |file: &PathBuf| {
        TestFile::read(file).unwrap_or_else(|problems| panic!("{}", said(&problems)))
    };
    files.iter().map(read).collect()
}

#[test]
fn every_case_of_the_corpus_passes() {
    let mut report = Report::default();
    for test in corpus() {
        report
            .files
            .push(run(&test).unwrap_or_else(|problems| panic!("{}", said(&problems))));
    }
    assert_all_passed(&report);
    assert!(report.total() >= 300, "{} cases", report.total());
    assert!(report.coverage().covered() > 20);
}

#[test]
fn every_case_of_the_corpus_passes_through_the_filter() {
    let filter = Filter::load(&artefact::path()).unwrap();
    let mut report = Report::default();
    for test in corpus() {
        let mut file = run(&test).unwrap();
        filter
            .run(&test, &mut file)
            .unwrap_or_else(|error| panic!("{error}"));
        report.files.push(file);
    }
    assert_all_passed(&report);
    // A case passes where the filter was not asked; of the corpus there is none.
    let left_out: Vec<_> = report
        .cases()
        .filter(|case| case.filter.as_ref() != Some(&case.found))
        .map(|case| (&case.file, &case.name, &case.not_in_filter))
        .collect();
    assert!(left_out.is_empty(), "{left_out:?}");
    assert!(report.total() >= 300, "{} cases", report.total());
}

#[track_caller]
fn assert_all_passed(report: &Report) {
    let failed = report.cases().filter(|case| !case.passed()).map(|case| {
        let filter = case.filter.as_ref().map(ToString::to_string);
        let (file, name, expected, found) = (&case.file, &case.name, &case.expected, &case.found);
        format!("{file}: {name}: expected {expected}, got {found}, filter {filter:?}")
    });
    let failed: Vec<String> = failed.collect();
    assert!(
        failed.is_empty(),
        "{} cases:\n{}",
        failed.len(),
        failed.join("\n")
    );
}
