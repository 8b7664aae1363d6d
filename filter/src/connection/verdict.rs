//! What was decided about a connection, what that rests on, and how it is told.

use std::rc::Rc;

use identity::UnixTime;
use policy::{Decision, PolicyRule};

use crate::attributes::{CONNECTION_ID, CONNECTION_LOCAL_URI, UPSTREAM_LOCAL_URI};
use crate::decision_log::{self, Line, RequestFacts, with_note};
use crate::deny_list::Freshness;
use crate::host::{Host, HostError};
use crate::inbound;
use crate::peer::Seen;
use crate::root::Root;
use crate::settings::{Direction, Plugin};
use crate::shadow::Watched;
use crate::time::Now;

/// Pause between two looks at an open connection whose decision may change as time goes, ms.
const WATCH: u64 = 500;
/// Longest pause: the proxy's clock may be set forward.
const LONGEST_WATCH: u64 = 60_000;

/// What looking at a connection led to.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// Bytes may pass.
    Allowed(Verdict),
    /// It is to be closed.
    Denied(Verdict),
    /// The peer is not known yet; stop it, and ask again for so many milliseconds.
    Unknown {
        /// Milliseconds.
        limit: u64,
    },
    /// Nothing is to be decided before bytes come.
    NotYet,
}

/// A verdict in words.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    direction: Direction,
    allowed: bool,
    reason: &'static str,
    detail: String,
    policy: Option<PolicyRule>,
    /// Where no ALLOW rule matches: what fails.
    pub(super) failed: Option<String>,
    /// What policies say that change no verdict.
    pub(super) shadow: Option<Watched>,
    pub(super) seen: Seen,
    /// Last second of the certificate that it rests on.
    pub(super) ends: Option<UnixTime>,
    /// Allowed as one that shows no certificate, before it has sent anything.
    pub(super) unproven_plaintext: bool,
}

impl Verdict {
    pub(super) fn allowed(direction: Direction, reason: &'static str, detail: String) -> Self {
        Self {
            allowed: true,
            ..Self::denied(direction, reason, detail)
        }
    }

    pub(super) fn denied(direction: Direction, reason: &'static str, detail: String) -> Self {
        Self {
            direction,
            allowed: false,
            reason,
            detail,
            policy: None,
            failed: None,
            shadow: None,
            seen: Seen::default(),
            ends: None,
            unproven_plaintext: false,
        }
    }

    /// An inbound decision of the policies.
    pub(super) fn of(decision: &Decision, note: Option<&str>) -> Self {
        let detail = match decision {
            Decision::Allow(reason) => reason.to_string(),
            Decision::Deny(reason) => with_note(reason.to_string(), note),
        };
        Self {
            allowed: decision.is_allowed(),
            policy: decision.rule().cloned(),
            ..Self::denied(Direction::Inbound, decision.code(), detail)
        }
    }

    /// Something the decision rests on cannot be read.
    pub(super) fn unreadable(
        direction: Direction,
        attribute: &'static str,
        note: Option<&str>,
    ) -> Self {
        let detail = format!("the attribute {attribute} cannot be read");
        Self::denied(direction, "attribute_unreadable", with_note(detail, note))
    }

    pub(super) fn without_configuration() -> Self {
        Self::of(&inbound::without_configuration(), None)
    }

    pub(super) fn without_time(direction: Direction, error: &HostError) -> Self {
        Self::unreadable(direction, "current time", Some(&error.to_string()))
    }

    pub(super) fn seeing(mut self, seen: Seen) -> Self {
        self.seen = seen;
        self
    }

    /// Denied after all, about the same peer.
    pub(super) fn but(self, direction: Direction, reason: &'static str, detail: String) -> Self {
        Self::denied(direction, reason, detail).seeing(self.seen)
    }

    /// Counts it, and writes the line of the decision log; `open` where the connection was open.
    pub(super) fn record<H: Host>(
        &self,
        root: &Root<H>,
        plugin: Option<&Plugin>,
        now: Option<Now>,
        open: bool,
    ) {
        let counted = (self.allowed, self.reason);
        if decision_log::count(root, plugin, counted, self.shadow.as_ref()) {
            self.log(root, now, open);
        }
    }

    fn log<H: Host>(&self, root: &Root<H>, now: Option<Now>, open: bool) {
        let host = root.host();
        let (direction, local) = match self.direction {
            Direction::Inbound => ("inbound", CONNECTION_LOCAL_URI),
            Direction::Outbound => ("outbound", UPSTREAM_LOCAL_URI),
        };
        // What the log would like to say besides; a decision does not rest on it.
        let local = local.text(host).unwrap_or_default();
        let connection = CONNECTION_ID.number(host).unwrap_or_default();
        Line {
            time: now.map(Now::as_seconds),
            direction,
            verdict: if self.allowed { "allow" } else { "deny" },
            reason: self.reason,
            detail: &self.detail,
            policy: self.policy.as_ref().map(PolicyRule::id),
            failed: self.failed.as_deref(),
            peer: self.seen.id.as_ref().map(ToString::to_string),
            peer_sha256: self.seen.digest.map(|sha256| sha256.to_string()),
            via: None,
            local,
            connection,
            facts: &RequestFacts::default(),
            open,
            list_sequence: root.deny_list().map(|list| list.sequence()),
            shadow: self.shadow.as_ref(),
            allowed: self.allowed,
        }
        .write(host);
    }
}

/// What the decision about an open connection rests on.
#[derive(Clone, Debug)]
pub(super) struct Basis {
    plugin: Rc<Plugin>,
    list: Option<(u64, u64)>,
    ends: Option<UnixTime>,
    direction: Direction,
    /// No certificate was there, and no bytes have shown yet that none will come.
    pub(super) unproven_plaintext: bool,
}

impl Basis {
    pub(super) fn new<H: Host>(root: &Root<H>, plugin: &Rc<Plugin>, verdict: &Verdict) -> Self {
        Self {
            plugin: Rc::clone(plugin),
            list: position(root),
            ends: verdict.ends,
            direction: verdict.direction,
            unproven_plaintext: verdict.unproven_plaintext,
        }
    }

    pub(super) const fn direction(&self) -> Direction {
        self.direction
    }

    /// Whether deciding again would decide on the same.
    pub(super) fn still_holds<H: Host>(&self, root: &Root<H>, now: Now) -> bool {
        let same = root
            .plugin()
            .is_some_and(|plugin| Rc::ptr_eq(&plugin, &self.plugin));
        same && self.list == position(root)
            && !self.is_list_stale(root, now)
            && self.ends.is_none_or(|ends| now.unix <= ends)
            && !self.plugin.policies.needs().now
    }

    fn is_list_stale<H: Host>(&self, root: &Root<H>, now: Now) -> bool {
        self.plugin.deny_list().is_some() && root.deny_list_freshness(now) != Freshness::Fresh
    }

    /// Milliseconds until the next look.
    pub(super) fn next_look(&self, now: Now) -> Option<u64> {
        if self.plugin.deny_list().is_some() || self.plugin.policies.needs().now {
            return Some(WATCH);
        }
        let left = self.ends?.as_secs().saturating_sub(now.unix.as_secs());
        let milliseconds = u64::try_from(left).unwrap_or(0).saturating_add(1) * 1000;
        Some(milliseconds.min(LONGEST_WATCH))
    }
}

fn position<H: Host>(root: &Root<H>) -> Option<(u64, u64)> {
    root.deny_list().map(|list| (list.epoch(), list.sequence()))
}
