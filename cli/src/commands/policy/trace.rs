//! What each rule had to say, on a screen of 80 columns.

use wasm_tests::runner::{ConditionTrace, RuleTrace};

use super::style::{Style, listed, plain};

/// One rule: a line, and below it where it fails.
pub(super) fn lines(rule: &RuleTrace, style: Style, indent: usize) -> Vec<String> {
    let margin = " ".repeat(indent);
    let dry_run = if rule.dry_run { " (dry run)" } else { "" };
    let id = plain(&rule.rule);
    let head = if rule.matched {
        format!(
            "{margin}{:<6} {id}{dry_run}  {}",
            rule.action,
            style.strong("matches")
        )
    } else {
        format!("{margin}{:<6} {id}{dry_run}", rule.action)
    };
    let mut lines = vec![head];
    for failed in &rule.failed {
        lines.extend(condition(failed, style, indent + 7));
    }
    lines
}

/// Where a condition was written, what was wanted, and what was seen.
fn condition(failed: &ConditionTrace, style: Style, indent: usize) -> Vec<String> {
    let margin = " ".repeat(indent);
    let width = 78_usize.saturating_sub(indent + 8);
    // The rule's index is in its name already.
    let path = failed
        .path
        .split_once("].")
        .map_or(failed.path.as_str(), |(_, rest)| rest);
    let negative = path
        .rsplit('.')
        .next()
        .is_some_and(|field| field.starts_with("not"));
    let wanted = match failed.wanted.as_slice() {
        [] => String::new(),
        values => listed(values, width),
    };
    let seen = match failed.seen.as_slice() {
        [] => "absent".to_owned(),
        values => listed(values, width),
    };
    let attribute = match failed.attribute.as_str() {
        "" => String::new(),
        name => format!(" ({name})"),
    };
    let mut lines = vec![format!(
        "{margin}fails on {path}{}",
        style.faint(&attribute)
    )];
    if !wanted.is_empty() {
        let word = if negative { "none of" } else { "one of" };
        lines.push(format!("{margin}  {word:<7} {wanted}"));
    }
    lines.push(format!("{margin}  {:<7} {}", "seen", style.bad(&seen)));
    lines
}
