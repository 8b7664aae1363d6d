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
mod administration;
mod attacks;
mod bad_tokens;
mod ca_ceremony;
mod ca_import;
mod ca_keeper;
mod ca_step;
mod ca_token;
mod clients;
mod crash;
mod discovery;
mod foreign;
mod issuance_rules;
mod issuer;
mod issuing;
mod kube;
mod kube_cluster;
mod lifecycle;
mod observing;
mod overload;
mod policy_bundles;
mod proofs;
mod revocation;
mod streams;
mod support;
mod tokens;
mod transport;
mod unmodified;
mod verifiers;
mod write_points;
