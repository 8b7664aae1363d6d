//! Test Anything Protocol, version 14.

use std::fmt::Write as _;

use super::report::{CaseReport, Report};

/// The report, one line a case; of failed ones what was expected and found.
#[must_use]
pub fn tap(report: &Report) -> String {
    let mut text = format!("TAP version 14\n1..{}\n", report.total());
    for (index, case) in report.cases().enumerate() {
        let word = if case.passed() { "ok" } else { "not ok" };
        let number = index + 1;
        let name = escape(&format!("{}: {}", case.file, case.name));
        line(&mut text, format_args!("{word} {number} - {name}"));
        if !case.passed() {
            diagnostics(&mut text, case);
        }
    }
    text
}

fn diagnostics(text: &mut String, case: &CaseReport) {
    line(text, format_args!("  ---"));
    let mut field = |name: &str, value: String| {
        // JSON is YAML, and quotes what needs it.
        line(
            text,
            format_args!("  {name}: {}", serde_json::Value::from(value)),
        );
    };
    field("expected", case.expected.to_string());
    field("got", case.found.to_string());
    if let Some(shadow) = &case.shadow {
        field("expectedShadow", shadow.expected.clone());
        field("gotShadow", shadow.found.clone());
    }
    if let Some(filter) = &case.filter {
        field("filter", filter.to_string());
    }
    if let Some(at) = case.line {
        field("at", format!("{}:{at}", case.file));
    }
    line(text, format_args!("  ..."));
}

/// Writing to a text does not fail.
fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    if writeln!(text, "{arguments}").is_err() {
        text.push('\n');
    }
}

/// `#` begins a directive, and a line is a line.
fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for character in name.chars() {
        match character {
            '#' | '\\' => escaped.extend(['\\', character]),
            character if character.is_control() => escaped.push(' '),
            character => escaped.push(character),
        }
    }
    escaped
}
