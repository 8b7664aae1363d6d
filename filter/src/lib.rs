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
//! What Envoy must be set to, which the module cannot see: no TLS session resumption (a resumed
//! session is denied), `failure_policy` fail-closed, `use_remote_address` without trusted hops where
//! policies look at `ipBlocks`, the path normalisation that the configuration declares, and below
//! 1.39 a `set_filter_state` filter in front that leaves `%DOWNSTREAM_PEER_CERT%` under
//! `countersign.peer_certificate`.

pub mod attributes;
pub mod certificates;
pub mod decision_log;
pub mod deny_list;
pub mod hold;
pub mod host;
pub mod inbound;
pub mod metrics;
pub mod pairs;
pub mod peer;
pub mod reply;
pub mod root;
pub mod settings;
pub mod signature;
pub mod stream;
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
