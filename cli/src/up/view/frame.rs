//! One frame of the live view as lines of text.

use crate::commands::now;
use crate::output::duration;
use crate::up::decisions::Decision;

use super::{Shown, title};

/// The lines of a frame, at most `height`, none wider than `width` (the screen cuts them).
pub(super) fn lines(shown: &Shown, width: usize, height: usize) -> Vec<String> {
    let (sent, failed) = (shown.tally.sent(), shown.tally.failed());
    let running = i64::try_from(shown.begun.elapsed().as_secs()).unwrap_or(i64::MAX);
    let right = format!(
        "{sent} requests, {failed} failed · {} · q quits",
        duration(running)
    );
    let gap = width
        .saturating_sub(title().chars().count() + right.chars().count())
        .max(2);
    let mut top = vec![
        format!("{}{}{right}", title(), " ".repeat(gap)),
        String::new(),
    ];

    top.push(format!(
        "{:<48} {:<14} {:>8} {:>9}",
        "IDENTITY", "SERIAL", "EXPIRES", "RENEWALS"
    ));
    for identity in shown.identities.all() {
        let rest = identity.not_after - now();
        let expires = if rest < 0 {
            "expired".to_owned()
        } else {
            duration(rest)
        };
        let serial: String = identity.serial.chars().take(12).collect();
        let state = if identity.state == "active" {
            ""
        } else {
            identity.state
        };
        top.push(format!(
            "{:<48} {serial:<13}… {expires:>7} {:>9} {state}",
            identity.id, identity.renewals
        ));
    }

    let mut bottom = vec![
        String::new(),
        "TRY (press the number, or paste the line)".to_owned(),
    ];
    for (index, call) in shown.calls.iter().enumerate() {
        bottom.push(format!(" {} {:<24} {}", index + 1, call.title, call.line()));
    }
    bottom.push(String::new());
    let tried = shown.tried.as_deref().unwrap_or_default();
    bottom.extend(tried.lines().map(str::to_owned));

    top.push(String::new());
    top.push("DECISIONS (the trickle's allowed ones left out)".to_owned());
    let room = height.saturating_sub(top.len() + bottom.len());
    let skip = shown.decisions.len().saturating_sub(room);
    top.extend(shown.decisions.iter().skip(skip).map(decision));
    top.extend(bottom);
    top
}

/// A decision on one line.
pub(super) fn decision(decision: &Decision) -> String {
    let peer = decision.peer.as_deref().unwrap_or("(nobody)");
    let who = peer.rsplit('/').next().unwrap_or(peer);
    let arrow = if decision.direction == "inbound" {
        "from"
    } else {
        "to"
    };
    let request = format!(
        "{} {}",
        decision.method.as_deref().unwrap_or("?"),
        decision.path.as_deref().unwrap_or("?")
    );
    let why = decision.policy.as_deref().unwrap_or(&decision.detail);
    format!(
        "{} {:<5} {:<22} {request:<18} {arrow:>4} {who:<10} {why}",
        clock(decision.time),
        decision.verdict,
        decision.reason
    )
}

/// Time of day in UTC.
fn clock(seconds: f64) -> String {
    let whole = std::time::Duration::try_from_secs_f64(seconds)
        .unwrap_or_default()
        .as_secs();
    let day = whole % 86_400;
    format!("{:02}:{:02}:{:02}Z", day / 3600, day / 60 % 60, day % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_time_of_day() {
        assert_eq!(clock(86_400.0 + 3_661.5), "01:01:01Z");
        assert_eq!(clock(f64::NAN), "00:00:00Z");
    }
}
