//! One request and where it stands.

mod report;

use std::cell::RefCell;
use std::rc::Rc;

use identity::UnixTime;

use crate::decision_log::RequestFacts;
use crate::headers::HeaderBlock;
use crate::host::{Action, HeaderMap, Host};
use crate::inbound::{self, Given, Judged};
use crate::peer::Seen;
use crate::reply;
use crate::root::{Root, Sweep};
use crate::settings::{Direction, Plugin};
use crate::time::Now;
use crate::upstream::{self, Check, NamingDenial};

use self::report::Verdict;

/// A request's context.
#[derive(Debug)]
pub struct Stream<H> {
    context: u32,
    root: Rc<Root<H>>,
    stand: RefCell<Stand>,
}

/// Where a request stands. Only `Open` lets its body pass.
#[derive(Debug)]
enum Stand {
    New,
    Held(Box<Held>),
    Open(Open),
    Denied,
    Over,
}

/// What a held request is decided on later. It keeps the configuration it came under.
#[derive(Clone, Debug)]
struct Held {
    plugin: Rc<Plugin>,
    cluster: String,
    facts: RequestFacts,
}

/// A request that was allowed, and what it needs to be decided on anew.
#[derive(Debug)]
struct Open {
    /// When it was: see [`Sweep::generation`].
    generation: u64,
    /// The last second at which the certificates it was allowed with are valid.
    until: Option<UnixTime>,
    /// Whether policies look at the time, so that it has to be decided on ever again.
    timed: bool,
    basis: Basis,
}

#[derive(Debug)]
enum Basis {
    Inbound(Option<HeaderBlock>),
    Outbound(Box<Held>),
}

impl<H: Host> Stream<H> {
    /// A request that has just begun.
    #[must_use]
    pub const fn new(context: u32, root: Rc<Root<H>>) -> Self {
        Self {
            context,
            root,
            stand: RefCell::new(Stand::New),
        }
    }

    /// Its number.
    #[must_use]
    pub const fn context(&self) -> u32 {
        self.context
    }

    /// The root context it belongs to.
    #[must_use]
    pub const fn root(&self) -> &Rc<Root<H>> {
        &self.root
    }

    /// Whether it belongs to this root context.
    #[must_use]
    pub fn belongs_to(&self, root: &Rc<Root<H>>) -> bool {
        Rc::ptr_eq(&self.root, root)
    }

    /// The headers are there: decides, or holds the request.
    pub fn on_request_headers(&self) -> Action {
        Root::in_use(&self.root);
        let Some(plugin) = self.root.plugin() else {
            let judged = Judged::refused(inbound::without_configuration());
            return self.finish_inbound(None, judged, None, false);
        };
        match (plugin.direction, Now::read(self.root.host())) {
            (Direction::Inbound, Ok(now)) => {
                let judged = inbound::judge(&self.root, &plugin, now, Given::Arriving);
                self.root.time_decision(now);
                self.finish_inbound(Some(&plugin), judged, Some(now), false)
            }
            (Direction::Inbound, Err(error)) => {
                let mut judged = Judged::refused(inbound::without_time());
                judged.note = Some(error.to_string());
                self.finish_inbound(Some(&plugin), judged, None, false)
            }
            (Direction::Outbound, now) => self.begin_outbound(plugin, now.ok()),
        }
    }

    /// Body or trailers: they pass only behind an allowed request.
    pub fn on_request_rest(&self) -> Action {
        let allowed = self
            .stand
            .try_borrow()
            .is_ok_and(|stand| matches!(*stand, Stand::Open(_)));
        if allowed {
            Action::Continue
        } else {
            Action::Pause
        }
    }

