//! The built filter inside a real Envoy.
//!
//! Each test has its own folder, ports and processes, and its certificates are made by the test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod bodies;
mod inbound;
mod list_server;
mod outbound;
mod reload;
mod revocation;
mod running;
mod sessions;
mod support;
