//! The deny list in hand and how it is kept fresh.
//!
//! One thread of the proxy fetches for all (a lease in shared data), and each verifies what it takes,
//! from the agent or from the others. What is held only ever moves forward in epoch and sequence.

pub mod floor;
pub mod lease;
pub mod poller;
pub mod schedule;
pub mod settings;
pub mod shared;
pub mod subscription;

/// Whether the deny list in hand may be relied on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Freshness {
    /// There is none: nothing has been verified since this filter began.
    Missing,
    /// It may.
    Fresh,
    /// Its life is over, by the wall clock or by this filter's own.
    Stale {
        /// For so many seconds, by whichever clock says more.
        seconds: u64,
    },
}
