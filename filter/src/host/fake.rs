//! A proxy in memory, for tests: every call can be made to fail.

mod calls;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use crate::host::{Buffer, Header, HeaderMap, LogLevel, Side, Status};

/// A local reply the filter asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sent {
    /// Context it was sent for.
    pub context: u32,
    /// HTTP status.
    pub status: u32,
    /// Response code details.
    pub details: String,
    /// Body.
    pub body: String,
    /// Headers.
    pub headers: Vec<(String, String)>,
}

/// A call the filter made to a cluster.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Called {
    /// Token it got.
    pub token: u32,
    /// Cluster.
    pub cluster: String,
    /// `:path`.
    pub path: String,
}

type ForeignFunction = Rc<dyn Fn(&[u8]) -> Vec<u8>>;

#[derive(Default)]
struct State {
    now: u64,
    context: u32,
    contexts: BTreeMap<u32, HashMap<String, Vec<u8>>>,
    headers: HashMap<HeaderMap, Vec<Header>>,
    buffers: HashMap<Buffer, Vec<u8>>,
    shared: HashMap<String, (Vec<u8>, u32)>,
    races: HashMap<String, Vec<u8>>,
    failures: HashMap<&'static str, Status>,
    property_failures: HashMap<String, Status>,
    foreign: Option<ForeignFunction>,
    foreign_calls: u32,
    metrics: Vec<(String, u64)>,
    log: Vec<(LogLevel, String)>,
    sent: Vec<Sent>,
    resumed: Vec<u32>,
    let_go: Vec<(u32, Side)>,
    closed: Vec<(u32, Side)>,
    called: Vec<Called>,
    calls: u32,
    tick: u32,
}

/// The proxy double; clones share it.
#[derive(Clone, Default)]
pub struct FakeHost(Rc<RefCell<State>>);

impl std::fmt::Debug for FakeHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FakeHost")
    }
}

impl FakeHost {
    /// A proxy with nothing in it, at one second after the epoch.
    #[must_use]
    pub fn new() -> Self {
        let host = Self::default();
        host.0.borrow_mut().now = 1_000_000_000;
        host
    }

    /// Sets an attribute, by its path with a dot, of the effective context.
    pub fn set_property(&self, name: &str, value: &[u8]) {
        let mut state = self.0.borrow_mut();
        let context = state.context;
        state
            .contexts
            .entry(context)
            .or_default()
            .insert(name.to_owned(), value.to_vec());
    }

    /// Takes an attribute away.
    pub fn remove_property(&self, name: &str) {
        let mut state = self.0.borrow_mut();
        let context = state.context;
        state.contexts.entry(context).or_default().remove(name);
    }

    /// Makes one attribute fail with `status`.
    pub fn fail_property(&self, name: &str, status: Status) {
        self.0
            .borrow_mut()
            .property_failures
            .insert(name.to_owned(), status);
    }

    /// Makes every further call of that name fail.
    pub fn fail(&self, call: &'static str, status: Status) {
        self.0.borrow_mut().failures.insert(call, status);
    }

    /// Lets the calls of that name work again.
    pub fn mend(&self, call: &'static str) {
        self.0.borrow_mut().failures.remove(call);
    }

    /// Sets a header map.
    pub fn set_headers(&self, map: HeaderMap, headers: &[(&str, &str)]) {
        let headers = headers
            .iter()
            .map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec()))
            .collect();
        self.0.borrow_mut().headers.insert(map, headers);
    }

    /// Sets a buffer.
    pub fn set_buffer(&self, buffer: Buffer, bytes: &[u8]) {
        self.0.borrow_mut().buffers.insert(buffer, bytes.to_vec());
    }

    /// Sets a shared value, as another thread would.
    pub fn set_shared(&self, key: &str, value: &[u8]) {
        let mut state = self.0.borrow_mut();
        let version = state.shared.get(key).map_or(1, |(_, version)| version + 1);
        state
            .shared
            .insert(key.to_owned(), (value.to_vec(), version));
    }

    /// Reads a shared value.
    #[must_use]
    pub fn shared(&self, key: &str) -> Option<Vec<u8>> {
        self.0
            .borrow()
            .shared
            .get(key)
            .map(|(value, _)| value.clone())
    }

    /// The names of all shared values.
    #[must_use]
    pub fn shared_keys(&self) -> Vec<String> {
        self.0.borrow().shared.keys().cloned().collect()
    }

    /// Lets another thread win the next write to a shared value.
    pub fn race_shared(&self, key: &str, value: &[u8]) {
        self.0
            .borrow_mut()
            .races
            .insert(key.to_owned(), value.to_vec());
    }

    /// Makes the foreign function answer with fixed bytes.
    pub fn set_foreign_result(&self, result: &[u8]) {
        let result = result.to_vec();
        self.set_foreign_function(move |_| result.clone());
    }

    /// Stands a function behind the foreign function.
    pub fn set_foreign_function(&self, function: impl Fn(&[u8]) -> Vec<u8> + 'static) {
        self.0.borrow_mut().foreign = Some(Rc::new(function));
    }

    /// How often the foreign function was called.
    #[must_use]
    pub fn foreign_calls(&self) -> u32 {
        self.0.borrow().foreign_calls
    }

    /// Moves the clock.
    pub fn advance(&self, milliseconds: u64) {
        self.0.borrow_mut().now += milliseconds * 1_000_000;
    }

    /// Sets the clock, seconds since the epoch.
    pub fn set_now(&self, seconds: u64) {
        self.0.borrow_mut().now = seconds * 1_000_000_000;
    }

    /// The period asked for, milliseconds.
    #[must_use]
    pub fn tick(&self) -> u32 {
        self.0.borrow().tick
    }

    /// Makes the calls act on a context, as the proxy does when it calls one; it is made if new.
    pub fn enter(&self, context: u32) {
        let mut state = self.0.borrow_mut();
        state.context = context;
        state.contexts.entry(context).or_default();
    }

    /// Takes a context away.
    pub fn delete(&self, context: u32) {
        self.0.borrow_mut().contexts.remove(&context);
    }

    /// Takes the local replies sent so far.
    #[must_use]
    pub fn take_sent(&self) -> Vec<Sent> {
        std::mem::take(&mut self.0.borrow_mut().sent)
    }

    /// Takes the contexts resumed so far.
    #[must_use]
    pub fn take_resumed(&self) -> Vec<u32> {
        std::mem::take(&mut self.0.borrow_mut().resumed)
    }

    /// Takes the connections resumed so far, each with the side whose bytes may go on.
    #[must_use]
    pub fn take_let_go(&self) -> Vec<(u32, Side)> {
        std::mem::take(&mut self.0.borrow_mut().let_go)
    }

    /// Takes the connections closed so far, each with the side that was named.
    #[must_use]
    pub fn take_closed(&self) -> Vec<(u32, Side)> {
        std::mem::take(&mut self.0.borrow_mut().closed)
    }

    /// Takes the calls made so far.
    #[must_use]
    pub fn take_called(&self) -> Vec<Called> {
        std::mem::take(&mut self.0.borrow_mut().called)
    }

    /// Takes the log lines so far.
    #[must_use]
    pub fn take_log(&self) -> Vec<(LogLevel, String)> {
        std::mem::take(&mut self.0.borrow_mut().log)
    }

    /// Value of a metric; `None` where nobody defined it.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<u64> {
        let state = self.0.borrow();
        state
            .metrics
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| *value)
    }
}
