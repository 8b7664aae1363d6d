//! What is reported, and how.

use wasm_tests::runner::{Difference, Report, junit, tap};

use crate::report;

fn mixed() -> Report {
    let file = report(
        "
- name: may get <&> \"it\"
  peer: spiffe://cluster.local/ns/default/sa/sleep
  expect: allow
- name: 'may not # post'
  peer: spiffe://cluster.local/ns/default/sa/sleep
  method: POST
  expect: allow
- name: no admin
  peer: spiffe://cluster.local/ns/default/sa/sleep
  path: /admin
  expect: {verdict: deny, reason: matched_deny, policy: 'ns[default]-policy[other]-rule[0]'}
",
    );
    Report { files: vec![file] }
}

#[test]
fn a_failed_case_says_what_each_rule_wanted_and_saw() {
    let report = mixed();
    let cases: Vec<_> = report.cases().collect();
    assert!(cases[0].passed());
    assert_eq!(cases[1].differences(), [Difference::Expectation]);
    assert_eq!(cases[1].line, Some(7));
    let rule = cases[1]
        .rules
        .iter()
        .find(|rule| rule.rule == "ns[default]-policy[web]-rule[0]")
        .unwrap();
    assert!(!rule.matched && rule.file.ends_with("policies.yaml"));
    assert_eq!(rule.line, Some(7));
    let failed = &rule.failed[0];
    assert_eq!(failed.path, "spec.rules[0].to[0].operation.methods");
    assert_eq!(
        (&failed.wanted, &failed.seen),
        (&vec!["GET".to_owned()], &vec!["POST".to_owned()])
    );
    // The right verdict by another rule is not what was expected.
    assert_eq!(cases[2].differences(), [Difference::Expectation]);
    assert_eq!(report.failed(), 2);
}

#[test]
fn coverage_counts_written_rules_that_matched() {
    let report = mixed();
    let coverage = report.coverage();
    assert_eq!(
        (coverage.total(), coverage.covered(), coverage.percent()),
        (3, 2, 66)
    );
    let never: Vec<_> = coverage.rules().filter(|rule| rule.matches == 0).collect();
    assert_eq!(never.len(), 1);
    assert_eq!(never[0].rule, "ns[default]-policy[web]-rule[1]");
    assert_eq!(never[0].line, Some(9));
}

#[test]
fn tap_escapes_names_and_numbers_every_case() {
    let text = tap(&mixed());
    assert!(text.starts_with("TAP version 14\n1..3\n"), "{text}");
    assert!(text.contains("\nok 1 - "), "{text}");
    assert!(
        text.contains("not ok 2 - ") && text.contains("may not \\# post"),
        "{text}"
    );
    assert!(
        text.contains("  expected: \"allow\"\n  got: \"deny no_allow_matched\"\n"),
        "{text}"
    );
}

#[test]
fn junit_is_xml_with_the_failures() {
    let text = junit(&mixed());
    assert!(text.contains(r#"tests="3" failures="2""#), "{text}");
    assert!(
        text.contains("may get &lt;&amp;&gt; &quot;it&quot;"),
        "{text}"
    );
    assert!(
        text.contains(r#"message="expected allow, got deny no_allow_matched""#),
        "{text}"
    );
    assert_eq!(text.matches("<testcase").count(), 3);
    assert_eq!(text.matches("</testcase>").count(), 2);
    assert!(text.trim_end().ends_with("</testsuites>"), "{text}");
}
