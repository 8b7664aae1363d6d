//! The proxy-wasm shell that enforces identity and policy inside Envoy.
//!
//! Nothing is decided here that [`identity`] or [`policy`] could decide: this crate reads what Envoy
//! knows, asks them, and acts. Inbound, a request is answered with 403 unless its peer's certificate
//! proves an identity that the policies allow. Outbound, in an upstream filter chain, a request is
//! held until the server has proved to be one that its cluster names.
//!
//! Whatever cannot be read, parsed or found out is a denial. No input makes the module panic: a panic
//! would end it for all requests of the worker.
//!
//! On TCP, with `protocol: tcp`, the module is a network filter: no byte passes in either direction before
//! the peer, or outbound the server, is known and allowed ([`connection`]).
//!
//! What Envoy must be set to, which the module cannot see: no TLS session resumption (a resumed
//! session is denied), `failure_policy` fail-closed, and the path normalisation that the configuration
//! declares. In front there must be a `set_filter_state` filter that leaves, where policies look at
//! `ipBlocks`, `%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%` under
//! `countersign.direct_remote_address`, and below 1.39 `%DOWNSTREAM_PEER_CERT%` under
//! `countersign.peer_certificate`; without them requests are denied.

pub mod agent;
pub mod attributes;
pub mod certificates;
pub mod connection;
pub mod decision_log;
pub mod deny_list;
pub mod forwarded;
pub mod headers;
pub mod hold;
pub mod host;
pub mod inbound;
pub mod link;
pub mod metadata;
pub mod metrics;
pub mod pairs;
pub mod peer;
pub mod policy_bundle;
pub mod recent;
pub mod reply;
pub mod root;
pub mod settings;
pub mod shadow;
pub mod signature;
pub mod stream;
pub mod summary;
pub mod time;
pub mod timers;
pub mod upstream;
pub mod vm;

#[cfg(any(target_arch = "wasm32", clippy))]
mod abi;
#[cfg(any(target_arch = "wasm32", clippy))]
mod shell;

#[cfg(test)]
mod tests;
