//! Certificate signing requests (PKCS#10, RFC 2986): proof that the caller holds the key, and
//! nothing else.

use std::fmt;
use std::str::FromStr;

use identity::x509::{SignatureAlgorithm, VerifySignature as _};
use identity::{SpiffeId, pem};
use x509_parser::asn1_rs::{Any, Tag};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::oid_registry as oid;
use x509_parser::prelude::{AlgorithmIdentifier, FromDer as _};
use x509_parser::x509::X509Version;

use self::key::{ED25519_IDENTIFIER, key_type};
use self::wishes::{check_wishes, only_name};
use crate::crypto::{AwsLcVerifier, sha256_hex};

mod key;
mod wishes;

/// A CSR whose self-signature verified; all that is kept of it is the public key, and the DNS names
/// asked for, which count only where an issuance rule allows them by name.
///
/// Subject, other names and every other extension asked for are dropped. A request for a CA
/// certificate is refused outright rather than dropped, so that its author notices.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VerifiedCsr {
    spki_der: Vec<u8>,
    spki_sha256: String,
    key_type: KeyType,
    only_name: Option<String>,
    dns_names: Vec<String>,
}

/// Kind of a certified key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyType {
    /// ECDSA on P-256.
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// RSA.
    Rsa {
        /// Length of the modulus, in bits.
        bits: usize,
    },
    /// Ed25519 (RFC 8410). Envoy takes no such leaves: rules must allow it by name.
    Ed25519,
}

/// A name that is no [`KeyType`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "key algorithm {found:?} is not one of ecdsa-p256, ecdsa-p384, rsa-<bits> from {MIN_RSA_BITS} \
     to {MAX_RSA_BITS}, ed25519"
)]
pub struct UnknownKeyType {
    /// The name found.
    pub found: String,
}

impl FromStr for KeyType {
    type Err = UnknownKeyType;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let bits = name.strip_prefix("rsa-").and_then(|bits| bits.parse().ok());
        match (name, bits) {
            ("ecdsa-p256", _) => Ok(Self::EcdsaP256),
            ("ecdsa-p384", _) => Ok(Self::EcdsaP384),
            ("ed25519", _) => Ok(Self::Ed25519),
            (_, Some(bits)) if (MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) => {
                Ok(Self::Rsa { bits })
            }
            _ => Err(UnknownKeyType {
                found: name.chars().take(64).collect(),
            }),
        }
    }
}

impl KeyType {
    /// Length of the key, in bits.
    #[must_use]
    pub const fn bits(self) -> usize {
        match self {
            Self::EcdsaP256 => 256,
            Self::EcdsaP384 => 384,
            Self::Rsa { bits } => bits,
            Self::Ed25519 => 256,
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EcdsaP256 => f.write_str("ecdsa-p256"),
            Self::EcdsaP384 => f.write_str("ecdsa-p384"),
            Self::Rsa { bits } => write!(f, "rsa-{bits}"),
            Self::Ed25519 => f.write_str("ed25519"),
        }
    }
}

/// Why a CSR is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CsrError {
    /// Longer than [`MAX_CSR_BYTES`].
    #[error("CSR is {len} bytes, limit is {MAX_CSR_BYTES}")]
    TooLarge {
        /// Length found, in bytes.
        len: usize,
    },
    /// Not exactly one PEM block.
    #[error("CSR is not one PEM block: {0}")]
    Pem(pem::PemError),
    /// Not a PKCS#10 request, or more than that.
    #[error("CSR is not a PKCS#10 request: {problem}")]
    Malformed {
        /// What is wrong.
        problem: &'static str,
    },
    /// Signed with MD5 or SHA-1.
    #[error("CSR is signed with {digest}, which no longer proves anything")]
    WeakDigest {
        /// The digest.
        digest: &'static str,
    },
    /// Signed with an algorithm that is not supported.
    #[error("CSR is signed with the unsupported algorithm {oid}")]
    UnsupportedSignature {
        /// Its object identifier.
        oid: String,
    },
    /// A key that is not certified here.
    #[error(
        "CSR has a key of an unsupported kind; ECDSA P-256, P-384, RSA and Ed25519 are supported"
    )]
    UnsupportedKey,
    /// An RSA key that is too short or too long.
    #[error("CSR has an RSA key of {bits} bits, allowed are {MIN_RSA_BITS} to {MAX_RSA_BITS}")]
    RsaLength {
        /// Length found, in bits.
        bits: usize,
    },
    /// An RSA key whose public exponent is even, below 65537 or beyond 64 bits.
    #[error("CSR has an RSA key whose public exponent is not odd, or not 65537 or more in 64 bits")]
    RsaExponent,
    /// The signature is not by the key in the request.
    #[error("CSR is not signed by the key in it")]
    BadSignature,
    /// It asks for `CA:TRUE`, `keyCertSign` or `cRLSign`.
    #[error("CSR asks for a CA certificate ({asked})")]
    AsksForCa {
        /// What gives it away.
        asked: &'static str,
    },
    /// More names than any honest request has.
    #[error("CSR asks for {found} names, limit is {MAX_NAMES}")]
    TooManyNames {
        /// How many there are.
        found: usize,
    },
}

