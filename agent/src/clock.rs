//! The machine's clock and randomness, read here and passed to everything else.

use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

use crate::schedule::{Jitter, UnixMillis};

/// The present by the machine's wall clock; the epoch itself for a clock set before it. No deny list
/// is taken at that time, for each is from the future, and certificates are judged by the peers' clocks.
pub(crate) fn now() -> UnixMillis {
    let since_epoch = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    UnixMillis::new(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

/// A random draw. Without randomness there is no spread, which is safe: the draw is then zero.
pub(crate) fn jitter() -> Jitter {
    let mut bits = [0; 4];
    match SystemRandom::new().fill(&mut bits) {
        Ok(()) => Jitter::from_bits(u32::from_be_bytes(bits)),
        Err(_unspecified) => Jitter::from_bits(0),
    }
}

/// Waits until the wall clock shows `at`, or as long as it was to take when the wait began: a clock
/// that is set back delays nothing.
///
/// Sleeps in short steps and looks at the wall clock after each: a timer stands still while a
/// machine is suspended, and certificates expire by the wall clock.
pub(crate) async fn sleep_until(at: UnixMillis) {
    let begun = Instant::now();
    let planned = now().until(at);
    while let Some(step) = step(planned, begun.elapsed(), now().until(at)) {
        tokio::time::sleep(step).await;
    }
}

/// How long to sleep before looking at the clocks again; `None` when the wait is over: `planned` has
/// passed by the timer, or nothing is `left` by the wall clock.
fn step(planned: Duration, passed: Duration, left: Duration) -> Option<Duration> {
    let step = planned.saturating_sub(passed).min(left).min(LONGEST_STEP);
    (!step.is_zero()).then_some(step)
}

const LONGEST_STEP: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_by_whichever_clock_is_first() {
        let seconds = Duration::from_secs;
        assert_eq!(
            step(seconds(60), seconds(10), seconds(50)),
            Some(seconds(5))
        );
        assert_eq!(step(seconds(60), seconds(57), seconds(3)), Some(seconds(3)));
        // Set forward, or the machine was suspended.
        assert_eq!(step(seconds(60), seconds(10), seconds(0)), None);
        // Set back by a day.
        assert_eq!(
            step(seconds(60), seconds(58), seconds(86_402)),
            Some(seconds(2))
        );
        assert_eq!(step(seconds(60), seconds(60), seconds(86_400)), None);
    }
}
