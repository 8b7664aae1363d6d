//! One TCP connection and where it stands.
//!
//! Not one byte passes, in either direction, before the connection is allowed. Bytes that come
//! earlier stay in the proxy's buffers, which have their own limits; the filter keeps none.
//!
//! **Inbound** the peer is known when the TLS handshake has ended. Where the listener leaves the mark
//! [`HOLD_MARK`] the connection is held as a whole until then, so a denied peer does not even make the
//! proxy connect to the application. Without the mark (Istio's listeners) the proxy connects at
//! once and only bytes are held. What the application says before the handshake ends can then not be
//! let go by itself: Envoy has no call for it (`Unimplemented`). It follows the application's next
//! bytes.
//!
//! **Outbound** the proxy reads the client's first byte after it has connected to the server, so
//! the server's certificate is looked at before that byte goes on.
//!
//! An open connection is looked at again when policies or deny list change, when its certificate
//! ends and when the deny list becomes stale; a denied one is closed.
//!
//! [`HOLD_MARK`]: crate::attributes::FILTER_STATE_HOLD

mod inbound;
mod outbound;
pub mod table;
mod verdict;

use std::cell::RefCell;
use std::rc::Rc;

use crate::host::{Action, Host, Side};
use crate::root::Root;
use crate::settings::{Direction, Plugin};
use crate::time::Now;

use self::verdict::{Basis, Outcome, Verdict};

/// Longest time a connection's peer may remain unknown, milliseconds. Envoy's own limit for the
/// handshake, where there is one, is shorter.
pub const IDENTITY_LIMIT: u64 = 15_000;

/// Pause before the proxy is asked again to close a connection, milliseconds.
const CLOSE_AGAIN: u64 = 250;

/// A connection's context.
#[derive(Debug)]
pub struct Connection<H> {
    context: u32,
    /// The root context it came under, which the proxy keeps as long as the connection.
    origin: Rc<Root<H>>,
    /// The one that decides about it.
    root: RefCell<Rc<Root<H>>>,
    stand: RefCell<Stand>,
}

/// Where a connection stands. Only `Open` lets bytes pass.
#[derive(Clone, Debug)]
enum Stand {
    /// Not decided yet.
    Pending(Pending),
    /// Allowed, and what that rests on.
    Open(Basis),
    /// Denied; the flag says whether the proxy has been told to close it.
    Closed { told: bool },
}

/// What of a connection that is not decided yet has been stopped.
#[derive(Clone, Copy, Debug, Default)]
struct Pending {
    /// The connection as a whole, or bytes from downstream.
    downstream: bool,
    /// Bytes from upstream.
    upstream: bool,
}

/// Why a connection is looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Occasion {
    /// It has just been made.
    New,
    /// So many bytes are there.
    Bytes(Side, usize),
    /// It is time; `last` where it is the last time before it is denied.
    Tick { last: bool },
}

impl<H: Host> Connection<H> {
    /// A connection that has just been made.
    #[must_use]
    pub fn new(context: u32, root: Rc<Root<H>>) -> Self {
        Self {
            context,
            origin: Rc::clone(&root),
            root: RefCell::new(root),
            stand: RefCell::new(Stand::Pending(Pending::default())),
        }
    }

    /// The root context it came under.
    #[must_use]
    pub const fn origin(&self) -> &Rc<Root<H>> {
        &self.origin
    }

    /// The root context that decides about it; `None` cannot be, as no borrow outlives a statement.
    #[must_use]
    pub fn root(&self) -> Option<Rc<Root<H>>> {
        self.root.try_borrow().ok().map(|root| Rc::clone(&root))
    }

    /// A newer configuration takes over: from now on this root context decides about it, and has to set its
    /// timer.
    pub fn move_to(&self, successor: &Rc<Root<H>>) {
        let Some(old) = self.root() else { return };
        if Rc::ptr_eq(&old, successor) {
            return;
        }
        old.forget_connection(self.context);
        if let Ok(mut root) = self.root.try_borrow_mut() {
            *root = Rc::clone(successor);
        }
        let kept = match self.stand() {
            Stand::Open(_) => successor.adopt_open(self.context, Some(0)),
            Stand::Pending(pending) if pending.downstream || pending.upstream => {
                let limit = successor.plugin().map_or(0, |plugin| limit(&plugin));
                successor.adopt_waiting(self.context, limit)
            }
            Stand::Pending(_) | Stand::Closed { .. } => Ok(()),
        };
        // One that nobody looks at any more could not be closed later.
        if kept.is_err() {
            self.set(Stand::Closed { told: false });
        }
    }

    /// The connection has been made.
    pub fn on_new_connection(&self) -> Action {
        self.look(Occasion::New)
    }

