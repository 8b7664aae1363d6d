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

mod authorizer;
mod bodies;
mod custom;
mod forwarded;
mod inbound;
mod jwt;
mod key_server;
mod labels;
mod list_server;
mod outbound;
mod peer_authentication;
mod reload;
mod remote_keys;
mod revocation;
mod running;
mod sessions;
mod side_by_side;
mod streams;
mod support;
mod tcp;
mod tls_front;
mod tokens;
