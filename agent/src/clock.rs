//! The machine's clock and randomness, read here and passed to everything else.

use std::time::{Duration, SystemTime};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

use crate::schedule::{Jitter, UnixMillis};

/// The present by the machine's wall clock; the epoch itself for a clock set before it.
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

/// Waits until the wall clock shows `at`.
///
/// Sleeps in short steps and looks at the wall clock after each: a timer stands still while a
/// machine is suspended, and certificates expire by the wall clock.
pub(crate) async fn sleep_until(at: UnixMillis) {
    loop {
        let left = now().until(at);
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LONGEST_STEP)).await;
    }
}

const LONGEST_STEP: Duration = Duration::from_secs(5);