    /// Bytes have come; `len` are in the buffer, the ones stopped before included.
    pub fn on_data(&self, side: Side, len: usize) -> Action {
        match self.stand() {
            Stand::Open(basis) if basis.unproven_plaintext => self.prove(basis, side, len),
            Stand::Open(_) => Action::Continue,
            Stand::Closed { told } => {
                if !told {
                    self.close();
                }
                Action::Pause
            }
            Stand::Pending(_) => self.look(Occasion::Bytes(side, len)),
        }
    }

    /// It is time to look at it again, in its own context; `last` where its time is up.
    pub fn on_due(&self, last: bool) {
        let pending = match self.stand() {
            Stand::Open(basis) => {
                self.recheck(&basis);
                return;
            }
            Stand::Closed { told } => {
                if !told {
                    self.close();
                }
                return;
            }
            Stand::Pending(pending) => pending,
        };
        if self.look(Occasion::Tick { last }) == Action::Continue {
            self.let_go(pending);
        }
    }

    /// Whether it has to be looked at in its own context: false only for an open one whose decision
    /// rests on nothing that has changed.
    #[must_use]
    pub fn needs_look(&self, now: Option<Now>) -> bool {
        let (Stand::Open(basis), Some(root), Some(now)) = (self.stand(), self.root(), now) else {
            return true;
        };
        if !basis.still_holds(&root, now) {
            return true;
        }
        root.watch_connection(self.context, basis.next_look(now))
            .is_err()
    }

    /// Its context cannot be entered any more: nothing passes.
    pub fn shut(&self) {
        self.set(Stand::Closed { told: false });
    }

    /// The connection is over.
    pub fn on_done(&self) {
        if let Some(root) = self.root() {
            root.forget_connection(self.context);
        }
    }

    /// The connection was allowed as one without a certificate, which the proxy's attributes said
    /// before there were any bytes. Should one show after all, it is decided on anew.
    fn prove(&self, mut basis: Basis, side: Side, len: usize) -> Action {
        let Some(root) = self.root() else {
            return Action::Pause;
        };
        if inbound::shows_certificate(root.host()) != Ok(false) {
            self.set(Stand::Pending(Pending::default()));
            return self.look(Occasion::Bytes(side, len));
        }
        if side == Side::Downstream && len > 0 {
            basis.unproven_plaintext = false;
            self.set(Stand::Open(basis));
        }
        Action::Continue
    }

    fn look(&self, occasion: Occasion) -> Action {
        let Some(root) = self.root() else {
            return Action::Pause;
        };
        let plugin = root.plugin();
        let now = Now::read(root.host());
        let outcome = match (plugin.as_deref(), &now) {
            (None, _) => Outcome::Denied(Verdict::without_configuration()),
            (Some(plugin), Err(error)) => {
                Outcome::Denied(Verdict::without_time(plugin.direction, error))
            }
            (Some(plugin), Ok(now)) => self.judge(&root, plugin, *now, occasion),
        };
        self.conclude(&root, plugin.as_ref(), outcome, occasion, now.ok())
    }

    fn judge(&self, root: &Root<H>, plugin: &Plugin, now: Now, occasion: Occasion) -> Outcome {
        match plugin.direction {
            Direction::Inbound => inbound::judge(root, plugin, now, occasion),
            Direction::Outbound => outbound::judge(root, plugin, now, occasion),
        }
    }

    fn conclude(
        &self,
        root: &Root<H>,
        plugin: Option<&Rc<Plugin>>,
        outcome: Outcome,
        occasion: Occasion,
        now: Option<Now>,
    ) -> Action {
        let verdict = match outcome {
            Outcome::Allowed(verdict) => verdict,
            Outcome::Denied(verdict) => {
                return self.deny(root, plugin.map(|p| &**p), &verdict, now);
            }
            Outcome::Unknown { limit } => return self.wait(root, plugin, occasion, limit, now),
            Outcome::NotYet => return Action::Continue,
        };
        let (Some(plugin), Some(now)) = (plugin, now) else {
            // Nothing is allowed without configuration and time.
            return self.deny(root, None, &Verdict::without_configuration(), now);
        };
        let basis = Basis::new(root, plugin, &verdict);
        if let Err(full) = root.watch_connection(self.context, basis.next_look(now)) {
            let verdict = verdict.but(plugin.direction, "connection_limit", full.to_string());
            return self.deny(root, Some(plugin), &verdict, Some(now));
        }
        verdict.record(root, Some(plugin), Some(now), false);
        self.set(Stand::Open(basis));
        Action::Continue
    }

