//! `countersign policy`: what it prints, byte for byte, and what it makes of bad input.

mod bad;
mod golden;
mod replay;
mod stdin;
#[cfg(feature = "wasm")]
mod through_the_filter;
#[cfg(not(feature = "wasm"))]
mod without_filter;

/// The example of the documentation, from where the tests are run.
const EXAMPLE: &str = "../examples/policy-tests";
const DATA: &str = "tests/system/policy/data";
/// The workload the example's policies are for.
const WORKLOAD: &str = "-n shop -l app=orders";
