//! Keys that are certified.

use x509_parser::asn1_rs::{Any, Tag};
use x509_parser::oid_registry as oid;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::crypto::EcCurve;
use crate::issue::csr::{CsrError, KeyType, MAX_RSA_BITS, MIN_RSA_BITS};

/// The kind of a key, if it is one that is certified and is written as it must be.
pub(super) fn key_type(spki: &SubjectPublicKeyInfo<'_>) -> Result<KeyType, CsrError> {
    let (key_type, identifier): (_, &[u8]) = match EcCurve::of(spki) {
        Some(curve) => {
            let (key_type, coordinate, identifier): (_, _, &[u8]) = match curve {
                EcCurve::P256 => (KeyType::EcdsaP256, 32, P256_IDENTIFIER),
                EcCurve::P384 => (KeyType::EcdsaP384, 48, P384_IDENTIFIER),
            };
            // Only the uncompressed form of a point (SEC 1 §2.3.3): peers refuse the other.
            let point = &spki.subject_public_key.data;
            if point.len() != 2 * coordinate + 1 || point.first() != Some(&4) {
                return Err(CsrError::UnsupportedKey);
            }
            (key_type, identifier)
        }
        None if spki.algorithm.algorithm == oid::OID_SIG_ED25519 => {
            if spki.subject_public_key.data.len() != 32 {
                return Err(CsrError::UnsupportedKey);
            }
            (KeyType::Ed25519, ED25519_IDENTIFIER)
        }
        None => (rsa(spki)?, RSA_IDENTIFIER),
    };
    // The key is copied into the certificate as it is, so it must be the one DER of it.
    if !has_identifier(spki.raw, identifier) || spki.subject_public_key.unused_bits != 0 {
        return Err(CsrError::Malformed {
            problem: "its key is not written as DER, or its algorithm has other parameters",
        });
    }
    Ok(key_type)
}

fn rsa(spki: &SubjectPublicKeyInfo<'_>) -> Result<KeyType, CsrError> {
    let Ok(PublicKey::RSA(key)) = spki.parsed() else {
        return Err(CsrError::UnsupportedKey);
    };
    if spki.algorithm.algorithm != oid::OID_PKCS1_RSAENCRYPTION {
        return Err(CsrError::UnsupportedKey);
    }
    // A positive INTEGER with the top bit set has a zero octet before it; without, it is negative.
    let is_negative = |number: &[u8]| number.first().is_some_and(|first| *first >= 0x80);
    if is_negative(key.modulus) || is_negative(key.exponent) {
        return Err(CsrError::Malformed {
            problem: "its RSA key has a negative number",
        });
    }
    let bits = key.key_size();
    if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) {
        return Err(CsrError::RsaLength { bits });
    }
    let is_even = |number: &[u8]| number.last().is_none_or(|last| last % 2 == 0);
    if is_even(key.modulus) {
        return Err(CsrError::Malformed {
            problem: "its RSA modulus is even",
        });
    }
    if is_even(key.exponent) || !key.try_exponent().is_ok_and(|e| e >= MIN_RSA_EXPONENT) {
        return Err(CsrError::RsaExponent);
    }
    Ok(KeyType::Rsa { bits })
}

/// Whether a SubjectPublicKeyInfo begins with this very algorithm identifier.
fn has_identifier(spki_der: &[u8], identifier: &[u8]) -> bool {
    let Ok(([], outer)) = Any::from_der(spki_der) else {
        return false;
    };
    let key = outer.data.strip_prefix(identifier).map(Any::from_der);
    outer.header.tag() == Tag::Sequence
        && matches!(key, Some(Ok(([], key))) if key.header.tag() == Tag::BitString)
}

/// Least public exponent of an RSA key: F4, as NIST SP 800-56B §6.2 demands.
const MIN_RSA_EXPONENT: u64 = 65_537;
/// id-ecPublicKey with secp256r1 (RFC 5480 §2.1.1).
const P256_IDENTIFIER: &[u8] = &[
    0x30, 19, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7,
];
/// id-ecPublicKey with secp384r1 (RFC 5480 §2.1.1).
const P384_IDENTIFIER: &[u8] = &[
    0x30, 16, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 5, 0x2b, 0x81, 4, 0, 34,
];
/// rsaEncryption with NULL (RFC 3279 §2.3.1: "The parameters field MUST have ASN.1 type NULL").
const RSA_IDENTIFIER: &[u8] = &[
    0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 1, 5, 0,
];
/// id-Ed25519 (RFC 8410 §3), of keys and of signatures.
pub(super) const ED25519_IDENTIFIER: &[u8] = &[0x30, 5, 6, 3, 0x2b, 101, 112];
