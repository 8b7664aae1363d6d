//! What the tests feed the filter: certificates, signed deny lists, configurations, requests.
//!
//! All of it is made while a test runs, at a time the test chooses. A fixture that cannot be made
//! panics: nothing here is reachable from anything but a test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "fixtures are used by tests only, which fail by panicking"
)]

pub mod ca;
pub mod config;
pub mod deny_list;
pub mod policy_bundle;
pub mod traffic;

/// The moment the in-process tests stand at: 2027-01-15 08:00:00 UTC.
pub const NOW: u64 = 1_800_000_000;

/// The trust domain of the demo world.
pub const TRUST_DOMAIN: &str = "cluster.local";

/// The client's identity.
pub const SLEEP: &str = "spiffe://cluster.local/ns/default/sa/sleep";

/// The server's identity.
pub const HTTPBIN: &str = "spiffe://cluster.local/ns/default/sa/httpbin";

/// A valid identity that is not the one meant.
pub const IMPOSTOR: &str = "spiffe://cluster.local/ns/default/sa/impostor";
