//! Durations as people write them.

use std::fmt;

use serde::Deserialize;

/// A duration in whole seconds: `90`, `90s`, `15m`, `24h` or `30d`; at least one second.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd)]
#[serde(try_from = "Written")]
pub struct Seconds(i64);

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a duration such as 90s, 15m, 24h or 30d")]
enum Written {
    Number(i64),
    Text(String),
}

/// Not a duration.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{found:?} is not a duration such as 90s, 15m, 24h or 30d")]
pub struct SecondsError {
    /// What was found.
    pub found: String,
}

impl Seconds {
    /// `seconds`, which the caller knows to be more than zero.
    #[must_use]
    pub const fn of(seconds: u32) -> Self {
        // Widening; `From` is not const.
        #[allow(clippy::as_conversions, reason = "u32 to i64 loses nothing")]
        Self(seconds as i64)
    }

    /// The number of seconds.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl TryFrom<Written> for Seconds {
    type Error = SecondsError;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let seconds = match &written {
            Written::Number(seconds) => Some(*seconds),
            Written::Text(text) => parse(text),
        };
        seconds
            .filter(|seconds| *seconds > 0)
            .map(Self)
            .ok_or_else(|| SecondsError {
                found: match written {
                    Written::Number(number) => number.to_string(),
                    Written::Text(text) => text.chars().take(32).collect(),
                },
            })
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0)
    }
}

fn parse(text: &str) -> Option<i64> {
    const UNITS: [(char, i64); 4] = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)];
    let (digits, factor) = UNITS
        .iter()
        .find_map(|&(unit, factor)| text.strip_suffix(unit).map(|digits| (digits, factor)))
        .unwrap_or((text, 1));
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits
        .then(|| digits.parse::<i64>().ok())?
        .and_then(|count| count.checked_mul(factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations_and_refuses_the_rest() {
        let read = |text: &str| serde_json::from_str::<Seconds>(text).map(Seconds::get).ok();
        assert_eq!(read("90"), Some(90));
        assert_eq!(read("\"90s\""), Some(90));
        assert_eq!(read("\"15m\""), Some(900));
        assert_eq!(read("\"30d\""), Some(2_592_000));
        for bad in [
            "0",
            "-1",
            "1.5",
            "true",
            "\"\"",
            "\"s\"",
            "\"0s\"",
            "\"-1s\"",
            "\"+1s\"",
            "\"1w\"",
            "\"99999999999999999999d\"",
            "\"9223372036854775807d\"",
        ] {
            assert_eq!(read(bad), None, "{bad} was accepted");
        }
    }
}
