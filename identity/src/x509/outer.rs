//! The outer layer of a certificate: what the signature covers, and what it does not.

use crate::x509::MAX_CERTIFICATE_BYTES;
use crate::x509::der::{self, BIT_STRING, CONTEXT_0, INTEGER, SEQUENCE};
use crate::x509::error::EncodingError;

/// The three parts of a certificate (RFC 5280 §4.1.1), found to be DER.
///
/// Whoever holds a certificate may rewrite what its signature does not cover, and the SHA-256 of
/// the whole, by which deny lists name it, changes. So those parts have one form only: DER, and
/// the algorithm equal to its signed copy. What remains is the signature value itself; see
/// [`crate::x509::X509Svid::twin_sha256`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outer<'a> {
    /// The signed part, tag and length included.
    pub(crate) signed: &'a [u8],
    /// The AlgorithmIdentifier, tag and length included.
    pub(crate) algorithm: &'a [u8],
    /// The signature's bytes.
    pub(crate) signature: &'a [u8],
}

impl<'a> Outer<'a> {
    /// Reads the outer layer of `der`.
    ///
    /// The signed part is taken as it is: its own form cannot be changed without its signer.
    pub(crate) fn read(der: &'a [u8]) -> Result<Self, EncodingError> {
        if der.len() > MAX_CERTIFICATE_BYTES {
            return Err(EncodingError::TooLarge {
                len: der.len(),
                max: MAX_CERTIFICATE_BYTES,
            });
        }
        let certificate = der::expect(der, SEQUENCE).ok_or(EncodingError::NotDer)?;
        if !certificate.rest.is_empty() {
            return Err(EncodingError::TrailingBytes {
                count: certificate.rest.len(),
            });
        }
        Self::parts(certificate.content)
            .ok_or(EncodingError::NotDer)
            .and_then(Self::same_algorithm)
    }

    fn parts(content: &'a [u8]) -> Option<Self> {
        let signed = der::expect(content, SEQUENCE)?;
        let algorithm = der::expect(signed.rest, SEQUENCE)?;
        let signature = der::bit_string_bytes(der::only(algorithm.rest, BIT_STRING)?)?;
        Some(Self {
            signed: signed.whole,
            algorithm: algorithm.whole,
            signature,
        })
    }

    /// RFC 5280 §4.1.1.2: "This field MUST contain the same algorithm identifier as the signature
    /// field in the sequence tbsCertificate".
    fn same_algorithm(self) -> Result<Self, EncodingError> {
        match self.signed_algorithm() {
            Some(algorithm) if algorithm == self.algorithm => Ok(self),
            Some(_) => Err(EncodingError::AlgorithmMismatch),
            None => Err(EncodingError::NotCertificate),
        }
    }

    fn signed_algorithm(&self) -> Option<&'a [u8]> {
        let fields = der::only(self.signed, SEQUENCE)?;
        let first = der::read(fields)?;
        let serial = if first.tag == CONTEXT_0 {
            der::read(first.rest)?
        } else {
            first
        };
        if serial.tag != INTEGER {
            return None;
        }
        der::expect(serial.rest, SEQUENCE).map(|algorithm| algorithm.whole)
    }
}
