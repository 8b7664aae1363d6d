//! The whole system from outside: the real binary, its files, its sockets and its exit codes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod agent_kill;
mod agents;
mod bad_agents;
mod bad_data;
mod bad_input;
mod ca;
mod commands;
mod doctor;
mod first_start;
mod help;
mod issuance;
mod issued;
mod kill;
mod outage;
mod policy;
mod policy_bundle;
mod random;
mod record;
mod serving;
mod up;
mod world;
