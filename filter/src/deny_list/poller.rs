//! The deny list in hand: when to ask for a newer one, and what for.

use std::rc::Rc;

use identity::deny_list::DenyList;

use crate::deny_list::schedule::Schedule;
use crate::deny_list::settings::DenyListSettings;

/// How old a list may get by the lease of another thread, milliseconds. Authorities sign every ten
/// seconds, so then whoever holds the lease does not do its work.
pub const TRUST_IN_OTHERS: u64 = 20_000;

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
    schedule: Schedule,
}

impl Poller {
    /// A poller that asks at once.
    #[must_use]
    pub fn new(settings: Rc<DenyListSettings>, now: u64) -> Self {
        Self {
            schedule: Schedule::new(settings.poll_milliseconds.into(), now),
            settings,
            held: None,
            since: now,
            stale_at: now,
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
        self.schedule.due()
    }

    /// Whether it is time to look for a newer list. A reply that never came counts as a failure.
    pub fn is_due(&mut self, now: u64) -> bool {
        self.schedule.is_due(now, self.held.is_some())
    }

    /// Whether others have had time enough to bring a newer list, whatever lease they hold.
    #[must_use]
    pub fn is_starving(&self, now: u64) -> bool {
        let patience = if self.held.is_some() {
            self.schedule
                .interval()
                .saturating_mul(2)
                .max(TRUST_IN_OTHERS)
        } else {
            self.lease_milliseconds().saturating_mul(2)
        };
        now.saturating_sub(self.since) >= patience
    }

    /// For how long one thread may fetch for all, unless it renews that: two polls.
    #[must_use]
    pub fn lease_milliseconds(&self) -> u64 {
        self.schedule.lease_milliseconds()
    }

    /// Another thread fetches: look again at half an interval.
    pub fn wait(&mut self, now: u64) {
        self.schedule.wait(now, self.held.is_some());
    }

    /// What to ask for: a path with its query.
    #[must_use]
    pub fn path(&self) -> String {
        let (epoch, sequence) = self.position().unwrap_or_default();
        format!("{}?epoch={epoch}&since={sequence}", self.settings.path)
    }

    /// The question is on its way.
    pub const fn sent(&mut self, token: u32, now: u64) {
        self.schedule.sent(token, now);
    }

    /// Whether a reply is the one awaited; it is awaited no longer.
    pub fn is_awaited(&mut self, token: u32) -> bool {
        self.schedule.is_awaited(token)
    }

    /// Nobody answered, or nothing that could be used.
    pub fn failed(&mut self, now: u64) {
        self.schedule.failed(now, self.held.is_some());
    }

    /// The agent answered well.
    pub const fn succeeded(&mut self, now: u64) {
        self.schedule.succeeded(now);
    }

    /// True while the last question was answered well.
    #[must_use]
    pub const fn is_healthy(&self) -> bool {
        self.schedule.is_healthy()
    }
}
