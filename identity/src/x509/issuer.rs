//! Keys that may sign leaves.

use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use crate::pem;
use crate::x509::MAX_ISSUER_PEM_BYTES;
use crate::x509::error::{EncodingError, IssuerError};
use crate::x509::outer::Outer;
use crate::x509::profile::Extensions;
use crate::x509::signature::KeyKind;

/// The public key of a certificate authority that signs leaves of one trust domain.
///
/// It is pinned: whoever configures it has checked the chain above it and its validity.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct IssuerKey {
    spki_der: Vec<u8>,
    kind: KeyKind,
}

impl IssuerKey {
    /// The keys of the certificates in `pem`, in order, at least one, at most
    /// [`MAX_ISSUER_PEM_BYTES`] of text.
    ///
    /// Each must be a signing certificate. Its own signature and validity are not checked.
    ///
    /// # Errors
    /// See [`IssuerError`]; one bad certificate refuses them all.
    pub fn from_certificate_pem(pem: &str) -> Result<Vec<Self>, IssuerError> {
        pem::blocks(pem, pem::CERTIFICATE, MAX_ISSUER_PEM_BYTES)
            .map_err(IssuerError::Pem)?
            .iter()
            .map(|der| Self::from_certificate_der(der))
            .collect()
    }

    /// The key of one signing certificate, in DER; checks as
    /// [`from_certificate_pem`](Self::from_certificate_pem).
    ///
    /// # Errors
    /// See [`IssuerError`].
    pub fn from_certificate_der(der: &[u8]) -> Result<Self, IssuerError> {
        Outer::read(der).map_err(IssuerError::Encoding)?;
        let (_, certificate) = X509Certificate::from_der(der)
            .map_err(|_malformed| IssuerError::Encoding(EncodingError::NotCertificate))?;
        let extensions = Extensions::read(&certificate).map_err(IssuerError::Extension)?;
        if !extensions
            .basic_constraints
            .is_some_and(|constraints| constraints.ca)
        {
            return Err(IssuerError::NotAuthority);
        }
        if extensions
            .key_usage
            .is_some_and(|(usage, _)| !usage.key_cert_sign())
        {
            return Err(IssuerError::NoKeyCertSign);
        }
        Self::from_spki_der(certificate.public_key().raw)
    }

    /// The key of a SubjectPublicKeyInfo in DER: P-256, P-384, RSA of 2048 to 8192 bits, Ed25519.
    ///
    /// # Errors
    /// [`IssuerError::UnsupportedKey`] for every other key and for malformed ones.
    pub fn from_spki_der(spki_der: &[u8]) -> Result<Self, IssuerError> {
        let kind = KeyKind::of_spki(spki_der).ok_or(IssuerError::UnsupportedKey)?;
        Ok(Self {
            spki_der: spki_der.to_vec(),
            kind,
        })
    }

    /// The SubjectPublicKeyInfo, in DER.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    pub(crate) const fn kind(&self) -> KeyKind {
        self.kind
    }
}
