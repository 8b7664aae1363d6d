//! The moment of a callback, read from the proxy once.

use identity::UnixTime;

use crate::host::{Host, HostError};

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

/// The proxy's time at the start of a callback.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Now {
    /// Nanoseconds since the epoch.
    pub nanoseconds: u64,
    /// The second.
    pub unix: UnixTime,
}

impl Now {
    /// Reads the proxy's clock.
    ///
    /// # Errors
    /// The proxy did not say.
    pub fn read<H: Host>(host: &H) -> Result<Self, HostError> {
        host.now_nanoseconds().map(Self::from_nanoseconds)
    }

    /// The moment so many nanoseconds after the epoch.
    #[must_use]
    pub fn from_nanoseconds(nanoseconds: u64) -> Self {
        // 2^64 nanoseconds are 584 years, so the seconds always fit.
        let seconds = i64::try_from(nanoseconds / SECOND).unwrap_or(i64::MAX);
        Self {
            nanoseconds,
            unix: UnixTime::from_secs(seconds),
        }
    }

    /// Seconds since the epoch, to the millisecond.
    #[must_use]
    pub fn as_seconds(self) -> f64 {
        let seconds = u32::try_from(self.nanoseconds / SECOND).unwrap_or(u32::MAX);
        let milliseconds = u32::try_from(self.nanoseconds % SECOND / 1_000_000).unwrap_or(0);
        f64::from(seconds) + f64::from(milliseconds) / 1000.0
    }
}
