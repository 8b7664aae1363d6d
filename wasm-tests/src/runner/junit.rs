//! JUnit XML, as continuous integration reads it.

use super::report::{CaseReport, Difference, FileReport, Report};

/// The report as one document: a suite a file.
#[must_use]
pub fn junit(report: &Report) -> String {
    let (tests, failures) = (report.total(), report.failed());
    let mut lines = vec![
        r#"<?xml version="1.0" encoding="UTF-8"?>"#.to_owned(),
        format!(
            r#"<testsuites name="countersign policy test" tests="{tests}" failures="{failures}">"#
        ),
    ];
    for file in &report.files {
        suite(file, &mut lines);
    }
    lines.push("</testsuites>\n".to_owned());
    lines.join("\n")
}

fn suite(file: &FileReport, lines: &mut Vec<String>) {
    let name = escape(&file.file);
    let failures = file.cases.iter().filter(|case| !case.passed()).count();
    let tests = file.cases.len();
    lines.push(format!(
        r#"  <testsuite name="{name}" tests="{tests}" failures="{failures}">"#
    ));
    for case in &file.cases {
        let line = case
            .line
            .map(|line| format!(r#" line="{line}""#))
            .unwrap_or_default();
        let head = format!(
            r#"    <testcase classname="{name}" name="{}" file="{name}"{line}"#,
            escape(&case.name)
        );
        if case.passed() {
            lines.push(format!("{head}/>"));
        } else {
            lines.push(format!("{head}>"));
            let message = escape(&message(case));
            let details = escape(&details(case));
            lines.push(format!(
                r#"      <failure message="{message}">{details}</failure>"#
            ));
            lines.push("    </testcase>".to_owned());
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
