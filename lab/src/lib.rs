//! Starts and stops processes, finds ports, waits for readiness: for `countersign up` and for every test.
//!
//! Every wait has a limit and says what it waited for; every process is stopped by its own id and dies with
//! the one that started it. Nothing here retries a request: a helper that hides a failed request would hide
//! what the tests are for.

pub mod bench;
pub mod envoy;
pub mod http;
pub mod ports;
pub mod process;
pub mod ready;
pub mod tcp;
pub mod upstream;
