//! The built filter in the in-process host.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod abi;
mod configure;
mod deny_list;
mod differential;
mod fail_closed;
mod hold_faults;
mod hostcalls;
mod instructions;
mod list_faults;
mod list_floor;
mod list_polling;
mod list_sharing;
mod list_size;
mod memory;
mod open_streams;
mod peer;
mod policy_bundle;
mod resources;
mod secure_naming;
mod support;
mod tcp;
