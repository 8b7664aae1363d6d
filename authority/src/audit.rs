//! The audit log: an append-only Merkle tree (RFC 6962) over everything the authority did, with
//! signed heads.
//!
//! A leaf is appended in the transaction that writes what it tells of, so neither is ever there
//! without the other. This module has what needs no database: the tree ([`merkle`]), the leaves
//! ([`event`]), the signed heads ([`note`]) and their key ([`key`]), and the position that is kept
//! outside of the record ([`position`]). The record writes and reads it, and [`verify`] checks a
//! whole one without a running authority.

pub mod canonical;
pub mod event;
pub mod key;
pub mod merkle;
pub mod note;
pub mod position;
pub mod verify;
