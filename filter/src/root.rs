//! A root context: one configuration and what belongs to all its requests.
//!
//! Envoy makes one for each plug-in configuration on each worker. Before a configuration is accepted
//! every request is denied; a configuration that is refused leaves the one before in force.

mod connections;
mod line;
mod open_streams;
mod policies;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use identity::deny_list::DenyList;

use crate::connection;
use policy::config::AllowedLog;

use crate::deny_list::Freshness;
use crate::deny_list::subscription::Subscription;
use crate::hold::{HeldRequests, HoldLimitReached};
use crate::host::{Buffer, Host, LogLevel};
use crate::metrics::Metrics;
use crate::policy_bundle;
use crate::settings::{MAX_CONFIG_BYTES, Plugin};
use crate::time::Now;
use crate::timers::{self, Clock};

pub use self::line::Line;
pub use self::open_streams::{MAX_KEPT_HEADER_BYTES, MAX_REVIEWS, OpenStreams, Sweep};

/// Most problems of a refused configuration that are logged.
const MAX_PROBLEMS_LOGGED: usize = 20;

/// The proxy is told within so many milliseconds how many requests were allowed.
const FLUSH_WITHIN: u64 = 1000;
/// One of so many decisions is timed: each takes another look at the proxy's clock.
const TIME_ONE_IN: u32 = 64;

/// One configuration and what belongs to all its requests.
#[derive(Debug)]
pub struct Root<H> {
    context: u32,
    host: H,
    plugin: RefCell<Option<Rc<Plugin>>>,
    deny_list: Subscription<H>,
    policy_bundle: policy_bundle::subscription::Subscription<H>,
    held: RefCell<HeldRequests>,
    connections: RefCell<connection::table::Table>,
    name: RefCell<Option<Vec<u8>>>,
    clock: RefCell<Clock>,
    period: Cell<u32>,
    metrics: Rc<Metrics<H>>,
    line: RefCell<Rc<Line<H>>>,
    open: OpenStreams,
    /// Allowed decisions so far, for the share of them that is logged or timed.
    allowed: Cell<u32>,
    timed: Cell<u32>,
}

impl<H: Host> Root<H> {
    /// A root context without configuration.
    pub fn new(context: u32, host: H) -> Self {
        let metrics = Rc::new(Metrics::new(host.clone()));
        Self {
            context,
            deny_list: Subscription::new(host.clone(), Rc::clone(&metrics)),
            policy_bundle: policy_bundle::subscription::Subscription::new(
                host.clone(),
                Rc::clone(&metrics),
            ),
            metrics,
            host,
            plugin: RefCell::default(),
            held: RefCell::default(),
            connections: RefCell::default(),
            name: RefCell::default(),
            clock: RefCell::default(),
            period: Cell::new(0),
            line: RefCell::new(Rc::new(Line::of(context))),
            open: OpenStreams::default(),
            allowed: Cell::new(0),
            timed: Cell::new(0),
        }
    }

    /// Its number.
    pub const fn context(&self) -> u32 {
        self.context
    }

    /// The proxy.
    pub const fn host(&self) -> &H {
        &self.host
    }

    /// Its metrics.
    pub fn metrics(&self) -> &Metrics<H> {
        &self.metrics
    }

    /// The configuration in force.
    pub fn plugin(&self) -> Option<Rc<Plugin>> {
        self.plugin.try_borrow().ok()?.clone()
    }

    /// Reads and compiles a configuration of `size` bytes; puts it in force if all of it is good.
    pub fn configure(&self, size: usize) -> bool {
        let plugin = match self.read_configuration(size) {
            Ok(plugin) => Rc::new(plugin),
            Err(problems) => {
                self.metrics.count("countersign_config_rejected");
                for problem in problems.iter().take(MAX_PROBLEMS_LOGGED) {
                    self.host.log(
                        LogLevel::Error,
                        &format!("countersign: configuration: {problem}"),
                    );
                }
                return false;
            }
        };
        let now = self.now_on_clock();
        self.deny_list.configure(plugin.deny_list(), now);
        replace(&self.plugin, Some(plugin));
        self.metrics.count("countersign_config_accepted");
        self.reschedule(now);
        true
    }

    /// Takes over deny list and policy bundle that another root context has verified with the same keys.
    pub fn inherit(&self, others: &[Rc<Self>]) {
        let lists = others.iter().map(|other| &other.deny_list);
        self.deny_list.inherit(lists, self.now_on_clock());
        self.begin_policy_bundle(others);
    }

    /// The deny list in hand.
    pub fn deny_list(&self) -> Option<Rc<DenyList>> {
        self.deny_list.list()
    }

    /// Whether the deny list in hand may be relied on, and if not, since when.
    pub fn deny_list_freshness(&self, now: Now) -> Freshness {
        let elapsed = self
            .clock
            .try_borrow_mut()
            .map_or(u64::MAX, |mut clock| clock.read(Some(now.nanoseconds)));
        self.deny_list.freshness(elapsed, now.unix)
    }

