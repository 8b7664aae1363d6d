//! The report for people.

use wasm_tests::runner::{CaseReport, Coverage, Difference, Report, RuleCoverage};

use super::super::check::counted;
use super::super::style::{Style, plain};
use super::super::trace;
use crate::args::TestArgs;
use crate::failure::Failure;
use crate::output;

pub(super) fn table(
    report: &Report,
    coverage: &Coverage,
    args: &TestArgs,
    style: Style,
) -> Result<(), Failure> {
    let mut lines = Vec::new();
    for file in &report.files {
        lines.push(style.strong(&plain(&file.file)));
        for case in &file.cases {
            lines.extend(one(case, style));
        }
        lines.push(String::new());
    }
    let failed = report.failed();
    let passed = counted(report.total() - failed, "case passed", "cases passed");
    let summary = match failed {
        0 => style.good(&passed),
        failed => format!("{passed}, {}", style.bad(&format!("{failed} failed"))),
    };
    lines.push(summary);
    if args.wasm {
        lines.extend(through_the_filter(report));
    }
    if args.coverage || args.min_coverage.is_some() {
        lines.extend(covered(coverage, style));
    }
    output::line(&lines.join("\n"))
}

fn one(case: &CaseReport, style: Style) -> Vec<String> {
    let name = plain(&case.name);
    if case.passed() {
        return vec![format!("  {}    {name}", style.good("ok"))];
    }
    let at = case
        .line
        .map(|line| format!("  (line {line})"))
        .unwrap_or_default();
    let mut lines = vec![format!(
        "  {}  {name}{}",
        style.bad("FAIL"),
        style.faint(&at)
    )];
    let mut field = |name: &str, value: &str| {
        lines.push(format!("          {name:<9} {}", plain(value)));
    };
    for difference in case.differences() {
        match (difference, &case.shadow, &case.filter) {
            (Difference::Expectation, _, _) => {
                field("expected", &case.expected.to_string());
                field("got", &case.found.to_string());
            }
            (Difference::Shadow, Some(shadow), _) => {
                field("expected", &format!("(shadow) {}", shadow.expected));
                field("got", &format!("(shadow) {}", shadow.found));
            }
            (Difference::Filter, _, Some(filter)) => {
                field("engine", &case.found.to_string());
                field("filter", &filter.to_string());
            }
            (Difference::Shadow | Difference::Filter, _, _) => {}
        }
    }
    lines.extend(
        case.rules
            .iter()
            .flat_map(|rule| trace::lines(rule, style, 10)),
    );
    lines
}

/// How many cases went through the filter, and why others did not.
fn through_the_filter(report: &Report) -> Vec<String> {
    let ran = report.cases().filter(|case| case.filter.is_some()).count();
    let differ = |case: &&CaseReport| case.differences().contains(&Difference::Filter);
    let different = report.cases().filter(differ).count();
    let mut lines = vec![format!(
        "{} through the filter, {different} decided otherwise",
        counted(ran, "case", "cases")
    )];
    let mut reasons: Vec<(&str, usize)> = Vec::new();
    for reason in report
        .cases()
        .filter_map(|case| case.not_in_filter.as_deref())
    {
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count += 1,
            None => reasons.push((reason, 1)),
        }
    }
    for (reason, count) in reasons {
        let count = counted(count, "case", "cases");
        lines.push(format!("{count} not through the filter: {}", plain(reason)));
    }
    lines
}

fn covered(coverage: &Coverage, style: Style) -> Vec<String> {
    let (covered, total) = (coverage.covered(), coverage.total());
    let mut lines = vec![format!(
        "{covered} of {} matched a request ({} %)",
        counted(total, "rule", "rules"),
        coverage.percent()
    )];
    let never: Vec<RuleCoverage> = coverage.rules().filter(|rule| rule.matches == 0).collect();
    if !never.is_empty() {
        lines.push("never matched:".to_owned());
    }
    for rule in never {
        let line = rule.line.map(|line| format!(":{line}")).unwrap_or_default();
        let place = format!("{}{line}", plain(&rule.file));
        lines.push(format!("  {:<6} {}", rule.action, plain(&rule.rule)));
        lines.push(format!("         {}", style.faint(&place)));
    }
    lines
}
