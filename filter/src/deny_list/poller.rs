//! When to ask for the deny list, and what for.

use std::rc::Rc;

use identity::deny_list::DenyList;

use crate::deny_list::settings::DenyListSettings;

/// Pause after the first failure while no list is held, milliseconds.
const FIRST_RETRY: u64 = 50;
/// Longest pause after a failure, milliseconds; a poll interval above it stays what it is. How long a
/// revocation may take is how long an agent that is back waits for this filter.
const LONGEST_RETRY: u64 = 1_000;
/// How long the proxy may take for one reply, milliseconds.
pub const REPLY_TIMEOUT: u32 = 1_000;
/// Beyond this a reply that never came is taken as lost, milliseconds.
const GIVE_UP: u64 = 1_500;
/// How old a list may get by the lease of another thread, milliseconds. Authorities sign every ten
/// seconds, so then whoever holds the lease does not do its work.
const TRUST_IN_OTHERS: u64 = 20_000;

/// A list with its signed head. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Held {
    /// The list.
    pub list: Rc<DenyList>,
    /// The JWS its head came in, for the proxy's other threads.
    pub head: Rc<[u8]>,
}

/// Keeps one deny list fresh.
///
/// A state machine without a clock or a connection: it says when to ask and what for, and is told
/// what came of it. Failures never stop it. What it holds only ever moves forward in epoch and
/// sequence.
#[derive(Debug)]
pub struct Poller {
    settings: Rc<DenyListSettings>,
    held: Option<Held>,
    /// When the list in hand came, or waiting for one began.
    since: u64,
    /// When the list in hand is stale whatever the wall clock says.
    stale_at: u64,
    due: u64,
    in_flight: Option<InFlight>,
    failures: u32,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    token: u32,
    sent: u64,
}

impl Poller {
    /// A poller that asks at once.
    #[must_use]
    pub const fn new(settings: Rc<DenyListSettings>, now: u64) -> Self {
        Self {
            settings,
            held: None,
            since: now,
            stale_at: now,
            due: now,
            in_flight: None,
            failures: 0,
        }
    }

    /// What it was made for.
    #[must_use]
    pub const fn settings(&self) -> &Rc<DenyListSettings> {
        &self.settings
    }

    /// The list in hand, stale or not, with its head.
    #[must_use]
    pub const fn held(&self) -> Option<&Held> {
        self.held.as_ref()
    }

    /// Epoch and sequence of the list in hand.
    #[must_use]
    pub fn position(&self) -> Option<(u64, u64)> {
        self.held.as_ref().map(|held| held.list.position())
    }

    /// Takes a verified list if it is newer than the one in hand. True where it has other entries.
    ///
    /// The same list once more does not count as fresher: it would never be stale for a filter whose
    /// wall clock was set back.
    pub fn take(&mut self, held: Held, now: u64) -> bool {
        if Some(held.list.position()) <= self.position() {
            return false;
        }
        let seconds = held.list.expires().secs_since(held.list.issued());
        let life = u64::try_from(seconds).unwrap_or(0).saturating_mul(1000);
        self.stale_at = now.saturating_add(life);
        self.since = now;
        let before = self.held.replace(held);
        let entries = |held: &Held| held.list.entries().digest();
        before.as_ref().map(entries) != self.held.as_ref().map(entries)
    }

    /// Milliseconds since the list in hand has been held for longer than lists live; 0 while it has
    /// not.
    ///
    /// A wall clock that is set back makes it look fresh again and newer ones look as if they came
    /// from the future.
    #[must_use]
    pub const fn overdue(&self, now: u64) -> Option<u64> {
        now.checked_sub(self.stale_at)
    }

    /// When something is to be done next.
    #[must_use]
    pub fn due(&self) -> u64 {
        self.in_flight
            .map_or(self.due, |call| call.sent.saturating_add(GIVE_UP))
    }

    /// Whether it is time to look for a newer list. A reply that never came counts as a failure.
    pub fn is_due(&mut self, now: u64) -> bool {
        if now < self.due() {
            return false;
        }
        if self.in_flight.take().is_some() {
            self.failed(now);
            return false;
        }
        true
    }

    /// Whether others have had time enough to bring a newer list, whatever lease they hold.
    #[must_use]
    pub fn is_starving(&self, now: u64) -> bool {
        let patience = if self.held.is_some() {
            self.interval().saturating_mul(2).max(TRUST_IN_OTHERS)
        } else {
            self.lease_milliseconds().saturating_mul(2)
        };
        now.saturating_sub(self.since) >= patience
    }

    /// For how long one thread may fetch for all, unless it renews that: two polls.
    #[must_use]
    pub fn lease_milliseconds(&self) -> u64 {
        self.interval().saturating_mul(2).max(500)
    }

    /// Another thread fetches: look again at half an interval.
    pub fn wait(&mut self, now: u64) {
        let pause = if self.held.is_some() {
            self.interval() / 2
        } else {
            FIRST_RETRY
        };
        self.due = now.saturating_add(pause.max(1));
    }

    /// What to ask for: a path with its query.
    #[must_use]
    pub fn path(&self) -> String {
        let (epoch, sequence) = self.position().unwrap_or_default();
        format!("{}?epoch={epoch}&since={sequence}", self.settings.path)
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
    /// no list is held, and never later than after a second or the interval.
    pub fn failed(&mut self, now: u64) {
        let longest = self.interval().min(LONGEST_RETRY);
        let pause = if self.held.is_some() {
            longest
        } else {
            let doubled = 1_u64.checked_shl(self.failures.min(16)).unwrap_or(1);
            FIRST_RETRY.saturating_mul(doubled).min(longest)
        };
        self.due = now.saturating_add(pause);
        self.failures = self.failures.saturating_add(1);
    }

    /// The agent answered well.
    pub fn succeeded(&mut self, now: u64) {
        self.failures = 0;
        self.due = now.saturating_add(self.interval());
    }

    /// True while the last question was answered well.
    #[must_use]
    pub const fn is_healthy(&self) -> bool {
        self.failures == 0
    }

    fn interval(&self) -> u64 {
        u64::from(self.settings.poll_milliseconds)
    }
}
