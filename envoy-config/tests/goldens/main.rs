//! The YAML of every kind of spec, kept in `tests/golden`. `UPDATE_GOLDEN=1` rewrites the files; the diff is to be
//! read like code. The `lab` crate loads each bootstrap into real Envoys.
//!
//! `issuer.pem` and `list-key.pem` are public halves of keys that were thrown away.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod clients;
mod istio;
mod servers;
mod support;
