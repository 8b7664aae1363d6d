//! The changes for people, on a screen of 80 columns.

use super::super::check::counted;
use super::super::style::{Style, plain};
use super::{Access, Change, Changes};
use crate::failure::Failure;
use crate::output;

pub(super) fn table(changes: &Changes, style: Style) -> Result<(), Failure> {
    let mut lines = Vec::new();
    for access in [Access::Lost, Access::Gained] {
        let of: Vec<&Change> = changes
            .changes
            .iter()
            .filter(|change| change.access == access)
            .collect();
        if of.is_empty() {
            continue;
        }
        let head = match access {
            Access::Lost => style.bad(&format!("LOSE ACCESS  {}", requests(changes.lose))),
            Access::Gained => style.good(&format!("GAIN ACCESS  {}", requests(changes.gain))),
        };
        lines.push(head);
        for change in of {
            lines.extend(one(change, style));
        }
        lines.push(String::new());
    }
    let same = changes.requests - changes.lose - changes.gain;
    lines.push(format!(
        "{} replayed: {} lose access, {} gain it, {same} as before",
        requests(changes.requests),
        changes.lose,
        changes.gain
    ));
    let notes = [
        (
            changes.same_by_another_rule,
            "have the same verdict by another rule",
        ),
        (
            changes.left_out,
            "left out: policies had no say (certificates, outbound)",
        ),
        (
            changes.otherwise_logged,
            "were decided otherwise when they were logged",
        ),
    ];
    for (count, what) in notes {
        if count > 0 {
            lines.push(format!("{count} {what}"));
        }
    }
    if !changes.not_logged.is_empty() {
        let names = changes.not_logged.join(", ");
        lines.push(format!(
            "the policies look at what a log does not say, which was taken as absent:\n  {names}"
        ));
    }
    output::line(&lines.join("\n"))
}

fn one(change: &Change, style: Style) -> Vec<String> {
    let request = &change.request;
    let or_none = |text: &str| {
        if text.is_empty() {
            "-".to_owned()
        } else {
            plain(text)
        }
    };
    let mut lines = vec![
        format!(
            "{:>7}  {:<7} {}",
            change.count,
            or_none(&request.method),
            or_none(&request.path)
        ),
        format!("         from {}", plain(&request.peer)),
    ];
    if !request.case.is_empty() {
        lines.push(format!("         case {}", plain(&request.case)));
    }
    lines.push(style.faint(&format!("         old  {}", plain(&change.old.to_string()))));
    lines.push(format!("         new  {}", plain(&change.new.to_string())));
    lines
}

fn requests(count: u64) -> String {
    usize::try_from(count).map_or_else(
        |_| format!("{count} requests"),
        |count| counted(count, "request", "requests"),
    )
}
