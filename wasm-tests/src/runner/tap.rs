//! Test Anything Protocol, version 14.

use std::fmt::Write as _;

use super::report::{CaseReport, Report};
use super::suite::{Failed, Suite};

/// The report, one line a case; of failed ones what was expected and found.
#[must_use]
pub fn tap(report: &Report) -> String {
    tap_of(&super::junit::suites(report))
}

/// The same for any suites.
#[must_use]
pub fn tap_of(suites: &[Suite]) -> String {
    let total: usize = suites.iter().map(|suite| suite.cases.len()).sum();
    let mut text = format!("TAP version 14\n1..{total}\n");
    let cases = suites
        .iter()
        .flat_map(|suite| suite.cases.iter().map(move |case| (suite, case)));
    for (index, (suite, case)) in cases.enumerate() {
        let word = match case.failure {
            None => "ok",
            Some(_) => "not ok",
        };
        let number = index + 1;
        let name = escape(&format!("{}: {}", suite.file, case.name));
        line(&mut text, format_args!("{word} {number} - {name}"));
        if let Some(failed) = &case.failure {
            diagnostics(&mut text, failed);
        }
    }
    text
}

fn diagnostics(text: &mut String, failed: &Failed) {
    line(text, format_args!("  ---"));
    for (name, value) in &failed.fields {
        // JSON is YAML, and quotes what needs it.
        line(
            text,
            format_args!("  {name}: {}", serde_json::Value::from(value.as_str())),
        );
    }
    line(text, format_args!("  ..."));
}

/// What was expected of a case and found, by field.
pub(super) fn fields(case: &CaseReport) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    let mut field = |name: &str, value: String| fields.push((name.to_owned(), value));
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
    fields
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
