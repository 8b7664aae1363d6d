//! What kind of key a certificate is for.

use crate::x509::der::{self, BIT_STRING, INTEGER, OBJECT_IDENTIFIER, SEQUENCE};

/// The kind of a public key.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum KeyType {
    /// RSA (RFC 3279 §2.3.1).
    Rsa,
    /// An elliptic curve named by its OID (RFC 5480 §2.1.1).
    Ec,
    /// Ed25519 (RFC 8410).
    Ed25519,
    /// Any other, and every key that is not in its type's form.
    Other,
}

impl KeyType {
    /// The type's name: `RSA`, `EC`, `Ed25519` or `other`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rsa => "RSA",
            Self::Ec => "EC",
            Self::Ed25519 => "Ed25519",
            Self::Other => "other",
        }
    }

    /// Type and size in bits of a SubjectPublicKeyInfo.
    ///
    /// The size is the modulus' of RSA and the field's of a curve; 0 for a curve that is not
    /// P-224, P-256, P-384 or P-521, and for [`Other`](Self::Other). What is malformed is `Other`.
    pub(crate) fn of_spki(spki_der: &[u8]) -> (Self, u32) {
        Self::read(spki_der).unwrap_or((Self::Other, 0))
    }

    fn read(spki_der: &[u8]) -> Option<(Self, u32)> {
        let fields = der::only(spki_der, SEQUENCE)?;
        let algorithm = der::expect(fields, SEQUENCE)?;
        let key = der::bit_string_bytes(der::only(algorithm.rest, BIT_STRING)?)?;
        let id = der::expect(algorithm.content, OBJECT_IDENTIFIER)?;
        match id.content {
            RSA => {
                // RFC 3279 §2.3.1: "The parameters field MUST have ASN.1 type NULL".
                (id.rest == NULL).then_some(())?;
                let modulus = der::expect(der::only(key, SEQUENCE)?, INTEGER)?;
                der::positive_integer(der::only(modulus.rest, INTEGER)?)?;
                let magnitude = der::positive_integer(modulus.content)?;
                Some((Self::Rsa, bits(magnitude)?))
            }
            EC => {
                let curve = der::only(id.rest, OBJECT_IDENTIFIER)?;
                let known = CURVES.iter().find(|(oid, _)| *oid == curve);
                let bits = known.map_or(0, |(_, bits)| *bits);
                (bits == 0 || is_point(key, bits)).then_some((Self::Ec, bits))
            }
            ED25519 if id.rest.is_empty() && key.len() == 32 => Some((Self::Ed25519, 256)),
            _ => None,
        }
    }
}

/// Bits of a big-endian magnitude without leading zero bytes.
fn bits(magnitude: &[u8]) -> Option<u32> {
    let (first, rest) = magnitude.split_first()?;
    let rest = u32::try_from(rest.len()).ok()?.checked_mul(8)?;
    rest.checked_add(8 - first.leading_zeros())
}

/// Whether these are the bytes of a point, compressed or not (SEC 1 §2.3.3); that it is on the
/// curve is not checked.
fn is_point(key: &[u8], bits: u32) -> bool {
    let Ok(field) = usize::try_from(bits.div_ceil(8)) else {
        return false;
    };
    match key.split_first() {
        Some((4, point)) => point.len() == field.saturating_mul(2),
        Some((2 | 3, point)) => point.len() == field,
        _ => false,
    }
}

const NULL: &[u8] = b"\x05\x00";
const RSA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";
const EC: &[u8] = b"\x2a\x86\x48\xce\x3d\x02\x01";
const ED25519: &[u8] = b"\x2b\x65\x70";
/// secp224r1, secp256r1, secp384r1, secp521r1 (RFC 5480 §2.1.1.1).
const CURVES: [(&[u8], u32); 4] = [
    (b"\x2b\x81\x04\x00\x21", 224),
    (b"\x2a\x86\x48\xce\x3d\x03\x01\x07", 256),
    (b"\x2b\x81\x04\x00\x22", 384),
    (b"\x2b\x81\x04\x00\x23", 521),
];

