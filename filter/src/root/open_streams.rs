//! Requests that were allowed and are not over: streams, WebSockets, tunnels.
//!
//! Their number is Envoy's to bound (streams of a connection, connections of a listener); each has a
//! context here anyway. Besides, the headers it was allowed with are kept, up to a budget for all of
//! them. One beyond the budget is open as well; but if policies that look at headers change, nobody can tell
//! whether they would still allow it, and it is reset.

use std::cell::Cell;

use crate::deny_list::Freshness;
use crate::headers::HeaderBlock;
use crate::host::{Host, LogLevel};
use crate::time::Now;

use super::Root;

/// Most bytes of headers kept of the open requests of one root context.
pub const MAX_KEPT_HEADER_BYTES: usize = 4 << 20;
/// Most open requests decided anew in one tick; the others follow a millisecond later.
pub const MAX_REVIEWS: usize = 256;
/// Pause between two looks at the open requests, milliseconds.
const SWEEP_EVERY: u64 = 1000;
/// The same while there are more to decide on.
const SWEEP_ON: u64 = 1;

/// The open requests of one root context, in numbers.
#[derive(Debug, Default)]
pub struct OpenStreams {
    count: Cell<usize>,
    header_bytes: Cell<usize>,
    next: Cell<Option<u64>>,
    list: Cell<ListState>,
}

/// What was told of the deny list last.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum ListState {
    /// Nothing.
    #[default]
    Unknown,
    /// There is none yet.
    Missing,
    /// It may be relied on.
    Fresh,
    /// It may not: peers are let through all the same, or denied.
    Stale { denies: bool },
}

/// A look at the open requests.
#[derive(Clone, Copy, Debug)]
pub struct Sweep {
    /// The time, if the proxy says it.
    pub now: Option<Now>,
    /// Requests decided on at another generation are decided anew.
    pub generation: u64,
}

impl OpenStreams {
    /// When they are looked at next.
    pub fn due(&self) -> Option<u64> {
        self.next.get()
    }
}

impl<H: Host> Root<H> {
    /// A request was allowed. Gives back its headers where they may be kept.
    pub fn opened(&self, headers: Option<HeaderBlock>) -> Option<HeaderBlock> {
        let open = &self.open;
        open.count.set(open.count.get().saturating_add(1));
        if open.next.get().is_none() {
            self.sweep_in(SWEEP_EVERY);
        }
        let headers = headers?;
        let bytes = open.header_bytes.get().saturating_add(headers.len());
        if bytes > MAX_KEPT_HEADER_BYTES {
            return None;
        }
        open.header_bytes.set(bytes);
        Some(headers)
    }

    /// A request that was allowed is over.
    pub fn closed(&self, headers: Option<&HeaderBlock>) {
        let open = &self.open;
        open.count.set(open.count.get().saturating_sub(1));
        let freed = headers.map_or(0, HeaderBlock::len);
        let bytes = open.header_bytes.get().saturating_sub(freed);
        open.header_bytes.set(bytes);
    }

    /// How many are open.
    pub fn open_streams(&self) -> usize {
        self.open.count.get()
    }

    /// Begins a look at the open requests, if it is time.
    pub fn begin_sweep(&self) -> Option<Sweep> {
        let due = self.open.next.get()?;
        if self.now_on_clock() < due {
            return None;
        }
        self.open.next.set(None);
        (self.open.count.get() > 0).then(|| Sweep {
            now: Now::read(&self.host).ok(),
            generation: self.line().generation(),
        })
    }

    /// Ends it; `more` are to be decided on.
    pub fn end_sweep(&self, more: bool) {
        let pause = if more { SWEEP_ON } else { SWEEP_EVERY };
        let next = self.now_on_clock().saturating_add(pause);
        self.open.next.set(Some(next));
    }

    /// The open requests are decided on in the next tick.
    pub(super) fn sweep_soon(&self) {
        if self.open.count.get() > 0 {
            self.sweep_in(SWEEP_ON);
        }
    }

    fn sweep_in(&self, pause: u64) {
        let now = self.now_on_clock();
        self.open.next.set(Some(now.saturating_add(pause)));
        self.reschedule(now);
    }

    /// Tells once when the deny list becomes stale or is good again; open requests are then decided anew.
    pub(super) fn watch_deny_list(&self) {
        let Some(plugin) = self.plugin() else { return };
        let (Some(settings), Ok(now)) = (plugin.deny_list(), Now::read(&self.host)) else {
            return;
        };
        let freshness = self.deny_list_freshness(now);
        let state = match freshness {
            Freshness::Fresh => ListState::Fresh,
            Freshness::Missing => ListState::Missing,
            Freshness::Stale { .. } => ListState::Stale {
                denies: settings.denies_with(freshness),
            },
        };
        let before = self.open.list.replace(state);
        if before == state {
            return;
        }
        self.metrics.set(
            "countersign_deny_list_stale",
            u64::from(state != ListState::Fresh),
        );
        match (before, state) {
            (ListState::Stale { .. }, ListState::Fresh) => self
                .host
                .log(LogLevel::Info, "countersign: deny list: up to date again"),
            (_, ListState::Stale { denies: true }) => self.host.log(
                LogLevel::Error,
                "countersign: deny list: stale; peers with a certificate are denied",
            ),
            (_, ListState::Stale { denies: false }) => self.host.log(
                LogLevel::Error,
                "countersign: deny list: stale; peers are let through all the same",
            ),
            // That polls fail is told where they do.
            (_, ListState::Unknown | ListState::Missing | ListState::Fresh) => {}
        }
        self.on_world_changed();
    }
}