    /// Looks again at a held request, in its own context; `last` where its time is up.
    ///
    /// True where it is decided.
    pub fn on_hold_due(&self, last: bool) -> bool {
        let held = match self.stand.try_borrow().as_deref() {
            Ok(Stand::Held(held)) => held.clone(),
            _ => return true,
        };
        let now = Now::read(self.root.host()).ok();
        let mut seen = Seen::default();
        let mut check = check(&self.root, &held, now, &mut seen);
        if last && matches!(check, Check::Pending) {
            let milliseconds = held.plugin.hold().milliseconds;
            check = NamingDenial::HoldTimeout { milliseconds }.into();
        }
        let allowed = matches!(check, Check::Verified);
        if matches!(check, Check::Pending) {
            return false;
        }
        let action = self.finish_outbound(*held, &check, &seen, now, false);
        if allowed && action == Action::Continue && self.root.host().resume_request().is_err() {
            // It stays paused, and nothing of it is sent.
            self.root.metrics().count("countersign_resume_failed");
            self.set(Stand::Denied);
        }
        true
    }

    /// Whether it is open and has to be decided on anew.
    #[must_use]
    pub fn is_due(&self, sweep: &Sweep) -> bool {
        self.stand.try_borrow().is_ok_and(|stand| match &*stand {
            Stand::Open(open) => {
                open.generation != sweep.generation || open.timed || open.is_over(sweep.now)
            }
            _ => false,
        })
    }

    /// Decides anew on an open request, in its own context, under the configuration that its root
    /// context's line has now; resets it where it would not be allowed.
    pub fn review(&self, sweep: &Sweep) {
        let Some(Open { basis, .. }) = self.take_open() else {
            return;
        };
        let leader = Root::leader(&self.root);
        let Some(plugin) = leader.plugin() else {
            return self.shut();
        };
        match basis {
            Basis::Inbound(kept) => {
                let judged = match sweep.now {
                    Some(now) => inbound::judge(&leader, &plugin, now, Given::Open(kept)),
                    None => Judged::refused(inbound::without_time()),
                };
                // Denied, it is reset; `finish` has told the proxy.
                let _action = self.finish_inbound(Some(&plugin), judged, sweep.now, true);
            }
            Basis::Outbound(mut held) => {
                held.plugin = plugin;
                let mut seen = Seen::default();
                let mut check = check(&leader, &held, sweep.now, &mut seen);
                if matches!(check, Check::Pending) {
                    // Its connection to the server is gone, and it with it.
                    check = Check::Verified;
                }
                let _action = self.finish_outbound(*held, &check, &seen, sweep.now, true);
            }
        }
    }

    /// Lets nothing more of it pass.
    pub fn shut(&self) {
        self.take_open();
        self.set(Stand::Denied);
    }

    /// The request is over.
    pub fn on_done(&self) {
        match self.replace(Stand::Over) {
            Some(Stand::Open(open)) => self.closed(&open),
            Some(Stand::Held(_)) => self.root.forget_held(self.context),
            _ => {}
        }
    }

    fn begin_outbound(&self, plugin: Rc<Plugin>, now: Option<Now>) -> Action {
        let mut held = Held {
            plugin,
            cluster: String::new(),
            facts: RequestFacts::default(),
        };
        let mut seen = Seen::default();
        match upstream::cluster(self.root.host(), &held.plugin) {
            Ok(cluster) => held.cluster = cluster,
            Err(check) => return self.finish_outbound(held, &check, &seen, now, false),
        }
        let mut check = check(&self.root, &held, now, &mut seen);
        if matches!(check, Check::Pending) {
            // They are gone when the hold ends.
            held.facts = self.read_facts(&held.plugin);
            match self.root.hold(self.context, &held.plugin) {
                Ok(()) => {
                    self.set(Stand::Held(Box::new(held)));
                    return Action::Pause;
                }
                Err(full) => check = NamingDenial::HoldLimit { max: full.max }.into(),
            }
        }
        self.finish_outbound(held, &check, &seen, now, false)
    }

