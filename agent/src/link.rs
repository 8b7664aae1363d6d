//! The way to the authority: TLS 1.3 against a pinned bundle, and the one call that signs.

mod call;
mod connect;

pub use call::CallError;
pub(crate) use call::{JoinToken, Request, create_certificate};
pub(crate) use connect::Link;
pub use connect::LinkError;
