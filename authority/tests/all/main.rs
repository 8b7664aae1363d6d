//! The authority through its own doors: gRPC over TLS, and the administration socket.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::string_slice,
    clippy::as_conversions,
    reason = "a test fails by panicking"
)]

mod abuse;
mod attacks;
mod crash;
mod issuing;
mod lifecycle;
mod policy_bundles;
mod revocation;
mod streams;
mod support;
mod transport;
mod verifiers;
mod write_points;
