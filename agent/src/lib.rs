//! Beside Envoy: keys and CSRs, SDS on a Unix socket, renewal, and the deny list relay.
//!
//! An agent proves itself to the authority (a join token once, then its own certificate), learns
//! its registration entries, and gets and renews one certificate for each identity in them. Envoy
//! fetches them by SDS on the agent's Unix socket; which identity it may have is decided by what
//! the kernel says of the connecting process ([`selector`]). On the same socket the filters poll
//! the signed deny list over HTTP.
//!
//! Private keys are made here and leave the process only through that socket.

#![forbid(unsafe_code)]

pub mod entries;
pub mod schedule;
pub mod selector;
pub mod status;

mod cgroup;
mod clock;
mod data_dir;
mod deny_list;
mod enrol;
mod http;
mod key;
mod link;
mod peer;
mod policy_bundle;
mod run;
mod sds;
mod settings;
mod socket;
mod svid;
mod upkeep;
mod watch;
mod world;

pub use data_dir::DataDirError;
pub use enrol::EnrolError;
pub use key::{KeyAlgorithm, KeyError};
pub use link::{CallError, LinkError};
pub use run::{Ready, RunError, run};
pub use settings::Settings;
pub use socket::SocketError;
pub use svid::ChainError;
