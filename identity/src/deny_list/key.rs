//! Pinned keys of deny lists.

use crate::deny_list::error::ListKeyError;
use crate::pem;
use crate::x509::Sha256Digest;
use crate::x509::signature::is_p256;

/// A public key that signs deny lists: ECDSA on P-256, for ES256.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ListKey {
    kid: String,
    spki_der: Vec<u8>,
}

impl ListKey {
    /// Longest PEM text of one key, in bytes; P-256 takes 178.
    pub const MAX_PEM_BYTES: usize = 1024;

    /// The key of one PEM block `PUBLIC KEY`.
    ///
    /// # Errors
    /// See [`ListKeyError`].
    pub fn from_pem(text: &str) -> Result<Self, ListKeyError> {
        let der =
            pem::single(text, pem::PUBLIC_KEY, Self::MAX_PEM_BYTES).map_err(ListKeyError::Pem)?;
        Self::from_spki_der(&der)
    }

    /// The key of a SubjectPublicKeyInfo in DER (RFC 5480).
    ///
    /// # Errors
    /// [`ListKeyError::NotP256`]. That the point lies on the curve is left to the verifier.
    pub fn from_spki_der(spki_der: &[u8]) -> Result<Self, ListKeyError> {
        if !is_p256(spki_der) {
            return Err(ListKeyError::NotP256);
        }
        let kid = Sha256Digest::of(spki_der).to_string();
        Ok(Self {
            kid,
            spki_der: spki_der.to_vec(),
        })
    }

    /// The key id: SHA-256 of the SubjectPublicKeyInfo's DER, 64 hexadecimal digits in lower case.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The SubjectPublicKeyInfo, in DER.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    /// The key as one PEM block `PUBLIC KEY`.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem::encode(&self.spki_der, pem::PUBLIC_KEY)
    }
}
