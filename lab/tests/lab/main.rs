//! The lab against real processes: golden bootstraps in real Envoys, sidecars that talk to each other, children
//! that are stopped. Needs an Envoy (`./justw setup`), openssl, and for what says so the filter (`just wasm`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod filter;
mod goldens;
mod headers;
mod processes;
mod sidecars;
mod support;
mod tls;
mod upstream;
