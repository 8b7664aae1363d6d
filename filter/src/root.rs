//! A root context: one configuration and what belongs to all its requests.
//!
//! Envoy makes one for each plug-in configuration on each worker. Before a configuration is accepted
//! every request is denied; a configuration that is refused leaves the one before in force.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use identity::deny_list::{self as wire, DenyList, MAX_JWS_BYTES};

use crate::deny_list::{Poller, REPLY_TIMEOUT, floor};
use crate::hold::{HeldRequests, HoldLimitReached};
use crate::host::{Buffer, HeaderMap, Host, HttpCall, LogLevel};
use crate::metrics::Metrics;
use crate::settings::{DenyListSettings, MAX_CONFIG_BYTES, Plugin};
use crate::signature::ProxyVerifier;
use crate::time::Now;
use crate::timers::{self, Clock};

/// Most problems of a refused configuration that are logged.
const MAX_PROBLEMS_LOGGED: usize = 20;

/// One configuration and what belongs to all its requests.
#[derive(Debug)]
pub struct Root<H> {
    context: u32,
    host: H,
    plugin: RefCell<Option<Rc<Plugin>>>,
    poller: RefCell<Option<Poller>>,
    held: RefCell<HeldRequests>,
    clock: RefCell<Clock>,
    period: Cell<u32>,
    metrics: Metrics<H>,
}