    fn finish_inbound(
        &self,
        plugin: Option<&Rc<Plugin>>,
        mut judged: Judged,
        now: Option<Now>,
        review: bool,
    ) -> Action {
        let headers = judged.headers.take();
        let verdict = Verdict::inbound(&judged, now, review);
        self.report(plugin, &verdict, headers.as_ref());
        if !judged.decision.is_allowed() {
            return self.deny(plugin.map(AsRef::as_ref), &verdict);
        }
        let timed = plugin.is_some_and(|plugin| plugin.policies.needs().now);
        let until = judged.who.until();
        self.open(until, timed, |root| Basis::Inbound(root.opened(headers)))
    }

    fn finish_outbound(
        &self,
        held: Held,
        check: &Check,
        seen: &Seen,
        now: Option<Now>,
        review: bool,
    ) -> Action {
        let plugin = Rc::clone(&held.plugin);
        let mut verdict = Verdict::outbound(check, seen, now, review);
        if !held.facts.is_empty() {
            verdict.facts = Some(&held.facts);
        }
        self.report(Some(&plugin), &verdict, None);
        if !verdict.allowed {
            return self.deny(Some(&plugin), &verdict);
        }
        self.open(seen.until, false, |root| {
            root.opened(None);
            Basis::Outbound(Box::new(held))
        })
    }

    /// The only place where a request becomes allowed.
    fn open(
        &self,
        until: Option<UnixTime>,
        timed: bool,
        basis: impl FnOnce(&Root<H>) -> Basis,
    ) -> Action {
        self.take_open();
        self.set(Stand::Open(Open {
            generation: self.root.line().generation(),
            until,
            timed,
            basis: basis(&self.root),
        }));
        Action::Continue
    }

    /// Answers in the upstream's place; a request whose answer has begun is reset by the proxy.
    fn deny(&self, plugin: Option<&Plugin>, verdict: &Verdict<'_>) -> Action {
        self.set(Stand::Denied);
        let host = self.root.host();
        let show = plugin.is_some_and(|plugin| plugin.decision_log.response_header);
        let sent = match verdict.direction {
            Direction::Inbound => reply::deny_inbound(host, verdict.reason, show),
            Direction::Outbound => reply::deny_outbound(host, verdict.reason, show),
        };
        if sent.is_err() {
            self.root.metrics().count("countersign_reply_failed");
        }
        Action::Pause
    }

    fn read_facts(&self, plugin: &Plugin) -> RequestFacts {
        // What the log would like to say; a decision does not rest on it.
        let headers = self.root.host().header_block(HeaderMap::Request);
        headers
            .map(|headers| RequestFacts::of(&headers, plugin.logged_headers()))
            .unwrap_or_default()
    }

    fn take_open(&self) -> Option<Open> {
        let mut stand = self.stand.try_borrow_mut().ok()?;
        if !matches!(*stand, Stand::Open(_)) {
            return None;
        }
        let Stand::Open(open) = std::mem::replace(&mut *stand, Stand::Denied) else {
            return None;
        };
        self.closed(&open);
        Some(open)
    }

    fn closed(&self, open: &Open) {
        self.root.closed(match &open.basis {
            Basis::Inbound(headers) => headers.as_ref(),
            Basis::Outbound(_) => None,
        });
    }

    fn set(&self, stand: Stand) {
        self.replace(stand);
    }

    fn replace(&self, stand: Stand) -> Option<Stand> {
        // Held nowhere across a call to the proxy, so it is never borrowed here.
        let mut own = self.stand.try_borrow_mut().ok()?;
        Some(std::mem::replace(&mut *own, stand))
    }
}

impl Open {
    fn is_over(&self, now: Option<Now>) -> bool {
        match (self.until, now) {
            (None, _) => false,
            (Some(until), Some(now)) => now.unix > until,
            // Whether it is cannot be told; deciding anew will say so.
            (Some(_), None) => true,
        }
    }
}

fn check<H: Host>(root: &Root<H>, held: &Held, now: Option<Now>, seen: &mut Seen) -> Check {
    match now {
        Some(now) => upstream::check(root, &held.plugin, &held.cluster, now, seen),
        None => NamingDenial::Unreadable {
            attribute: "current time",
        }
        .into(),
    }
}