#[cfg(test)]
mod tests {
    use rcgen::{KeyPair, PublicKeyData as _};

    use super::*;

    fn spki(algorithm: &[&[u8]], key: &[u8]) -> Vec<u8> {
        let algorithm = der::write(SEQUENCE, algorithm).unwrap();
        let bits = der::write(BIT_STRING, &[&[0], key]).unwrap();
        der::write(SEQUENCE, &[&algorithm, &bits]).unwrap()
    }

    fn oid(content: &[u8]) -> Vec<u8> {
        der::write(OBJECT_IDENTIFIER, &[content]).unwrap()
    }

    fn rsa(modulus: &[u8]) -> Vec<u8> {
        let modulus = der::write(INTEGER, &[modulus]).unwrap();
        let key = der::write(SEQUENCE, &[&modulus, b"\x02\x03\x01\x00\x01"]).unwrap();
        spki(&[&oid(RSA), NULL], &key)
    }

    #[test]
    fn knows_the_keys_that_meshes_use() {
        let cases = [
            (&rcgen::PKCS_ECDSA_P256_SHA256, KeyType::Ec, 256),
            (&rcgen::PKCS_ECDSA_P384_SHA384, KeyType::Ec, 384),
            (&rcgen::PKCS_ED25519, KeyType::Ed25519, 256),
        ];
        for (algorithm, expected, bits) in cases {
            let key = KeyPair::generate_for(algorithm).unwrap();
            let found = KeyType::of_spki(&key.subject_public_key_info());
            assert_eq!(found, (expected, bits));
        }
        let key = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_3072);
        let found = KeyType::of_spki(&key.unwrap().subject_public_key_info());
        assert_eq!(found, (KeyType::Rsa, 3072));
        // One bit short of 2048.
        let mut short = vec![0xff; 256];
        short[0] = 0x7f;
        assert_eq!(KeyType::of_spki(&rsa(&short)), (KeyType::Rsa, 2047));
        // secp256k1: a curve, of which nothing more is known.
        let curve = spki(&[&oid(EC), &oid(b"\x2b\x81\x04\x00\x0a")], &[4; 65]);
        assert_eq!(KeyType::of_spki(&curve), (KeyType::Ec, 0));
    }

    #[test]
    fn what_is_malformed_is_no_key_of_its_type() {
        let p256 = oid(b"\x2a\x86\x48\xce\x3d\x03\x01\x07");
        let good = spki(&[&oid(EC), &p256], &[4; 65]);
        assert_eq!(KeyType::of_spki(&good), (KeyType::Ec, 256));
        for end in 0..good.len() {
            let cut = good.get(..end).unwrap();
            assert_eq!(KeyType::of_spki(cut), (KeyType::Other, 0), "{end} bytes");
        }
        let negative = [0x80; 256];
        let padded = [&[0, 0][..], &[0xff; 256]].concat();
        for bad in [
            [good.as_slice(), &[0]].concat(),
            spki(&[&oid(EC), &p256], &[4; 64]),
            spki(&[&oid(EC), &p256], &[5; 65]),
            spki(&[&oid(EC)], &[4; 65]),
            spki(&[&oid(ED25519), NULL], &[1; 32]),
            spki(&[&oid(ED25519)], &[1; 33]),
            spki(&[&oid(RSA)], b"\x30\x00"),
            spki(&[&oid(RSA), NULL], b""),
            spki(&[&oid(b"\x2a\x03")], b""),
            rsa(&negative),
            rsa(&padded),
            rsa(&[0]),
            rsa(&[]),
        ] {
            assert_eq!(KeyType::of_spki(&bad), (KeyType::Other, 0), "{bad:x?}");
        }
    }
}
