//! Signature algorithms, and the caller's way of checking them.

use crate::x509::der::{self, BIT_STRING, INTEGER, SEQUENCE};
use crate::x509::digest::Sha256Digest;
use crate::x509::outer::Outer;

/// The signature algorithms accepted, on leaves and on deny lists.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum SignatureAlgorithm {
    /// ECDSA with SHA-256 (RFC 5758 §3.2), on P-256 or P-384; the signature is ECDSA-Sig-Value DER.
    EcdsaSha256,
    /// ECDSA with SHA-384 (RFC 5758 §3.2), on P-256 or P-384; the signature is ECDSA-Sig-Value DER.
    EcdsaSha384,
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017 §8.2).
    RsaPkcs1Sha256,
    /// RSASSA-PKCS1-v1_5 with SHA-384 (RFC 8017 §8.2).
    RsaPkcs1Sha384,
    /// RSASSA-PKCS1-v1_5 with SHA-512 (RFC 8017 §8.2).
    RsaPkcs1Sha512,
    /// Ed25519 (RFC 8410).
    Ed25519,
}

impl SignatureAlgorithm {
    /// Reads an AlgorithmIdentifier; `None` unless it is, byte for byte, one of those listed, so
    /// that parameters have no freedom.
    pub(crate) fn read(identifier: &[u8]) -> Option<Self> {
        match identifier {
            ECDSA_SHA256 => Some(Self::EcdsaSha256),
            ECDSA_SHA384 => Some(Self::EcdsaSha384),
            RSA_SHA256 => Some(Self::RsaPkcs1Sha256),
            RSA_SHA384 => Some(Self::RsaPkcs1Sha384),
            RSA_SHA512 => Some(Self::RsaPkcs1Sha512),
            ED25519 => Some(Self::Ed25519),
            _ => None,
        }
    }

    /// The kind of key that makes such signatures.
    pub(crate) const fn key_kind(self) -> KeyKind {
        match self {
            Self::EcdsaSha256 | Self::EcdsaSha384 => KeyKind::Ecdsa,
            Self::RsaPkcs1Sha256 | Self::RsaPkcs1Sha384 | Self::RsaPkcs1Sha512 => KeyKind::Rsa,
            Self::Ed25519 => KeyKind::Ed25519,
        }
    }
}

/// Checks signatures. The cryptography is the caller's: Envoy's in the filter, aws-lc elsewhere.
pub trait VerifySignature {
    /// Checks that the key made `signature` over `message`.
    ///
    /// `spki_der` is the DER of a SubjectPublicKeyInfo (RFC 5280 §4.1.2.7) of the algorithm's kind;
    /// for ECDSA it names P-256 or P-384. `signature` is in the algorithm's form given at
    /// [`SignatureAlgorithm`].
    ///
    /// # Errors
    /// [`BadSignature`] when it did not, and whenever that cannot be told.
    fn verify(
        &self,
        algorithm: SignatureAlgorithm,
        spki_der: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature>;
}

/// The key did not make the signature, or that could not be told.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("signature is not the key's")]
pub struct BadSignature;

/// The kinds of keys accepted.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum KeyKind {
    Ecdsa,
    Rsa,
    Ed25519,
}

impl KeyKind {
    /// The kind of a SubjectPublicKeyInfo; `None` unless it is DER of P-256, P-384, RSA of 2048 to
    /// 8192 bits or Ed25519. That a point lies on its curve is left to the verifier.
    pub(crate) fn of_spki(spki_der: &[u8]) -> Option<Self> {
        let fields = der::only(spki_der, SEQUENCE)?;
        let algorithm = der::expect(fields, SEQUENCE)?;
        let key = der::bit_string_bytes(der::only(algorithm.rest, BIT_STRING)?)?;
        match (algorithm.whole, key) {
            (EC_P256, [4, point @ ..]) if point.len() == 64 => Some(Self::Ecdsa),
            (EC_P384, [4, point @ ..]) if point.len() == 96 => Some(Self::Ecdsa),
            (ED25519, _) if key.len() == 32 => Some(Self::Ed25519),
            (RSA, _) => {
                let modulus = der::expect(der::only(key, SEQUENCE)?, INTEGER)?;
                der::positive_integer(der::only(modulus.rest, INTEGER)?)?;
                let bytes = der::positive_integer(modulus.content)?;
                (RSA_MODULUS_BYTES.contains(&bytes.len()) && bytes.first()? & 0x80 != 0)
                    .then_some(Self::Rsa)
            }
            _ => None,
        }
    }
}

/// Whether `spki_der` is an uncompressed P-256 key.
pub(crate) fn is_p256(spki_der: &[u8]) -> bool {
    spki_der.starts_with(P256_SPKI_START) && KeyKind::of_spki(spki_der) == Some(KeyKind::Ecdsa)
}

/// The ECDSA-Sig-Value (RFC 3279 §2.2.3) of a raw signature, r and s of equal length; `None` when
/// either is zero or the length is odd.
pub(crate) fn ecdsa_raw_to_der(raw: &[u8]) -> Option<Vec<u8>> {
    let (r, s) = raw
        .split_at_checked(raw.len() / 2)
        .filter(|(r, s)| r.len() == s.len())?;
    der::write(
        SEQUENCE,
        &[
            &der::write_positive_integer(r)?,
            &der::write_positive_integer(s)?,
        ],
    )
}