    /// The peer is not known yet: bytes stay where they are.
    fn wait(
        &self,
        root: &Root<H>,
        plugin: Option<&Rc<Plugin>>,
        occasion: Occasion,
        limit: u64,
        now: Option<Now>,
    ) -> Action {
        if let Stand::Pending(mut pending) = self.stand() {
            match occasion {
                Occasion::New | Occasion::Bytes(Side::Downstream, _) => pending.downstream = true,
                Occasion::Bytes(Side::Upstream, _) => pending.upstream = true,
                Occasion::Tick { .. } => return Action::Pause,
            }
            self.set(Stand::Pending(pending));
        }
        match root.await_connection(self.context, limit) {
            Ok(()) => Action::Pause,
            Err(full) => {
                let direction = plugin.map_or(Direction::Inbound, |plugin| plugin.direction);
                let verdict = Verdict::denied(direction, "connection_limit", full.to_string());
                self.deny(root, plugin.map(|p| &**p), &verdict, now)
            }
        }
    }

    fn recheck(&self, basis: &Basis) {
        let Some(root) = self.root() else { return };
        let now = Now::read(root.host()).ok();
        if now.is_some_and(|now| basis.still_holds(&root, now)) {
            root.watch_connection(self.context, now.and_then(|now| basis.next_look(now)))
                .ok();
            return;
        }
        let direction = basis.direction();
        // Whatever it is: it can be told by now, because it could be told before.
        let occasion = Occasion::Tick { last: true };
        let plugin = root.plugin();
        let outcome = match (plugin.as_deref(), now) {
            (Some(plugin), Some(now)) if plugin.direction == direction => {
                self.judge(&root, plugin, now, occasion)
            }
            (None, _) => Outcome::Denied(Verdict::without_configuration()),
            _ => Outcome::Denied(Verdict::unreadable(direction, "current time", None)),
        };
        let outcome = match (outcome, plugin.as_ref(), now) {
            (Outcome::Allowed(verdict), Some(plugin), Some(now)) => {
                let basis = Basis::new(&root, plugin, &verdict);
                match root.watch_connection(self.context, basis.next_look(now)) {
                    Ok(()) => {
                        self.set(Stand::Open(basis));
                        return;
                    }
                    Err(full) => verdict.but(direction, "connection_limit", full.to_string()),
                }
            }
            (Outcome::Denied(verdict), ..) => verdict,
            _ => Verdict::denied(
                direction,
                "identity_lost",
                "the peer of an open connection cannot be told any more".to_owned(),
            ),
        };
        root.metrics().count("countersign_connections_closed");
        let _paused = self.deny(&root, plugin.as_deref(), &outcome, now);
    }

    /// Counts, logs and closes. Nothing passes from here on, whether the proxy closes it or not.
    fn deny(
        &self,
        root: &Root<H>,
        plugin: Option<&Plugin>,
        verdict: &Verdict,
        now: Option<Now>,
    ) -> Action {
        let open = matches!(self.stand(), Stand::Open(_));
        self.set(Stand::Closed { told: false });
        root.forget_connection(self.context);
        verdict.record(root, plugin, now, open);
        self.close();
        Action::Pause
    }

    fn close(&self) {
        let Some(root) = self.root() else { return };
        let host = root.host();
        // Envoy ends the same connection for either; a proxy that knows two gets both closed.
        let downstream = host.close_connection(Side::Downstream);
        let upstream = host.close_connection(Side::Upstream);
        if downstream.is_ok() || upstream.is_ok() {
            self.set(Stand::Closed { told: true });
            root.forget_connection(self.context);
        } else {
            root.metrics().count("countersign_close_failed");
            // Tried again with its next bytes, and by the timer, if there is room for it there.
            root.watch_connection(self.context, Some(CLOSE_AGAIN)).ok();
        }
    }

    fn let_go(&self, pending: Pending) {
        let Some(root) = self.root() else { return };
        let host = root.host();
        if pending.downstream && host.resume_connection(Side::Downstream).is_err() {
            // It would stay stopped for ever.
            root.metrics().count("countersign_resume_failed");
            self.set(Stand::Closed { told: false });
            root.forget_connection(self.context);
            self.close();
            return;
        }
        if pending.upstream && host.resume_connection(Side::Upstream).is_err() {
            // They are not lost: they go with the next bytes of the same side.
            root.metrics().count("countersign_upstream_bytes_waiting");
        }
    }

    fn stand(&self) -> Stand {
        // Held nowhere across a call to the proxy; were it, nothing passes.
        self.stand
            .try_borrow()
            .map_or(Stand::Closed { told: false }, |stand| stand.clone())
    }

    fn set(&self, stand: Stand) {
        if let Ok(mut own) = self.stand.try_borrow_mut() {
            *own = stand;
        }
    }
}

/// How long the other end of a connection may remain unknown, milliseconds.
fn limit(plugin: &Plugin) -> u64 {
    match plugin.direction {
        Direction::Inbound => IDENTITY_LIMIT,
        Direction::Outbound => plugin.hold().milliseconds.into(),
    }
}
