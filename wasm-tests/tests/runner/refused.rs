//! Test files that are none.

use wasm_tests::runner::{MAX_FILE_BYTES, TestFile};

use crate::{Folder, said};

fn refused(text: &str, parts: &[&str]) {
    let folder = Folder::new();
    let said = said(&folder.test(text).unwrap_err());
    for part in parts {
        assert!(
            said.contains(part),
            "{part:?} is not said of {text:?}: {said}"
        );
    }
}

#[test]
fn what_is_missing_or_not_known_is_named() {
    refused("", &["test.yaml", "0 documents"]);
    refused("a: 1\n---\nb: 2\n", &["2 documents"]);
    refused("[]", &["test.yaml:1:1", "not a policy test"]);
    refused("policies: []\n", &["cases"]);
    refused(
        "cases: []\npolicies: []\n",
        &["test.yaml:1:1", "has no cases"],
    );
    refused(
        "cases: [{name: a, peer: plaintext, expect: deny}]\n",
        &["policies"],
    );
    let unknown = "policyFiles: [policies.yaml]\ncases:\n- name: a\n  peer: plaintext\n  verb: GET\n  expect: deny\n";
    refused(
        unknown,
        &[
            "test.yaml:5:3",
            "cases[0].verb",
            "`method`",
            "`certificate`",
        ],
    );
    refused(
        "cases: []\npolicyFile: a\n",
        &["policyFile", "`policyFiles`"],
    );
}

#[test]
fn every_problem_of_a_file_is_told() {
    let text = "policyFiles: [none.yaml]\ntime: noon\ncases:\n- name: a\n  peer: plaintext\n  expect: maybe\n- name: a\n  peer: plaintext\n  expect: {verdict: deny, why: x}\n";
    refused(
        text,
        &[
            "none.yaml: cannot be read",
            "test.yaml:2:1",
            "noon",
            "test.yaml:6:3",
            "maybe",
            "test.yaml:7:3",
            "occurs twice",
            "why",
        ],
    );
}

#[test]
fn policies_that_do_not_compile_are_named_where_they_were_written() {
    let folder = Folder::new();
    folder.write(
        "policies.yaml",
        crate::POLICIES.replace("methods: [GET]", "methods: []"),
    );
    let text = "policyFiles: [policies.yaml]\ncases:\n- {name: a, peer: plaintext, expect: deny}\n";
    let test = folder.test(text).unwrap();
    let problems = wasm_tests::runner::run(&test).unwrap_err();
    let said = said(&problems);
    for part in [
        "policies.yaml:8:",
        "AuthorizationPolicy default/web",
        "methods",
        "empty",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(problems.len(), 1);
}

#[test]
fn files_that_are_no_text_or_too_long_are_refused() {
    let folder = Folder::new();
    let file = folder.write("test.yaml", b"policies: []\n\xff\xfe");
    let found = said(&TestFile::read(&file).unwrap_err());
    assert!(
        found.contains("test.yaml:2") && found.contains("not UTF-8 at byte 13"),
        "{found}"
    );
    let length = usize::try_from(MAX_FILE_BYTES).unwrap() + 1;
    let file = folder.write("test.yaml", vec![b'#'; length]);
    let found = said(&TestFile::read(&file).unwrap_err());
    assert!(found.contains("longer than"), "{found}");
    let found = said(&TestFile::read(&folder.0.path().join("gone.yaml")).unwrap_err());
    assert!(
        found.contains("gone.yaml") && found.contains("cannot be read"),
        "{found}"
    );
}

#[test]
fn a_test_is_told_from_policies() {
    assert!(TestFile::is_meant_by("cases: []\n"));
    // A misspelt one is not passed over.
    assert!(TestFile::is_meant_by("case: []\npolicies: []\n"));
    assert!(TestFile::is_meant_by("cases: [\n"));
    assert!(TestFile::is_meant_by(""));
    assert!(!TestFile::is_meant_by(crate::POLICIES));
}
