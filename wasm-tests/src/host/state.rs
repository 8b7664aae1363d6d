//! What the host remembers of one VM.

use std::collections::BTreeMap;

use wasmtime::{StoreLimits, StoreLimitsBuilder};

use super::connection::Network;
use super::fault::{Effect, Fault};
use super::maps::Headers;
use super::property::Properties;
use super::status::Status;
use super::world::World;

/// A line the guest logged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogLine {
    /// 0 trace, 1 debug, 2 info, 3 warn, 4 error, 5 critical.
    pub level: u32,
    /// The text, broken UTF-8 replaced.
    pub text: String,
}

/// An answer the guest gave in the upstream's place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LocalResponse {
    /// HTTP status.
    pub status: u32,
    /// `response_code_details`.
    pub details: String,
    /// The body.
    pub body: Vec<u8>,
    /// Header fields the guest added.
    pub headers: Headers,
    /// gRPC status, -1 for none.
    pub grpc_status: i32,
}

/// An HTTP call the guest started; the test answers it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HttpCall {
    /// The number the answer names.
    pub token: u32,
    /// The root context it belongs to.
    pub root: u32,
    /// Envoy cluster.
    pub cluster: String,
    /// Request header fields.
    pub headers: Headers,
    /// Request body.
    pub body: Vec<u8>,
    /// Time limit, in milliseconds.
    pub timeout_milliseconds: u32,
}

/// One hostcall as it happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Recorded {
    /// Its name, `proxy_get_property`.
    pub hostcall: &'static str,
    /// What it was about: a property's path, a key, a name; may be empty.
    pub about: String,
    /// The status it answered, as a number.
    pub answered: u32,
}

/// One context: a root (its own root) or a stream.
#[derive(Debug, Default)]
pub(super) struct Context {
    pub(super) root: u32,
    pub(super) is_root: bool,
    pub(super) configuration: Vec<u8>,
    pub(super) tick_milliseconds: u32,
    /// When the timer fires next, in nanoseconds since the epoch.
    pub(super) tick_due: u64,
    pub(super) properties: Properties,
    pub(super) request_headers: Headers,
    pub(super) request_trailers: Headers,
    pub(super) response_headers: Headers,
    pub(super) response_trailers: Headers,
    pub(super) request_body: Vec<u8>,
    pub(super) response_body: Vec<u8>,
    pub(super) paused: bool,
    pub(super) local_responses: Vec<LocalResponse>,
    pub(super) resumed_request: u32,
    pub(super) resumed_response: u32,
    pub(super) closed: Vec<u32>,
    pub(super) network: Network,
}

/// The answer to an HTTP call while the guest looks at it.
#[derive(Debug, Default)]
pub(super) struct CallAnswer {
    pub(super) headers: Headers,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Headers,
}

pub(super) struct State {
    pub(super) world: World,
    pub(super) contexts: BTreeMap<u32, Context>,
    pub(super) current: u32,
    pub(super) effective: u32,
    pub(super) faults: Vec<Fault>,
    pub(super) recorded: Vec<Recorded>,
    pub(super) log: Vec<LogLine>,
    pub(super) log_level: u32,
    pub(super) http_calls: Vec<HttpCall>,
    pub(super) last_token: u32,
    pub(super) call_answer: Option<CallAnswer>,
    pub(super) vm_configuration: Vec<u8>,
    pub(super) limits: StoreLimits,
}

impl Context {
    /// Arms the timer from now on, as Envoy does when a period is set and after each tick.
    pub(super) fn arm_timer(&mut self, now: u64, milliseconds: u32) {
        self.tick_milliseconds = milliseconds;
        self.tick_due = now.saturating_add(u64::from(milliseconds).saturating_mul(1_000_000));
    }
}

impl State {
    pub(super) fn new(world: World, memory_limit: usize) -> Self {
        Self {
            world,
            contexts: BTreeMap::new(),
            current: 0,
            effective: 0,
            faults: Vec::new(),
            recorded: Vec::new(),
            log: Vec::new(),
            log_level: 0,
            http_calls: Vec::new(),
            last_token: 0,
            call_answer: None,
            vm_configuration: Vec::new(),
            limits: StoreLimitsBuilder::new().memory_size(memory_limit).build(),
        }
    }

    /// The id hostcalls act on: the effective context while it exists, else the current one.
    pub(super) fn acting(&self) -> u32 {
        let effective = self.effective;
        if effective != 0 && self.contexts.contains_key(&effective) {
            effective
        } else {
            self.current
        }
    }

    pub(super) fn context(&mut self) -> Result<&mut Context, Status> {
        let acting = self.acting();
        self.contexts
            .get_mut(&acting)
            .ok_or(Status::InternalFailure)
    }

    pub(super) fn root(&mut self) -> Result<(u32, &mut Context), Status> {
        let context = self.context()?;
        let id = context.root;
        self.contexts
            .get_mut(&id)
            .map(|root| (id, root))
            .ok_or(Status::InternalFailure)
    }

    pub(super) fn strike(&mut self, hostcall: &str, about: &str) -> Option<Effect> {
        self.faults
            .iter_mut()
            .find_map(|fault| fault.strike(hostcall, about))
    }
}
