//! The agent against an authority made for these tests, over real sockets and real TLS.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod authority;
mod ca;
mod deny_list;
mod envoy;
mod harness;
mod joining;
mod policy_bundle;
mod renewing;
mod sds;
