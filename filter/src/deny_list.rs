//! The deny list in hand and how it is kept fresh.
//!
//! [`Poller`] is a state machine without a clock or a connection: it says when to ask and what for,
//! and is told what came of it. Failures make it ask less often, never stop. What it holds only ever
//! moves forward in epoch and sequence.

pub mod floor;

use std::rc::Rc;

use identity::UnixTime;
use identity::deny_list::DenyList;

use crate::settings::DenyListSettings;

/// Pause after the first failure while no list is held, milliseconds.
const FIRST_RETRY: u64 = 50;
/// Longest pause after failures, milliseconds; a poll interval above it stays what it is.
const LONGEST_RETRY: u64 = 2_000;
/// How long the proxy may take for one reply, milliseconds.
pub const REPLY_TIMEOUT: u32 = 2_000;
/// Beyond this a reply that never came is taken as lost, milliseconds.
const GIVE_UP: u64 = 3_000;

/// Keeps one deny list fresh.
#[derive(Debug)]
pub struct Poller {
    settings: Rc<DenyListSettings>,
    list: Option<Rc<DenyList>>,
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
            list: None,
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

    /// The list in hand, stale or not.
    #[must_use]
    pub const fn list(&self) -> Option<&Rc<DenyList>> {
        self.list.as_ref()
    }

    /// Takes over a list that another poller with the same keys has verified, if it is newer.
    pub fn inherit(&mut self, list: Option<Rc<DenyList>>, now: u64) {
        let position = |list: &Rc<DenyList>| (list.epoch(), list.sequence());
        if list.as_ref().map(position) > self.list.as_ref().map(position)
            && let Some(list) = list
        {
            self.take(list, now);
        }
    }

    /// Whether the list in hand has been held for longer than lists live.
    ///
    /// A wall clock that is set back makes it look fresh again and newer ones look as if they came
    /// from the future.
    #[must_use]
    pub const fn is_overdue(&self, now: u64) -> bool {
        now >= self.stale_at
    }

    fn take(&mut self, list: Rc<DenyList>, now: u64) {
        let seconds = list.expires().secs_since(list.issued());
        let life = u64::try_from(seconds).unwrap_or(0).saturating_mul(1000);
        self.stale_at = now.saturating_add(life);
        self.list = Some(list);
    }

    /// When something is to be done next.
    #[must_use]
    pub fn due(&self) -> u64 {
        self.in_flight
            .map_or(self.due, |call| call.sent.saturating_add(GIVE_UP))
    }

    /// What to ask for now, if it is time: a path with its query.
    ///
    /// A stale list is asked for anew: a reply "unchanged" would leave it stale.
    pub fn ask(&mut self, now: u64, wall: Option<UnixTime>) -> Option<String> {
        if now < self.due() {
            return None;
        }
        if self.in_flight.take().is_some() {
            self.failed(now);
            return None;
        }
        let list = self.list.as_ref().filter(|_| !self.is_overdue(now));
        let fresh = wall.and_then(|wall| list.filter(|list| !list.is_stale(wall)));
        let since = fresh.map_or(0, |list| list.sequence());
        Some(format!("{}?since={since}", self.settings.path))
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

    /// Nobody answered, or nothing that could be used.
    pub fn failed(&mut self, now: u64) {
        let interval = u64::from(self.settings.poll_milliseconds);
        let first = if self.list.is_some() {
            interval
        } else {
            FIRST_RETRY.min(interval)
        };
        let pause = first.saturating_mul(1_u64.checked_shl(self.failures.min(16)).unwrap_or(1));
        self.due = now.saturating_add(pause.min(LONGEST_RETRY.max(interval)));
        self.failures = self.failures.saturating_add(1);
    }

    /// The agent has nothing newer. True where that was an answer to expect.
    pub fn unchanged(&mut self, now: u64) -> bool {
        if self.list.is_none() {
            self.failed(now);
            return false;
        }
        self.succeeded(now);
        true
    }

    /// A verified list, not below the floor.
    pub fn accept(&mut self, list: DenyList, now: u64) {
        self.take(Rc::new(list), now);
        self.succeeded(now);
    }

    /// True while the last question was answered well.
    #[must_use]
    pub const fn is_healthy(&self) -> bool {
        self.failures == 0
    }

    fn succeeded(&mut self, now: u64) {
        self.failures = 0;
        self.due = now.saturating_add(u64::from(self.settings.poll_milliseconds));
    }
}
