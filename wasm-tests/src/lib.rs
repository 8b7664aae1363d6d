//! A proxy-wasm 0.2.x host on wasmtime that runs the *built* filter.
//!
//! The filter is loaded as the artefact Envoy loads, never linked, so what is tested is what ships.
//! [`host`] answers every hostcall of the ABI from memory, on a clock that stands still, and can be
//! told to answer any of them with any status or with other bytes ([`host::Fault`]). [`fixtures`]
//! makes the certificates, lists and configurations the tests use; nothing here is for production.

#[cfg(feature = "host")]
pub mod artefact;
#[cfg(feature = "host")]
pub mod fixtures;
#[cfg(feature = "host")]
pub mod host;
pub mod runner;
