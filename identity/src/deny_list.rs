//! Deny lists: which certificates are revoked or suspended, signed, numbered and short-lived.
//!
//! On the wire a list is a JWS in compact serialization (RFC 7515 §7.1): header
//! `{"alg":"ES256","kid":"…","typ":"countersign-deny-list+jws"}`, the [`Payload`] as JSON, and
//! r and s of 32 bytes each (RFC 7518 §3.4), each part in base64url without padding.
//!
//! The key that signs lists is no CA key. Verifiers pin a set of them ([`ListKey`]), so that they
//! can be rotated. A list replaces its predecessor whole. Having none, or only a stale one, is for
//! the caller to decide; the default is to deny.

pub use crate::deny_list::error::{Currency, DenyListError, HeaderProblem, ListKeyError};
pub use crate::deny_list::key::ListKey;
pub use crate::deny_list::list::{DenyEntry, DenyList, State};
pub use crate::deny_list::payload::{ENTRY_BYTES, Payload, PayloadEntry, SCHEMA_VERSION};
pub use crate::deny_list::wire::{assemble, signing_input, verify};

mod error;
mod key;
mod list;
mod payload;
mod wire;

/// Most certificates on one list. At 48 bytes each a held list stays below 5 MB.
pub const MAX_ENTRIES: usize = 100_000;

/// Longest life of a list, in seconds from `issued` to `expires`: how long a partitioned verifier
/// may go without hearing of a revocation.
pub const MAX_LIFE_SECONDS: i64 = 60;

/// How far ahead of the verifier's clock `issued` may be, in seconds, for clocks that differ.
pub const MAX_CLOCK_AHEAD_SECONDS: i64 = 30;

/// Longest list on the wire, in bytes: [`MAX_ENTRIES`] of [`ENTRY_BYTES`] in base64, with room for
/// the header and the other fields.
pub const MAX_JWS_BYTES: usize = MAX_ENTRIES * ENTRY_BYTES / 3 * 4 + 4096;

#[cfg(test)]
mod tests;