impl<H: Host> Root<H> {
    /// A root context without configuration.
    pub fn new(context: u32, host: H) -> Self {
        Self {
            context,
            metrics: Metrics::new(host.clone()),
            host,
            plugin: RefCell::default(),
            poller: RefCell::default(),
            held: RefCell::default(),
            clock: RefCell::default(),
            period: Cell::new(0),
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
    pub const fn metrics(&self) -> &Metrics<H> {
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
        let own = self.verified_list(plugin.deny_list());
        let poller = plugin.deny_list().cloned().map(|settings| {
            let mut poller = Poller::new(settings, now);
            poller.inherit(own, now);
            poller
        });
        replace(&self.poller, poller);
        replace(&self.plugin, Some(plugin));
        self.metrics.count("countersign_config_accepted");
        self.reschedule(now);
        true
    }

    /// Takes over a deny list that another root context has verified with the same keys.
    pub fn inherit_deny_list(&self, others: &[Rc<Self>]) {
        let Some(settings) = self.plugin().and_then(|plugin| plugin.deny_list().cloned()) else {
            return;
        };
        let lists = others
            .iter()
            .filter_map(|other| other.verified_list(Some(&settings)));
        let newest = lists.max_by_key(|list| position(list));
        let now = self.now_on_clock();
        self.with_poller(|poller| poller.inherit(newest, now));
    }

    /// The list in hand, where `wanted` would accept it too.
    fn verified_list(&self, wanted: Option<&Rc<DenyListSettings>>) -> Option<Rc<DenyList>> {
        let wanted = wanted?;
        let poller = self.poller.try_borrow().ok()?;
        let poller = poller
            .as_ref()
            .filter(|poller| poller.settings().is_covered_by(wanted))?;
        let list = poller.list()?;
        wanted
            .floor
            .is_none_or(|floor| position(list) >= floor)
            .then(|| Rc::clone(list))
    }

    /// The deny list in hand.
    pub fn deny_list(&self) -> Option<Rc<DenyList>> {
        self.poller.try_borrow().ok()?.as_ref()?.list().cloned()
    }

    /// Whether the deny list in hand has been held for longer than lists live.
    pub fn is_deny_list_overdue(&self, now: Now) -> bool {
        let elapsed = self
            .clock
            .try_borrow_mut()
            .map_or(u64::MAX, |mut clock| clock.read(Some(now.nanoseconds)));
        self.with_poller(|poller| poller.is_overdue(elapsed)) != Some(false)
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
        self.held
            .try_borrow_mut()
            .map(|mut held| held.due(now))
            .unwrap_or_default()
    }

    /// The rest of a tick: asks for the deny list if it is time, and sets the next tick.
    pub fn end_tick(&self) {
        let now = self.now_on_clock();
        self.poll(now);
        self.reschedule(now);
    }

    /// The root context ends: nothing is asked for any more.
    pub fn on_done(&self) {
        replace(&self.poller, None);
        self.reschedule(self.now_on_clock());
    }

    /// A reply to [`Host::http_call`]. Requests must not be resumed or answered from here.
    pub fn on_http_call_response(&self, token: u32, headers: u32, body: usize) {
        if self.with_poller(|poller| poller.is_awaited(token)) != Some(true) {
            return;
        }
        let now = self.now_on_clock();
        let was_healthy = self
            .with_poller(|poller| poller.is_healthy())
            .unwrap_or(false);
        match self.read_reply(headers, body) {
            Ok(Reply::Unchanged) => {
                self.with_poller(|poller| poller.unchanged(now));
            }
            Ok(Reply::List(list)) => {
                self.metrics
                    .set("countersign_deny_list_sequence", list.sequence());
                self.with_poller(|poller| poller.accept(list, now));
            }
            Err(problem) => {
                self.with_poller(|poller| poller.failed(now));
                self.report_poll(&problem, was_healthy);
            }
        }
        self.reschedule(now);
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

    fn poll(&self, now: u64) {
        let wall = Now::read(&self.host).ok().map(|now| now.unix);
        let asked = self.with_poller(|poller| {
            let path = poller.ask(now, wall)?;
            Some((path, Rc::clone(poller.settings()), poller.is_healthy()))
        });
        let Some((path, settings, was_healthy)) = asked.flatten() else {
            return;
        };
        let call = HttpCall {
            cluster: &settings.cluster,
            headers: &[
                (":method", "GET"),
                (":path", &path),
                (":authority", &settings.cluster),
                (":scheme", "http"),
            ],
            timeout_milliseconds: REPLY_TIMEOUT,
        };
        match self.host.http_call(&call) {
            Ok(token) => {
                self.with_poller(|poller| poller.sent(token, now));
            }
            Err(error) => {
                self.with_poller(|poller| poller.failed(now));
                self.report_poll(&error.to_string(), was_healthy);
            }
        }
    }

    /// Counts every failure and logs the first of a row.
    fn report_poll(&self, problem: &str, was_healthy: bool) {
        self.metrics.count("countersign_deny_list_poll_failed");
        if was_healthy {
            self.host.log(
                LogLevel::Warn,
                &format!("countersign: deny list: {problem}"),
            );
        }
    }

    fn read_reply(&self, headers: u32, body: usize) -> Result<Reply, String> {
        if headers == 0 {
            return Err("no reply".to_owned());
        }
        let map = self
            .host
            .header_map(HeaderMap::HttpCallResponse)
            .map_err(|e| e.to_string())?;
        let status = map.iter().find(|(name, _)| name == b":status");
        match status.map(|(_, value)| value.as_slice()) {
            Some(b"200") => self.read_list(body).map(Reply::List),
            Some(b"204") if self.deny_list().is_some() => Ok(Reply::Unchanged),
            Some(b"204") => Err("reply 204, and no list is held".to_owned()),
            other => Err(format!(
                "reply {}",
                String::from_utf8_lossy(other.unwrap_or_default())
            )),
        }
    }

    fn read_list(&self, body: usize) -> Result<DenyList, String> {
        let plugin = self.plugin().ok_or("no configuration")?;
        let settings = plugin.deny_list().ok_or("no deny list is configured")?;
        if body > MAX_JWS_BYTES {
            return Err(format!("reply is {body} bytes, limit is {MAX_JWS_BYTES}"));
        }
        let jws = self
            .host
            .buffer(Buffer::HttpCallResponseBody, body)
            .map_err(|error| error.to_string())?;
        let shared = floor::read(&self.host, &settings.floor_key).map_err(|e| e.to_string())?;
        let own = self.deny_list().map(|list| position(&list));
        let lowest = [settings.floor, shared, own].into_iter().flatten().max();
        let now = Now::read(&self.host).map_err(|error| error.to_string())?;
        let verifier = ProxyVerifier::new(&self.host);
        let list = wire::verify(&jws, &settings.keys, &verifier, now.unix, lowest)
            .map_err(|error| error.to_string())?;
        if floor::raise(&self.host, &settings.floor_key, position(&list)).is_err() {
            self.metrics.count("countersign_deny_list_floor_failed");
        }
        Ok(list)
    }

    fn with_poller<T>(&self, run: impl FnOnce(&mut Poller) -> T) -> Option<T> {
        self.poller.try_borrow_mut().ok()?.as_mut().map(run)
    }

    fn now_on_clock(&self) -> u64 {
        let wall = self.host.now_nanoseconds().ok();
        self.clock
            .try_borrow_mut()
            .map_or(0, |mut clock| clock.read(wall))
    }

    fn reschedule(&self, now: u64) {
        let held = self.held.try_borrow().ok().and_then(|held| held.next_due());
        let poll = self.with_poller(|poller| poller.due());
        let period = timers::period(now, [held, poll]);
        if period == self.period.get() {
            return;
        }
        match self.host.set_tick_period(period) {
            Ok(()) => self.period.set(period),
            Err(_) => self.metrics.count("countersign_tick_failed"),
        }
    }
}

enum Reply {
    Unchanged,
    List(DenyList),
}

fn position(list: &DenyList) -> floor::Floor {
    (list.epoch(), list.sequence())
}

/// No borrow is held across a call to the proxy, so this always succeeds.
fn replace<T>(cell: &RefCell<T>, value: T) {
    if let Ok(mut own) = cell.try_borrow_mut() {
        *own = value;
    }
}
