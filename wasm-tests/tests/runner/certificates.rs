//! What cases say of certificates.

use wasm_tests::artefact;
use wasm_tests::runner::{FileReport, Filter, run};

use crate::{Folder, report, said};

fn reasons(report: &FileReport) -> Vec<&str> {
    report
        .cases
        .iter()
        .map(|case| case.found.reason.as_str())
        .collect()
}

const CASES: &str = "
- name: a good one
  certificate: {id: spiffe://cluster.local/ns/default/sa/sleep}
  expect: allow
- name: of the peer that is named
  peer: spiffe://cluster.local/ns/default/sa/sleep
  certificate: {serial: 0a0b, key: RSA-2048}
  expect: {verdict: allow, policy: 'ns[default]-policy[web]-rule[0]'}
- name: expired
  certificate: {id: spiffe://cluster.local/ns/default/sa/sleep, ageSeconds: 7200, remainingSeconds: -60}
  expect: {verdict: deny, reason: expired}
- name: two URI names
  certificate: {id: spiffe://cluster.local/ns/default/sa/sleep, uris: [spiffe://cluster.local/x]}
  expect: deny
- name: no SPIFFE ID
  certificate: {dns: [sleep.example]}
  expect: deny
";

#[test]
fn certificates_are_made_as_described_and_checked() {
    let report = report(CASES);
    let failed: Vec<_> = report.cases.iter().filter(|case| !case.passed()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(reasons(&report)[3], "two_uri_sans", "{report:#?}");
}

#[test]
fn the_filter_says_the_same_of_them() {
    let folder = Folder::new();
    let text = format!("policyFiles: [policies.yaml]\ncases:{CASES}");
    let test = folder.test(&text).unwrap();
    let mut report = run(&test).unwrap();
    let filter = Filter::load(&artefact::path()).unwrap();
    filter
        .run(&test, &mut report)
        .unwrap_or_else(|error| panic!("{error}"));
    for case in &report.cases {
        assert!(case.passed() && case.filter.is_some(), "{case:#?}");
    }
}

#[test]
fn certificates_that_cannot_be_are_problems_with_their_line() {
    let folder = Folder::new();
    let refused = |certificate: &str| {
        let text = format!(
            "policyFiles: [policies.yaml]\ncases:\n- name: a\n  certificate: {certificate}\n  expect: deny\n"
        );
        said(&folder.test(&text).unwrap_err())
    };
    for (certificate, parts) in [
        ("{file: none.pem}", ["test.yaml:4:", "none.pem"]),
        ("{file: policies.yaml}", ["test.yaml:4:", "no certificate"]),
        (
            "{file: a.pem, serial: '01'}",
            ["test.yaml:4:", "cannot be combined"],
        ),
        ("{id: spiffe://a/b, serial: xyz}", ["test.yaml:4:", "xyz"]),
        (
            "{id: spiffe://a/b, colour: red}",
            ["cases[0].certificate", "colour"],
        ),
        ("7", ["cases[0].certificate", "invalid type"]),
    ] {
        let said = refused(certificate);
        for part in parts {
            assert!(said.contains(part), "{certificate}: {said}");
        }
    }
}
