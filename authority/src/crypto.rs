//! aws-lc-rs behind the few operations the authority needs.

use aws_lc_rs::digest;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use identity::x509::{BadSignature, SignatureAlgorithm, VerifySignature};
use x509_parser::prelude::{FromDer as _, SubjectPublicKeyInfo};

/// Verifies signatures with aws-lc.
#[derive(Clone, Copy, Debug, Default)]
pub struct AwsLcVerifier;

impl VerifySignature for AwsLcVerifier {
    fn verify(
        &self,
        algorithm: SignatureAlgorithm,
        spki_der: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        let (rest, spki) =
            SubjectPublicKeyInfo::from_der(spki_der).map_err(|_malformed| BadSignature)?;
        if !rest.is_empty() {
            return Err(BadSignature);
        }
        let curve = EcCurve::of(&spki);
        let algorithm = verification_algorithm(algorithm, curve).ok_or(BadSignature)?;
        verify_raw(algorithm, &spki.subject_public_key.data, message, signature)
    }
}

/// The elliptic curves the authority deals in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum EcCurve {
    /// secp256r1.
    P256,
    /// secp384r1.
    P384,
}

impl EcCurve {
    /// The named curve of an EC key; `None` for another curve or another kind of key.
    pub(crate) fn of(spki: &SubjectPublicKeyInfo<'_>) -> Option<Self> {
        if spki.algorithm.algorithm != x509_parser::oid_registry::OID_KEY_TYPE_EC_PUBLIC_KEY {
            return None;
        }
        let curve = spki.algorithm.parameters.as_ref()?.as_oid().ok()?;
        if curve == x509_parser::oid_registry::OID_EC_P256 {
            Some(Self::P256)
        } else if curve == x509_parser::oid_registry::OID_NIST_EC_P384 {
            Some(Self::P384)
        } else {
            None
        }
    }
}

fn verification_algorithm(
    algorithm: SignatureAlgorithm,
    curve: Option<EcCurve>,
) -> Option<&'static dyn VerificationAlgorithm> {
    use SignatureAlgorithm as S;
    Some(match (algorithm, curve) {
        (S::EcdsaSha256, Some(EcCurve::P256)) => &signature::ECDSA_P256_SHA256_ASN1,
        (S::EcdsaSha384, Some(EcCurve::P256)) => &signature::ECDSA_P256_SHA384_ASN1,
        (S::EcdsaSha256, Some(EcCurve::P384)) => &signature::ECDSA_P384_SHA256_ASN1,
        (S::EcdsaSha384, Some(EcCurve::P384)) => &signature::ECDSA_P384_SHA384_ASN1,
        (S::RsaPkcs1Sha256, None) => &signature::RSA_PKCS1_2048_8192_SHA256,
        (S::RsaPkcs1Sha384, None) => &signature::RSA_PKCS1_2048_8192_SHA384,
        (S::RsaPkcs1Sha512, None) => &signature::RSA_PKCS1_2048_8192_SHA512,
        (S::Ed25519, None) => &signature::ED25519,
        _ => return None,
    })
}

/// Verifies with the bits of a public key, as a SubjectPublicKeyInfo's bit string holds them.
fn verify_raw(
    algorithm: &'static dyn VerificationAlgorithm,
    key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), BadSignature> {
    UnparsedPublicKey::new(algorithm, key)
        .verify(message, signature)
        .map_err(|_unspecified| BadSignature)
}

/// SHA-256 of `bytes`, lower-case hex.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

/// SHA-256 of `bytes`.
pub(crate) fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, bytes).as_ref().to_vec()
}

/// The system's random generator gave nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the system's random generator failed")]
pub struct NoRandomness;

/// `N` random bytes from the system's generator.
///
/// # Errors
/// [`NoRandomness`] if the generator fails.
pub(crate) fn random_bytes<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_unspecified| NoRandomness)?;
    Ok(bytes)
}