/// The magnitudes r and s of an ECDSA-Sig-Value in DER.
pub(crate) fn ecdsa_parts(signature: &[u8]) -> Option<(&[u8], &[u8])> {
    let r = der::expect(der::only(signature, SEQUENCE)?, INTEGER)?;
    let s = der::only(r.rest, INTEGER)?;
    Some((der::positive_integer(r.content)?, der::positive_integer(s)?))
}

/// SHA-256 of the certificate with the other valid ECDSA signature: (r, n − s) is valid whenever
/// (r, s) is, and anyone can compute it.
///
/// `None` when the signature is not an ECDSA one on P-256 or P-384.
pub(crate) fn twin_sha256(outer: &Outer<'_>) -> Option<Sha256Digest> {
    let algorithm = SignatureAlgorithm::read(outer.algorithm)?;
    if algorithm.key_kind() != KeyKind::Ecdsa {
        return None;
    }
    let (r, s) = ecdsa_parts(outer.signature)?;
    // The signer's curve is not known here. A P-384 signature with both numbers below 2^256 would
    // be an accident of one in 2^256.
    let order = [P256_ORDER, P384_ORDER]
        .into_iter()
        .find(|order| r.len() <= order.len() && s.len() <= order.len())?;
    let signature = der::write(
        SEQUENCE,
        &[
            &der::write_positive_integer(r)?,
            &der::write_positive_integer(&subtract(order, s)?)?,
        ],
    )?;
    let bits = der::write(BIT_STRING, &[&[0], &signature])?;
    let twin = der::write(SEQUENCE, &[outer.signed, outer.algorithm, &bits])?;
    Some(Sha256Digest::of(&twin))
}

/// `larger - smaller`, big-endian; `None` when that is negative.
fn subtract(larger: &[u8], smaller: &[u8]) -> Option<Vec<u8>> {
    let padding = larger.len().checked_sub(smaller.len())?;
    let smaller = std::iter::repeat_n(&0, padding).chain(smaller);
    let mut borrow = false;
    let mut difference: Vec<u8> = larger
        .iter()
        .rev()
        .zip(smaller.collect::<Vec<_>>().into_iter().rev())
        .map(|(from, take)| {
            let (once, under) = from.overflowing_sub(*take);
            let (twice, under_again) = once.overflowing_sub(u8::from(borrow));
            borrow = under || under_again;
            twice
        })
        .collect();
    difference.reverse();
    (!borrow).then_some(difference)
}

// AlgorithmIdentifiers: ecdsa-with-SHA256 and -SHA384 (RFC 5758 §3.2: parameters absent),
// sha256-, sha384- and sha512WithRSAEncryption (RFC 4055 §5: parameters NULL), Ed25519 (RFC 8410
// §3: absent).
const ECDSA_SHA256: &[u8] = b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";
const ECDSA_SHA384: &[u8] = b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03";
const RSA_SHA256: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00";
const RSA_SHA384: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c\x05\x00";
const RSA_SHA512: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d\x05\x00";
const ED25519: &[u8] = b"\x30\x05\x06\x03\x2b\x65\x70";

// AlgorithmIdentifiers of keys: id-ecPublicKey with prime256v1 and secp384r1 (RFC 5480 §2.1.1),
// rsaEncryption (RFC 3279 §2.3.1).
const EC_P256: &[u8] =
    b"\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
const EC_P384: &[u8] = b"\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22";
const RSA: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
/// The start of every uncompressed P-256 SubjectPublicKeyInfo: its length and algorithm.
const P256_SPKI_START: &[u8] =
    b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";

/// Sizes of RSA keys accepted: 2048 to 8192 bits.
const RSA_MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

// Group orders n of P-256 and P-384 (NIST SP 800-186 §3.2.1).
const P256_ORDER: &[u8] = b"\xff\xff\xff\xff\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\
\xbc\xe6\xfa\xad\xa7\x17\x9e\x84\xf3\xb9\xca\xc2\xfc\x63\x25\x51";
const P384_ORDER: &[u8] = b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\
\xff\xff\xff\xff\xff\xff\xff\xff\xc7\x63\x4d\x81\xf4\x37\x2d\xdf\
\x58\x1a\x0d\xb2\x48\xb0\xa7\x7a\xec\xec\x19\x6a\xcc\xc5\x29\x73";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subtracts_with_borrow_and_refuses_negative_results() {
        assert_eq!(subtract(&[1, 0, 0], &[1]), Some(vec![0, 0xff, 0xff]));
        assert_eq!(subtract(&[5], &[5]), Some(vec![0]));
        assert_eq!(subtract(&[5], &[6]), None);
        assert_eq!(subtract(&[5], &[1, 0]), None);
    }

    #[test]
    fn writes_raw_signatures_as_der() {
        let raw = [&[0_u8; 31][..], &[1], &[0x80], &[0; 31]].concat();
        let der = ecdsa_raw_to_der(&raw).unwrap();
        let s = [&[0x80_u8][..], &[0; 31]].concat();
        assert_eq!(ecdsa_parts(&der), Some((&[1][..], s.as_slice())));
        assert_eq!(ecdsa_raw_to_der(&[0; 64]), None);
        assert_eq!(ecdsa_raw_to_der(&[1; 63]), None);
    }
}
