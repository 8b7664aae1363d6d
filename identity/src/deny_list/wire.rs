//! The JWS around a deny list's head: writing it and checking it.

use crate::UnixTime;
use crate::deny_list::error::DenyListError;
use crate::deny_list::head::Head;
use crate::deny_list::list::DenyList;
use crate::deny_list::signers::ListSigners;
use crate::signed::{self, Proof, Purpose};
use crate::x509::VerifySignature;

/// The bytes to sign: header and head in base64url, with a dot between (RFC 7515 §5.1).
///
/// `kid` is [`ListKey::kid`](crate::deny_list::ListKey::kid) of the signing key, `certificate` the
/// signer's, in DER. Nothing is checked: a head beyond the limits is refused by every verifier.
#[must_use]
pub fn signing_input(head: &Head, kid: &str, certificate: Option<&[u8]>) -> Vec<u8> {
    signed::signing_input(Purpose::DenyList, &head.to_json(), kid, certificate)
}

/// What a head is held against.
#[derive(Clone, Copy)]
pub struct Check<'a> {
    /// Who may sign.
    pub signers: &'a ListSigners,
    /// The cryptography.
    pub verifier: &'a dyn VerifySignature,
    /// The time.
    pub now: UnixTime,
    /// The newest epoch and sequence known; one equal to it is accepted, and so is every one of a
    /// later epoch.
    pub floor: Option<(u64, u64)>,
    /// The list in hand: what it denies signs no lists, and changes are made to its entries.
    pub held: Option<&'a DenyList>,
}

/// Checks a head: form, header, signer, signature, schema, numbers, time, floor.
///
/// The head is not looked at before the signature is found good.
///
/// # Errors
/// See [`DenyListError`].
pub fn verify(jws: &[u8], check: &Check<'_>) -> Result<Head, DenyListError> {
    let proof = Proof {
        signers: check.signers,
        verifier: check.verifier,
        now: check.now,
        denied: check.held,
    };
    let head: Head = signed::open(Purpose::DenyList, jws, &proof, Head::read)?;
    head.check_numbers()?;
    head.check_time(check.now)?;
    head.check_floor(check.floor)?;
    Ok(head)
}
