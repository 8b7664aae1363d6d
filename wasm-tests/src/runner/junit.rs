//! JUnit XML, as continuous integration reads it.

use super::report::{CaseReport, Difference, Report};
use super::suite::{Failed, Suite, SuiteCase};
use super::tap;

/// The report as one document: a suite a file.
#[must_use]
pub fn junit(report: &Report) -> String {
    junit_of("countersign policy test", &suites(report))
}

/// The report as suites.
pub(super) fn suites(report: &Report) -> Vec<Suite> {
    let case = |case: &CaseReport| SuiteCase {
        name: case.name.clone(),
        line: case.line,
        failure: (!case.passed()).then(|| Failed {
            message: message(case),
            details: details(case),
            fields: tap::fields(case),
        }),
    };
    report
        .files
        .iter()
        .map(|file| Suite {
            file: file.file.clone(),
            cases: file.cases.iter().map(case).collect(),
        })
        .collect()
}

/// Any suites as one document; `title` is the name of the whole.
#[must_use]
pub fn junit_of(title: &str, suites: &[Suite]) -> String {
    let tests: usize = suites.iter().map(|suite| suite.cases.len()).sum();
    let failures: usize = suites.iter().map(Suite::failures).sum();
    let title = escape(title);
    let mut lines = vec![
        r#"<?xml version="1.0" encoding="UTF-8"?>"#.to_owned(),
        format!(r#"<testsuites name="{title}" tests="{tests}" failures="{failures}">"#),
    ];
    for suite in suites {
        one(suite, &mut lines);
    }
    lines.push("</testsuites>\n".to_owned());
    lines.join("\n")
}

fn one(suite: &Suite, lines: &mut Vec<String>) {
    let name = escape(&suite.file);
    let (tests, failures) = (suite.cases.len(), suite.failures());
    lines.push(format!(
        r#"  <testsuite name="{name}" tests="{tests}" failures="{failures}">"#
    ));
    for case in &suite.cases {
        let line = case
            .line
            .map(|line| format!(r#" line="{line}""#))
            .unwrap_or_default();
        let head = format!(
            r#"    <testcase classname="{name}" name="{}" file="{name}"{line}"#,
            escape(&case.name)
        );
        match &case.failure {
            None => lines.push(format!("{head}/>")),
            Some(failed) => {
                lines.push(format!("{head}>"));
                let (message, details) = (escape(&failed.message), escape(&failed.details));
                lines.push(format!(
                    r#"      <failure message="{message}">{details}</failure>"#
                ));
                lines.push("    </testcase>".to_owned());
            }
        }
    }
    lines.push("  </testsuite>".to_owned());
}

fn message(case: &CaseReport) -> String {
    let one = |difference: &Difference| match (difference, &case.filter) {
        (Difference::Shadow, _) => match &case.shadow {
            Some(shadow) => format!("shadow: expected {}, got {}", shadow.expected, shadow.found),
            None => String::new(),
        },
        (Difference::Filter, Some(filter)) => {
            format!("the filter says {filter}, the engine {}", case.found)
        }
        _ => format!("expected {}, got {}", case.expected, case.found),
    };
    let all: Vec<String> = case.differences().iter().map(one).collect();
    all.join("; ")
}

fn details(case: &CaseReport) -> String {
    let mut lines = vec![case.detail.clone()];
    for rule in &case.rules {
        let matched = if rule.matched {
            "matched"
        } else {
            "did not match"
        };
        lines.push(format!("{} {} {matched}", rule.action, rule.rule));
        for failed in &rule.failed {
            let (path, wanted, seen) = (&failed.path, &failed.wanted, &failed.seen);
            lines.push(format!("  {path} {wanted:?}, seen {seen:?}"));
        }
    }
    lines.join("\n")
}

/// Text as XML 1.0 can hold it: most control characters cannot be written at all.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            '\t' => escaped.push_str("&#9;"),
            '\u{0}'..='\u{1f}' | '\u{7f}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            character => escaped.push(character),
        }
    }
    escaped
}