    /// Whether an allowed request is to be logged: all, none, or each n-th of this root context.
    pub fn logs_allowed(&self, allowed: AllowedLog) -> bool {
        match allowed {
            AllowedLog::None => false,
            AllowedLog::All => true,
            AllowedLog::OneIn(n) => {
                let ordinal = self.allowed.get();
                self.allowed.set(ordinal.wrapping_add(1));
                ordinal.checked_rem(n).is_none_or(|rest| rest == 0)
            }
        }
    }

    /// Adds the time since `begun` to the histogram of decision times, for one of so many decisions.
    pub fn time_decision(&self, begun: Now) {
        let ordinal = self.timed.get();
        self.timed.set(ordinal.wrapping_add(1));
        if ordinal.checked_rem(TIME_ONE_IN) == Some(0)
            && let Ok(ended) = Now::read(&self.host)
        {
            let taken = ended.nanoseconds.saturating_sub(begun.nanoseconds);
            self.metrics
                .observe("countersign_decision_nanoseconds", taken);
        }
    }

    /// Holds a request.
    ///
    /// # Errors
    /// As many are held as the configuration allows.
    pub fn hold(&self, context: u32, plugin: &Plugin) -> Result<(), HoldLimitReached> {
        let now = self.now_on_clock();
        let limits = plugin.hold();
        let mut held = self.held.try_borrow_mut().or(Err(HoldLimitReached {
            max: limits.max_held,
        }))?;
        held.hold(
            context,
            now,
            u64::from(limits.milliseconds),
            limits.max_held,
        )?;
        drop(held);
        self.reschedule(now);
        Ok(())
    }

    /// Forgets a held request.
    pub fn forget_held(&self, context: u32) {
        if let Ok(mut held) = self.held.try_borrow_mut() {
            held.forget(context);
        }
    }

    /// A tick: the held requests to look at, each with whether its time is up.
    pub fn begin_tick(&self) -> Vec<(u32, bool)> {
        let wall = self.host.now_nanoseconds().ok();
        let period = self.period.get();
        let now = self
            .clock
            .try_borrow_mut()
            .map_or(0, |mut c| c.read_in_tick(wall, period));
        self.metrics.flush();
        self.held
            .try_borrow_mut()
            .map(|mut held| held.due(now))
            .unwrap_or_default()
    }

    /// The rest of a tick: asks for the deny list if it is time, and sets the next tick.
    pub fn end_tick(&self) {
        let now = self.now_on_clock();
        let changed = self.deny_list.on_tick(now) | self.look_for_policies(now);
        self.watch_deny_list();
        self.reschedule(now);
        if changed {
            self.on_world_changed();
        }
    }

    /// The root context ends: nothing is asked for any more.
    pub fn on_done(&self) {
        self.metrics.flush();
        let now = self.now_on_clock();
        self.deny_list.configure(None, now);
        self.policy_bundle.stop();
        self.reschedule(now);
    }

    /// A reply to [`Host::http_call`]. Requests must not be resumed or answered from here.
    pub fn on_http_call_response(&self, token: u32, headers: u32, body: usize) {
        let now = self.now_on_clock();
        let changed = self.deny_list.on_reply(token, headers, body, now)
            | self.on_policies(token, headers, body, now);
        self.watch_deny_list();
        self.reschedule(now);
        if changed {
            self.on_world_changed();
        }
    }

    /// A decision made before may be another one now: the deny list's entries or the policies have changed.
    pub fn on_world_changed(&self) {
        self.line().advance();
        self.sweep_soon();
        self.recheck_connections();
    }

    fn read_configuration(&self, size: usize) -> Result<Plugin, Vec<String>> {
        if size > MAX_CONFIG_BYTES {
            return Err(vec![format!("{size} bytes, limit is {MAX_CONFIG_BYTES}")]);
        }
        let bytes = self
            .host
            .buffer(Buffer::PluginConfiguration, size)
            .map_err(|error| vec![error.to_string()])?;
        Plugin::parse(&bytes)
    }

    fn now_on_clock(&self) -> u64 {
        let wall = self.host.now_nanoseconds().ok();
        self.clock
            .try_borrow_mut()
            .map_or(0, |mut clock| clock.read(wall))
    }

    /// To be called with a context of its own in effect: the proxy sets the timer of that one's root context.
    fn reschedule(&self, now: u64) {
        let period = self.wanted_period(now);
        if period == self.period.get() {
            return;
        }
        match self.host.set_tick_period(period) {
            Ok(()) => self.period.set(period),
            Err(_) => self.metrics.count("countersign_tick_failed"),
        }
    }

    fn wanted_period(&self, now: u64) -> u32 {
        let held = self.held.try_borrow().ok().and_then(|held| held.next_due());
        let poll = self.deny_list.due();
        let connections = self.connections.try_borrow().ok();
        let connections = connections.and_then(|table| table.next_due());
        let flush = self
            .metrics
            .is_waiting()
            .then(|| now.saturating_add(FLUSH_WITHIN));
        let bundle = self.policy_bundle.due();
        timers::period(
            now,
            [held, poll, bundle, connections, self.open.due(), flush],
        )
    }
}

/// No borrow is held across a call to the proxy, so this always succeeds.
fn replace<T>(cell: &RefCell<T>, value: T) {
    if let Ok(mut own) = cell.try_borrow_mut() {
        *own = value;
    }
}
