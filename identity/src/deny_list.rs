//! Deny lists: which certificates are revoked or suspended, signed, numbered and short-lived.
//!
//! A list is a [`Head`], which is [signed](crate::signed) with `typ` `countersign-deny-list+jws`, and
//! [`Entries`], which the head stands for by their digest. Entries are records of 40 bytes in ascending order: SHA-256 of the certificate; state, 1 revoked or 2
//! suspended; since when, seconds since 1970 in 7 bytes, big-endian. An [`Update`] brings a head with
//! all entries, or with what changed since a list that the receiver holds.
//!
//! The key that signs lists is no CA key. Verifiers pin a set of keys, or an identity whose
//! certificate the trust domain's issuers sign ([`ListSigners`]), so that keys can be rotated. Having
//! no list, or only a stale one, is for the caller to decide; the default is to deny.

pub use crate::deny_list::changes::Changes;
pub use crate::deny_list::entries::Entries;
pub use crate::deny_list::entry::{DenyEntry, Entry, RECORD_BYTES, State};
pub use crate::deny_list::error::{
    Currency, DenyListError, EntriesError, HeaderProblem, ListKeyError, SignerError,
};
pub use crate::deny_list::head::{Head, SCHEMA_VERSION};
pub use crate::deny_list::history::{History, MAX_STEP_RECORDS, MAX_STEPS};
pub use crate::deny_list::key::ListKey;
pub use crate::deny_list::list::DenyList;
pub use crate::deny_list::signers::ListSigners;
pub use crate::deny_list::update::Update;
pub use crate::deny_list::wire::{Check, signing_input, verify};
pub use crate::signed::{MAX_HEAD_BYTES, assemble};

mod changes;
mod entries;
mod entry;
mod error;
mod head;
mod history;
mod key;
mod list;
mod signers;
mod update;
mod wire;

/// Most certificates on one list. At 40 bytes each, and an index, a held list takes 4.2 MB.
pub const MAX_ENTRIES: usize = 100_000;

/// Longest life of a list, in seconds from `issued` to `expires`: how long a partitioned verifier
/// may go without hearing of a revocation.
pub const MAX_LIFE_SECONDS: i64 = 60;

/// How far ahead of the verifier's clock `issued` may be, in seconds, for clocks that differ.
pub const MAX_CLOCK_AHEAD_SECONDS: i64 = 30;

/// Longest update, in bytes: [`MAX_ENTRIES`] records and a head.
pub const MAX_UPDATE_BYTES: usize =
    MAX_ENTRIES * RECORD_BYTES + MAX_HEAD_BYTES + update::MAX_PREFIX_BYTES;

#[cfg(test)]
mod tests;
