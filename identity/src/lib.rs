//! SPIFFE identities, X509-SVID checks, trust bundles, deny lists and policy bundles; pure, for native and wasm32.
//!
//! Nothing here reads a clock, a file, the environment or a random source, and no signature is
//! computed here: time is an argument ([`UnixTime`]) and signatures are checked by the caller's
//! [`x509::VerifySignature`]. Whatever is malformed, unknown or ambiguous is refused, each with an
//! error of its own; nothing is skipped.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub use spiffe::{SpiffeId, SpiffeIdError, TrustDomain};

pub use crate::report::chain;
pub use crate::time::UnixTime;

pub mod bundle;
pub mod deny_list;
pub mod pem;
pub mod policy_bundle;
pub mod principal;
pub mod signed;
pub mod workload;
pub mod x509;

mod report;
mod time;
