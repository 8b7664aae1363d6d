//! The host side of proxy-wasm 0.2.x, as Envoy's `proxy-wasm-cpp-host` behaves.
//!
//! One [`Plugin`] is one Wasm VM with one root context at a time. Plug-ins that are given the same
//! [`World`] share its clock, shared data, queues and counters, as the workers of one Envoy do.
//! A guest that traps is an error of the call ([`HostError::Trap`]), never a panic of the host.

mod abi;
mod clock;
mod connection;
mod crypto;
mod error;
mod fault;
mod maps;
mod memory;
mod metrics;
mod plugin;
mod property;
mod shared;
mod state;
mod status;
mod stream;
mod world;

pub use clock::Clock;
pub use connection::{ConnectionId, ConnectionState, Side};
pub use error::HostError;
pub use fault::{Effect, Fault};
pub use maps::{Headers, decode_pairs, encode_pairs};
pub use metrics::{MetricKind, Metrics};
pub use plugin::Plugin;
pub use property::{Properties, Value};
pub use shared::SharedStore;
pub use state::{HttpCall, LocalResponse, LogLine, Recorded};
pub use status::Status;
pub use stream::{Action, Outcome, StreamId};
pub use world::World;