impl CsrError {
    /// Stable name of the rule that failed.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "csr_too_large",
            Self::Pem(_) => "csr_not_pem",
            Self::Malformed { .. } => "csr_malformed",
            Self::WeakDigest { .. } => "csr_weak_digest",
            Self::UnsupportedSignature { .. } => "csr_unsupported_signature",
            Self::UnsupportedKey => "csr_unsupported_key",
            Self::RsaLength { .. } => "csr_rsa_length",
            Self::RsaExponent => "csr_rsa_exponent",
            Self::BadSignature => "csr_bad_signature",
            Self::AsksForCa { .. } => "csr_asks_for_ca",
            Self::TooManyNames { .. } => "csr_too_many_names",
        }
    }
}

impl VerifiedCsr {
    /// Parses and verifies a PEM request (`CERTIFICATE REQUEST` or `NEW CERTIFICATE REQUEST`).
    ///
    /// # Errors
    /// [`CsrError`], the first rule that fails.
    pub fn parse_pem(text: &str) -> Result<Self, CsrError> {
        Self::parse_pem_with(text, check_wishes)
    }

    /// [`parse_pem`](Self::parse_pem) of a request for a CA certificate: what it asks for is not
    /// looked at.
    ///
    /// # Errors
    /// [`CsrError`], the first rule that fails.
    pub(crate) fn parse_ca_pem(text: &str) -> Result<Self, CsrError> {
        Self::parse_pem_with(text, |_any| Ok(Vec::new()))
    }

    fn parse_pem_with(text: &str, wishes: Wishes) -> Result<Self, CsrError> {
        if text.len() > MAX_CSR_BYTES {
            return Err(CsrError::TooLarge { len: text.len() });
        }
        let label = if text.trim_start().starts_with("-----BEGIN NEW CERT") {
            "NEW CERTIFICATE REQUEST"
        } else {
            "CERTIFICATE REQUEST"
        };
        let der = pem::single(text, label, MAX_CSR_BYTES).map_err(CsrError::Pem)?;
        Self::parse_with(&der, wishes)
    }

    /// Parses and verifies a DER request.
    ///
    /// # Errors
    /// [`CsrError`], the first rule that fails.
    pub fn parse(der: &[u8]) -> Result<Self, CsrError> {
        Self::parse_with(der, check_wishes)
    }

    fn parse_with(der: &[u8], wishes: Wishes) -> Result<Self, CsrError> {
        if der.len() > MAX_CSR_BYTES {
            return Err(CsrError::TooLarge { len: der.len() });
        }
        let malformed = |problem| CsrError::Malformed { problem };
        let (rest, request) = X509CertificationRequest::from_der(der)
            .map_err(|_malformed| malformed("the DER does not parse"))?;
        if !rest.is_empty() {
            return Err(malformed("bytes follow the request"));
        }
        let info = &request.certification_request_info;
        if info.version != X509Version::V1 {
            return Err(malformed("its version is not 0"));
        }
        if request.signature_value.unused_bits != 0 {
            return Err(malformed("its signature is not a whole number of octets"));
        }
        let key_type = key_type(&info.subject_pki)?;
        refuse_weak_digest(&request.signature_algorithm)?;
        let algorithm = signature_algorithm(&request.signature_algorithm).ok_or_else(|| {
            CsrError::UnsupportedSignature {
                oid: request.signature_algorithm.algorithm.to_id_string(),
            }
        })?;
        if !identifier_der(algorithm).is_some_and(|identifier| is_strict(der, identifier)) {
            return Err(malformed("its signature is not written as DER"));
        }
        AwsLcVerifier
            .verify(
                algorithm,
                info.subject_pki.raw,
                info.raw,
                &request.signature_value.data,
            )
            .map_err(|_bad| CsrError::BadSignature)?;
        let dns_names = wishes(&request)?;
        Ok(Self {
            spki_der: info.subject_pki.raw.to_vec(),
            spki_sha256: sha256_hex(info.subject_pki.raw),
            key_type,
            only_name: only_name(&request),
            dns_names,
        })
    }

    /// Whether it names `id` and nothing else: one URI, and no common name. What is certified does
    /// not depend on it.
    #[must_use]
    pub fn names_exactly(&self, id: &SpiffeId) -> bool {
        self.only_name.as_deref() == Some(id.to_string().as_str())
    }

