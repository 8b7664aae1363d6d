//! Policy bundles: policies that are too many for a plug-in configuration, signed and numbered.
//!
//! A bundle is a [`Head`], which is [mod@signed] with `typ` `countersign-policy-bundle+jws`, and a body,
//! which the head stands for by its length and digest. The key is the deny list's. What the body says is not known
//! here: it is for the filter to read, and this module neither compiles nor parses it.
//!
//! A bundle has no expiry: the newest one counts until there is a newer one. What keeps an old one from coming back
//! is the caller's floor.

pub use crate::policy_bundle::error::{BadName, PolicyBundleError};
pub use crate::policy_bundle::head::Head;
pub use crate::policy_bundle::name::BundleName;

use crate::signed::{self, MAX_HEAD_BYTES, Proof, Purpose};

mod error;
mod head;
mod name;

/// The version of the head's schema.
pub const SCHEMA_VERSION: u32 = 1;

/// Longest body, in bytes: 10,000 policies take 2.8 MB.
pub const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;

/// Longest bundle, in bytes: head, body and what is around them.
pub const MAX_BUNDLE_BYTES: usize = PREFIX_BYTES + MAX_HEAD_BYTES + MAX_BODY_BYTES;

/// The bytes to sign; see [`signed::signing_input`].
#[must_use]
pub fn signing_input(head: &Head, kid: &str, certificate: Option<&[u8]>) -> Vec<u8> {
    signed::signing_input(Purpose::PolicyBundle, &head.to_json(), kid, certificate)
}

/// What a head is held against.
#[derive(Clone, Copy)]
pub struct Check<'a> {
    /// Who may sign.
    pub proof: Proof<'a>,
    /// Which bundle it must be; `None` takes any, for who passes bundles on.
    pub name: Option<&'a BundleName>,
    /// The newest epoch and sequence known; one equal to it is accepted, and so is every one of a later epoch.
    pub floor: Option<(u64, u64)>,
    /// The lowest sequence accepted, whatever its epoch.
    pub at_least: u64,
}

/// Checks a head: form, header, signer, signature, schema, size, name, floor.
///
/// Not checked: when it was issued. A bundle is not of a time.
///
/// # Errors
/// See [`PolicyBundleError`].
pub fn verify(jws: &[u8], check: &Check<'_>) -> Result<Head, PolicyBundleError> {
    let head: Head = signed::open(Purpose::PolicyBundle, jws, &check.proof, Head::read)?;
    head.check(check)?;
    Ok(head)
}

/// A bundle on its way, cut into its parts but not checked.
///
/// | bytes | |
/// |---|---|
/// | 4 | `CSB1` |
/// | 4 | length of the head, big-endian |
/// | … | the head, a JWS in compact serialization |
/// | … | the body, to the end |
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bundle<'b> {
    /// The signed head.
    pub head: &'b [u8],
    /// The policies, a JSON list.
    pub body: &'b [u8],
}

impl<'b> Bundle<'b> {
    /// Cuts a bundle into its parts.
    ///
    /// # Errors
    /// [`PolicyBundleError::TooLarge`], [`PolicyBundleError::NotBundle`].
    pub fn parse(bytes: &'b [u8]) -> Result<Self, PolicyBundleError> {
        if bytes.len() > MAX_BUNDLE_BYTES {
            return Err(PolicyBundleError::TooLarge { len: bytes.len() });
        }
        Self::cut(bytes).ok_or(PolicyBundleError::NotBundle)
    }

    fn cut(bytes: &'b [u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (head, body) = rest.split_at_checked(length)?;
        Some(Self { head, body })
    }

    /// The bundle as it travels.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        // No head is longer than its limit, which is far below this one.
        let length = u32::try_from(self.head.len()).unwrap_or(u32::MAX);
        [MAGIC, &length.to_be_bytes()[..], self.head, self.body].concat()
    }
}

const MAGIC: &[u8] = b"CSB1";
const PREFIX_BYTES: usize = 8;

#[cfg(test)]
mod tests;
