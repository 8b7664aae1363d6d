//! When to ask the agent, and whether a reply is awaited.

/// Pause after the first failure while nothing is held, milliseconds.
const FIRST_RETRY: u64 = 50;
/// Longest pause after a failure, milliseconds; a poll interval above it stays what it is. How long a
/// revocation may take is how long an agent that is back waits for this filter.
const LONGEST_RETRY: u64 = 1_000;
/// How long the proxy may take for one reply, milliseconds.
pub const REPLY_TIMEOUT: u32 = 1_000;
/// Beyond this a reply that never came is taken as lost, milliseconds.
const GIVE_UP: u64 = 1_500;

/// When one thing is asked for again. Times are milliseconds on the root context's clock.
#[derive(Debug)]
pub struct Schedule {
    interval: u64,
    due: u64,
    in_flight: Option<InFlight>,
    failures: u32,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    token: u32,
    sent: u64,
}

impl Schedule {
    /// Asks at once, and then at this interval.
    #[must_use]
    pub const fn new(interval: u64, now: u64) -> Self {
        Self {
            interval,
            due: now,
            in_flight: None,
            failures: 0,
        }
    }

    /// Milliseconds between two polls.
    #[must_use]
    pub const fn interval(&self) -> u64 {
        self.interval
    }

    /// For how long one thread may fetch for all, unless it renews that: two polls.
    #[must_use]
    pub fn lease_milliseconds(&self) -> u64 {
        self.interval.saturating_mul(2).max(500)
    }

    /// When something is to be done next.
    #[must_use]
    pub fn due(&self) -> u64 {
        self.in_flight
            .map_or(self.due, |call| call.sent.saturating_add(GIVE_UP))
    }

    /// Whether it is time to ask. A reply that never came counts as a failure; `held` says whether anything is.
    pub fn is_due(&mut self, now: u64, held: bool) -> bool {
        if now < self.due() {
            return false;
        }
        if self.in_flight.take().is_some() {
            self.failed(now, held);
            return false;
        }
        true
    }

    /// Another thread asks: look again at half an interval, sooner while nothing is held.
    pub fn wait(&mut self, now: u64, held: bool) {
        let pause = if held { self.interval / 2 } else { FIRST_RETRY };
        self.pause(now, pause.max(1));
    }

    /// The question is on its way.
    pub const fn sent(&mut self, token: u32, now: u64) {
        self.in_flight = Some(InFlight { token, sent: now });
    }

    /// Whether a reply is the one awaited; it is awaited no longer.
    ///
    /// Others come too: late ones, and those Envoy gives for a call it had already refused.
    pub fn is_awaited(&mut self, token: u32) -> bool {
        if self.in_flight.is_some_and(|call| call.token == token) {
            self.in_flight = None;
            return true;
        }
        false
    }

    /// Nobody answered, or nothing that could be used: asks again after the interval, sooner while
    /// nothing is held, and never later than after a second or the interval.
    pub fn failed(&mut self, now: u64, held: bool) {
        let longest = self.interval.min(LONGEST_RETRY);
        let pause = if held {
            longest
        } else {
            let doubled = 1_u64.checked_shl(self.failures.min(16)).unwrap_or(1);
            FIRST_RETRY.saturating_mul(doubled).min(longest)
        };
        self.pause(now, pause);
        self.failures = self.failures.saturating_add(1);
    }

    /// Asks again after so many milliseconds.
    pub const fn pause(&mut self, now: u64, milliseconds: u64) {
        self.due = now.saturating_add(milliseconds);
    }

    /// The agent answered well.
    pub const fn succeeded(&mut self, now: u64) {
        self.failures = 0;
        self.pause(now, self.interval);
    }

    /// True while the last question was answered well.
    #[must_use]
    pub const fn is_healthy(&self) -> bool {
        self.failures == 0
    }
}