    /// The SubjectPublicKeyInfo, DER.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    /// SHA-256 of the SubjectPublicKeyInfo, lower-case hex.
    #[must_use]
    pub fn spki_sha256(&self) -> &str {
        &self.spki_sha256
    }

    /// DNS names asked for, as written. Nothing is said about whether they may be had.
    #[must_use]
    pub fn dns_names(&self) -> &[String] {
        &self.dns_names
    }

    /// Kind of the key.
    #[must_use]
    pub const fn key_type(&self) -> KeyType {
        self.key_type
    }
}

/// Whether the request is `SEQUENCE { SEQUENCE, identifier, BIT STRING }`, in these very tags: the
/// parser lets other ones pass in the parts that are not signed.
fn is_strict(der: &[u8], identifier: &[u8]) -> bool {
    let Ok((_, outer)) = Any::from_der(der) else {
        return false;
    };
    let Ok((rest, info)) = Any::from_der(outer.data) else {
        return false;
    };
    let signature = rest.strip_prefix(identifier).map(Any::from_der);
    outer.header.tag() == Tag::Sequence
        && info.header.tag() == Tag::Sequence
        && matches!(signature, Some(Ok(([], bits))) if bits.header.tag() == Tag::BitString)
}

/// The one DER of an algorithm's identifier (RFC 5758 §3.2, RFC 4055 §5).
const fn identifier_der(algorithm: SignatureAlgorithm) -> Option<&'static [u8]> {
    const fn rsa(arc: u8) -> [u8; 15] {
        [
            0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, arc, 5, 0,
        ]
    }
    Some(match algorithm {
        SignatureAlgorithm::EcdsaSha256 => &[0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2],
        SignatureAlgorithm::EcdsaSha384 => &[0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3],
        SignatureAlgorithm::RsaPkcs1Sha256 => &const { rsa(11) },
        SignatureAlgorithm::RsaPkcs1Sha384 => &const { rsa(12) },
        SignatureAlgorithm::RsaPkcs1Sha512 => &const { rsa(13) },
        SignatureAlgorithm::Ed25519 => ED25519_IDENTIFIER,
        _ => return None,
    })
}

fn refuse_weak_digest(algorithm: &AlgorithmIdentifier<'_>) -> Result<(), CsrError> {
    let oid = &algorithm.algorithm;
    let digest = if *oid == oid::OID_PKCS1_MD5WITHRSAENC {
        "MD5"
    } else if *oid == oid::OID_PKCS1_SHA1WITHRSA
        || *oid == oid::OID_SHA1_WITH_RSA
        || oid.to_id_string() == ECDSA_WITH_SHA1
    {
        "SHA-1"
    } else {
        return Ok(());
    };
    Err(CsrError::WeakDigest { digest })
}

/// The signature algorithm an AlgorithmIdentifier names; `None` for all that are not accepted.
pub(crate) fn signature_algorithm(
    identifier: &AlgorithmIdentifier<'_>,
) -> Option<SignatureAlgorithm> {
    let oid = &identifier.algorithm;
    [
        (
            oid::OID_SIG_ECDSA_WITH_SHA256,
            SignatureAlgorithm::EcdsaSha256,
        ),
        (
            oid::OID_SIG_ECDSA_WITH_SHA384,
            SignatureAlgorithm::EcdsaSha384,
        ),
        (
            oid::OID_PKCS1_SHA256WITHRSA,
            SignatureAlgorithm::RsaPkcs1Sha256,
        ),
        (
            oid::OID_PKCS1_SHA384WITHRSA,
            SignatureAlgorithm::RsaPkcs1Sha384,
        ),
        (
            oid::OID_PKCS1_SHA512WITHRSA,
            SignatureAlgorithm::RsaPkcs1Sha512,
        ),
        (oid::OID_SIG_ED25519, SignatureAlgorithm::Ed25519),
    ]
    .into_iter()
    .find_map(|(known, algorithm)| (known == *oid).then_some(algorithm))
}

/// Looks at what is asked for, and gives the DNS names among it.
type Wishes = fn(&X509CertificationRequest<'_>) -> Result<Vec<String>, CsrError>;

/// Longest CSR looked at, in bytes of PEM or DER; an RSA-8192 request with names stays below half.
pub const MAX_CSR_BYTES: usize = 16 * 1024;
/// Shortest RSA modulus certified, in bits.
pub const MIN_RSA_BITS: usize = 2048;
/// Longest RSA modulus certified, in bits; a longer one only costs its verifiers time.
pub const MAX_RSA_BITS: usize = 8192;
/// Most names a CSR may ask for. Few or none of them count; a flood of them is a probe.
pub const MAX_NAMES: usize = 16;
/// ecdsa-with-SHA1 (RFC 3279 §2.2.3).
const ECDSA_WITH_SHA1: &str = "1.2.840.10045.4.1";
