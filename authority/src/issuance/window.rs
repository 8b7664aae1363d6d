//! When a rule holds.

use identity::UnixTime;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A span of time, a part of each day, or days of the week; all in UTC, and all that are given must
/// hold.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Window {
    /// First second.
    pub(super) not_before: Option<UnixTime>,
    /// Last second.
    pub(super) not_after: Option<UnixTime>,
    /// Days it holds on; empty for all.
    pub(super) weekdays: Vec<Weekday>,
    /// Minute of the day it begins with, and the one it ends before; through midnight if the first
    /// is the later.
    pub(super) minutes: Option<(u16, u16)>,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Weekday {
    /// Monday.
    Monday,
    /// Tuesday.
    Tuesday,
    /// Wednesday.
    Wednesday,
    /// Thursday.
    Thursday,
    /// Friday.
    Friday,
    /// Saturday.
    Saturday,
    /// Sunday.
    Sunday,
}

impl Window {
    pub(super) fn holds(&self, now: UnixTime) -> bool {
        let days = now.as_secs().div_euclid(86_400);
        let minute = now.as_secs().rem_euclid(86_400) / 60;
        self.not_before.is_none_or(|first| now >= first)
            && self.not_after.is_none_or(|last| now <= last)
            && (self.weekdays.is_empty() || self.weekdays.contains(&weekday(days)))
            && self.minutes.is_none_or(|(from, to)| {
                let (from, to) = (i64::from(from), i64::from(to));
                if from <= to {
                    (from..to).contains(&minute)
                } else {
                    minute >= from || minute < to
                }
            })
    }
}

/// 1970-01-01 was a Thursday.
const fn weekday(days: i64) -> Weekday {
    match days.rem_euclid(7) {
        0 => Weekday::Thursday,
        1 => Weekday::Friday,
        2 => Weekday::Saturday,
        3 => Weekday::Sunday,
        4 => Weekday::Monday,
        5 => Weekday::Tuesday,
        _ => Weekday::Wednesday,
    }
}

/// RFC 3339, in whole seconds.
pub(super) fn instant(text: &str) -> Option<UnixTime> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    Some(UnixTime::from_secs(at.unix_timestamp()))
}

/// `HH:MM` as the minute of the day; `24:00` is its end.
pub(super) fn minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 {
        return None;
    }
    let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
    let minute = hours.checked_mul(60)?.checked_add(minutes)?;
    (minutes < 60 && minute <= 24 * 60).then_some(minute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_may_go_through_midnight() {
        let night = Window {
            minutes: Some((22 * 60, 6 * 60)),
            ..Window::default()
        };
        for (text, wanted) in [
            ("2027-01-15T23:00:00Z", true),
            ("2027-01-15T05:59:59Z", true),
            ("2027-01-15T06:00:00Z", false),
            ("2027-01-15T21:59:59Z", false),
        ] {
            assert_eq!(night.holds(instant(text).unwrap()), wanted, "{text}");
        }
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        let friday = Window {
            weekdays: vec![Weekday::Friday],
            ..Window::default()
        };
        assert!(friday.holds(instant("2027-01-15T08:00:00Z").unwrap()));
        assert!(!friday.holds(instant("2027-01-16T00:00:00Z").unwrap()));
        assert!(friday.holds(instant("1969-12-26T23:59:59Z").unwrap()));
    }

    #[test]
    fn minutes_are_read_strictly() {
        assert_eq!(minute("08:30"), Some(510));
        assert_eq!(minute("24:00"), Some(1440));
        for bad in ["8:30", "08:60", "24:01", "0830", "aa:bb", "-1:00"] {
            assert_eq!(minute(bad), None, "{bad}");
        }
    }
}
