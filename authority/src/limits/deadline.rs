//! How long a caller waits: the `grpc-timeout` header.

use std::time::Duration;

use tokio::time::Instant;
use tonic::metadata::MetadataMap;

/// When the caller of a request that came in at `arrived` gives up, if it said so. One that does
/// not parse counts as none, as with other servers: it only makes us work longer.
pub(crate) fn of(metadata: &MetadataMap, arrived: Instant) -> Option<Instant> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    arrived.checked_add(parse(text)?)
}

/// `TimeoutValue TimeoutUnit` of gRPC over HTTP/2: at most eight digits and one of `HMSmun`.
fn parse(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let digits = text.strip_suffix(unit)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    match unit {
        'H' => Some(Duration::from_secs(value.checked_mul(3600)?)),
        'M' => Some(Duration::from_secs(value.checked_mul(60)?)),
        'S' => Some(Duration::from_secs(value)),
        'm' => Some(Duration::from_millis(value)),
        'u' => Some(Duration::from_micros(value)),
        'n' => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_grpc_says_and_nothing_else() {
        for (text, read) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("99999999m", Some(Duration::from_millis(99_999_999))),
            ("5u", Some(Duration::from_micros(5))),
            ("0n", Some(Duration::ZERO)),
            ("", None),
            ("S", None),
            ("1", None),
            ("1s", None),
            ("-1S", None),
            ("1.5S", None),
            ("100000000S", None),
            ("1é", None),
        ] {
            assert_eq!(parse(text), read, "{text:?}");
        }
    }
}
