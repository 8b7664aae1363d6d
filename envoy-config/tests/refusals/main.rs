//! What a spec may not say: each refusal with its field path.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod clients;
mod istio;
mod resources;
mod servers;
mod support;
mod tcp;
