//! The lowest epoch and sequence of a deny list that is still accepted.
//!
//! It comes from the configuration, from the list in hand, and from what the proxy's other threads
//! have seen, by shared data. Any plug-in of the same VM can write there, so what is read is a claim:
//! malformed bytes are no floor, and a floor raised by somebody else can only make this filter
//! deny.

use crate::host::{Host, HostError, Status};

/// Epoch and sequence, ordered in that order.
pub type Floor = (u64, u64);

/// Longest text of a floor: two numbers of 20 digits and a colon.
const MAX_TEXT: usize = 41;
/// How often a write that lost a race is tried again.
const ATTEMPTS: u32 = 4;

/// Reads the shared floor; `None` where nobody has set one or what is there is none.
///
/// # Errors
/// The proxy did not answer: the floor is then unknown, and a list must not be accepted.
pub fn read<H: Host>(host: &H, key: &str) -> Result<Option<Floor>, HostError> {
    Ok(host.shared_data(key)?.and_then(|(value, _)| parse(&value)))
}

/// Raises the shared floor to at least `floor`.
///
/// # Errors
/// The proxy did not take it; the floor then holds in this context only.
pub fn raise<H: Host>(host: &H, key: &str, floor: Floor) -> Result<(), HostError> {
    let text = format!("{}:{}", floor.0, floor.1);
    let mut outcome = Ok(());
    for _ in 0..ATTEMPTS {
        let (found, version) = host.shared_data(key)?.unwrap_or_default();
        if parse(&found).is_some_and(|found| found >= floor) {
            return Ok(());
        }
        // The first write of all cannot be conditional (version 0 is "whatever it is"), so every
        // write is read again in the next round.
        outcome = host.set_shared_data(key, text.as_bytes(), version);
        match outcome {
            Ok(())
            | Err(HostError::Refused {
                status: Status::CasMismatch,
                ..
            }) => {}
            Err(_) => break,
        }
    }
    outcome
}

fn parse(text: &[u8]) -> Option<Floor> {
    if text.len() > MAX_TEXT {
        return None;
    }
    let (epoch, sequence) = std::str::from_utf8(text).ok()?.split_once(':')?;
    Some((number(epoch)?, number(sequence)?))
}

/// Digits only: `u64::from_str` alone would take a sign.
fn number(text: &str) -> Option<u64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::FakeHost;

    #[test]
    fn raises_and_never_lowers() {
        let host = FakeHost::new();
        assert_eq!(read(&host, "k"), Ok(None));
        raise(&host, "k", (1, 5)).unwrap();
        raise(&host, "k", (1, 4)).unwrap();
        assert_eq!(read(&host, "k"), Ok(Some((1, 5))));
        raise(&host, "k", (2, 1)).unwrap();
        assert_eq!(read(&host, "k"), Ok(Some((2, 1))));
    }

    #[test]
    fn what_is_no_floor_is_replaced() {
        for text in [
            "",
            ":",
            "1",
            "1:",
            ":1",
            "+1:2",
            "1:2:3",
            "99999999999999999999:1",
            " 1:1",
        ] {
            let host = FakeHost::new();
            host.set_shared("k", text.as_bytes());
            assert_eq!(read(&host, "k"), Ok(None), "{text:?}");
            raise(&host, "k", (1, 1)).unwrap();
            assert_eq!(read(&host, "k"), Ok(Some((1, 1))));
        }
    }

    #[test]
    fn survives_a_lost_race() {
        let host = FakeHost::new();
        host.set_shared("k", b"1:1");
        host.race_shared("k", b"1:7");
        raise(&host, "k", (1, 6)).unwrap();
        assert_eq!(read(&host, "k"), Ok(Some((1, 7))));
    }

    #[test]
    fn a_failure_is_not_an_absence() {
        let host = FakeHost::new();
        host.fail("proxy_get_shared_data", Status::InternalFailure);
        assert!(read(&host, "k").is_err());
        assert!(raise(&host, "k", (1, 1)).is_err());
    }
}
