//! Why a certificate is refused.

use crate::pem::PemError;
use crate::x509::{MAX_EXTENSIONS, MAX_ID_BYTES, MAX_SERIAL_BYTES};
use crate::{SpiffeIdError, UnixTime};

/// Why a certificate is no X509-SVID, or not one to trust now.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SvidError {
    /// Not the PEM of one certificate.
    #[error("certificate is not PEM")]
    Pem(#[source] PemError),
    /// Not the DER of an X.509 v3 certificate (RFC 5280 §4.1).
    #[error(transparent)]
    Encoding(#[from] EncodingError),
    /// An extension is malformed, repeated or not understood (RFC 5280 §4.2).
    #[error(transparent)]
    Extension(#[from] ExtensionError),
    /// The subject alternative name is not one SPIFFE ID (X509-SVID §2).
    #[error(transparent)]
    Name(#[from] NameError),
    /// The key may not be used as a leaf's (X509-SVID §4).
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// Now is before notBefore.
    #[error("certificate is not valid before {not_before}, now is {now}")]
    NotYetValid {
        /// First second of validity.
        not_before: UnixTime,
        /// The time given.
        now: UnixTime,
    },
    /// Now is after notAfter.
    #[error("certificate expired after {not_after}, now is {now}")]
    Expired {
        /// Last second of validity.
        not_after: UnixTime,
        /// The time given.
        now: UnixTime,
    },
    /// No issuer given made the signature.
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

impl SvidError {
    /// A stable name for logs and metrics, in snake case.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Pem(_) => "not_pem",
            Self::Encoding(error) => error.code(),
            Self::Extension(error) => error.code(),
            Self::Name(error) => error.code(),
            Self::Usage(error) => error.code(),
            Self::NotYetValid { .. } => "not_yet_valid",
            Self::Expired { .. } => "expired",
            Self::Signature(error) => error.code(),
        }
    }
}

/// Why bytes are not the DER of one X.509 v3 certificate.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodingError {
    /// Longer than the limit.
    #[error("certificate is {len} bytes, limit is {max}")]
    TooLarge {
        /// Length found, in bytes.
        len: usize,
        /// The limit, in bytes.
        max: usize,
    },
    /// A part of the signed part is missing or malformed.
    #[error("a field of the certificate is malformed")]
    NotCertificate,
    /// Bytes after the certificate.
    #[error("{count} bytes after the certificate")]
    TrailingBytes {
        /// How many.
        count: usize,
    },
    /// The bytes are no certificate in DER. Parts outside the signed part are held to it strictly:
    /// whoever holds a certificate could rewrite them in BER, and thereby change its SHA-256,
    /// without breaking the signature.
    #[error("bytes are not a certificate in DER")]
    NotDer,
    /// The algorithm named beside the signature is not the one under it (RFC 5280 §4.1.1.2).
    #[error("signature algorithm inside and outside the signed part differ")]
    AlgorithmMismatch,
    /// Not version 3 (RFC 5280 §4.1.2.1).
    #[error("certificate version is {found}, expected 3")]
    NotVersion3 {
        /// The version found, counted from 1.
        found: u64,
    },
    /// The serial number is zero or negative, or longer than the limit (RFC 5280 §4.1.2.2).
    #[error("serial number is not a positive integer of at most {MAX_SERIAL_BYTES} bytes")]
    BadSerial,
    /// notAfter is before notBefore.
    #[error("validity ends at {not_after}, before it begins at {not_before}")]
    InvertedValidity {
        /// First second of validity.
        not_before: UnixTime,
        /// Last second of validity.
        not_after: UnixTime,
    },
}

impl EncodingError {
    /// A stable name for logs and metrics, in snake case.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "certificate_too_large",
            Self::NotCertificate => "not_certificate",
            Self::TrailingBytes { .. } => "trailing_bytes",
            Self::NotDer => "not_der",
            Self::AlgorithmMismatch => "algorithm_mismatch",
            Self::NotVersion3 { .. } => "not_version_3",
            Self::BadSerial => "bad_serial",
            Self::InvertedValidity { .. } => "inverted_validity",
        }
    }
}

/// What is wrong with an extension. OIDs are in dotted form.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ExtensionError {
    /// More extensions than the limit.
    #[error("certificate has {found} extensions, limit is {MAX_EXTENSIONS}")]
    TooMany {
        /// How many.
        found: usize,
    },
    /// The extension's content is not what its OID says, or is followed by more bytes.
    #[error("extension {oid} is malformed")]
    Malformed {
        /// The extension.
        oid: String,
    },
    /// The same extension twice.
    #[error("extension {oid} appears more than once")]
    Duplicate {
        /// The extension.
        oid: String,
    },
    /// Critical, and none of the extensions understood here (RFC 5280 §4.2).
    #[error("critical extension {oid} is not understood")]
    UnknownCritical {
        /// The extension.
        oid: String,
    },
}

impl ExtensionError {
    /// A stable name for logs and metrics, in snake case.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooMany { .. } => "too_many_extensions",
            Self::Malformed { .. } => "malformed_extension",
            Self::Duplicate { .. } => "duplicate_extension",
            Self::UnknownCritical { .. } => "unknown_critical_extension",
        }
    }
}

/// Why the subject alternative name does not name one workload.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// No subject alternative name extension.
    #[error("certificate has no subject alternative name")]
    NoSan,
    /// An entry of the subject alternative name is malformed.
    #[error("subject alternative name has a malformed entry")]
    MalformedEntry,
    /// No URI among the names.
    #[error("certificate has no URI name")]
    NoUri,
    /// More than one URI (X509-SVID §2: "MUST contain exactly one URI SAN").
    #[error("certificate has {found} URI names, expected one")]
    SeveralUris {
        /// How many.
        found: usize,
    },
    /// The subject is empty and the subject alternative name is not critical (RFC 5280 §4.2.1.6).
    #[error("subject is empty and the subject alternative name is not critical")]
    SanNotCritical,
    /// The URI is longer than a SPIFFE ID may be (SPIFFE-ID §2.3).
    #[error("URI name is {len} bytes, limit is {MAX_ID_BYTES}")]
    IdTooLong {
        /// Length found, in bytes.
        len: usize,
    },
    /// The URI is no SPIFFE ID.
    #[error("URI name is not a SPIFFE ID")]
    InvalidId(#[source] SpiffeIdError),
    /// The URI is a SPIFFE ID written with upper-case letters in scheme or trust domain: another
    /// checker that compares text would see another name.
    #[error("SPIFFE ID has upper-case letters in its scheme or trust domain")]
    NotCanonical,
    /// The SPIFFE ID is a trust domain's own, which only signing certificates carry (X509-SVID §2).
    #[error("SPIFFE ID of a leaf has no path")]
    RootPath,
}

impl NameError {
    /// A stable name for logs and metrics, in snake case.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoSan => "no_san",
            Self::MalformedEntry => "malformed_san",
            Self::NoUri => "no_uri_san",
            Self::SeveralUris { .. } => "two_uri_sans",
            Self::SanNotCritical => "san_not_critical",
            Self::IdTooLong { .. } => "spiffe_id_too_long",
            Self::InvalidId(_) => "invalid_spiffe_id",
            Self::NotCanonical => "spiffe_id_not_canonical",
            Self::RootPath => "root_path",
        }
    }
}

/// Why the certificate's key may not be used as a leaf's.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UsageError {
    /// basicConstraints has `cA` set (X509-SVID §4.1, §5.2).
    #[error("certificate is a signing certificate (cA is set)")]
    CertificateAuthority,
    /// No basicConstraints (X509-SVID §5.2: the leaf's `cA` field "MUST be set to false").
    #[error("certificate has no basic constraints")]
    BasicConstraintsMissing,
    /// No keyUsage (X509-SVID §4.3).
    #[error("certificate has no key usage")]
    KeyUsageMissing,
    /// keyUsage is not critical (X509-SVID §4.3).
    #[error("key usage is not critical")]
    KeyUsageNotCritical,
    /// keyUsage lacks digitalSignature (X509-SVID §4.3).
    #[error("key usage lacks digitalSignature")]
    NoDigitalSignature,
    /// keyUsage has keyCertSign (X509-SVID §4.3, §5.2).
    #[error("key usage has keyCertSign")]
    KeyCertSign,
    /// keyUsage has cRLSign (X509-SVID §4.3, §5.2).
    #[error("key usage has cRLSign")]
    CrlSign,
    /// extendedKeyUsage is present without serverAuth (X509-SVID §4.4).
    #[error("extended key usage lacks serverAuth")]
    NoServerAuth,
    /// extendedKeyUsage is present without clientAuth (X509-SVID §4.4).
    #[error("extended key usage lacks clientAuth")]
    NoClientAuth,
    /// extendedKeyUsage is present with neither serverAuth nor clientAuth.
    #[error("extended key usage has neither serverAuth nor clientAuth")]
    NoTlsAuth,
}

impl UsageError {
    /// A stable name for logs and metrics, in snake case.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::CertificateAuthority => "certificate_authority",
            Self::BasicConstraintsMissing => "no_basic_constraints",
            Self::KeyUsageMissing => "no_key_usage",
            Self::KeyUsageNotCritical => "key_usage_not_critical",
            Self::NoDigitalSignature => "no_digital_signature",
            Self::KeyCertSign => "key_cert_sign",
            Self::CrlSign => "crl_sign",
            Self::NoServerAuth => "no_server_auth",
            Self::NoClientAuth => "no_client_auth",
            Self::NoTlsAuth => "no_tls_auth",
        }
    }
}

/// Why a leaf's signature is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// None of the algorithms of [`crate::x509::SignatureAlgorithm`], or its parameters differ.
    #[error("signature algorithm is not supported")]
    UnsupportedAlgorithm,
    /// The signature is not in the one form its algorithm allows.
    #[error("signature is malformed")]
    Malformed,
    /// No issuer keys were given: the trust domain is not trusted.
    #[error("no issuer is trusted for this trust domain")]
    NoIssuers,
    /// No issuer key given made this signature.
    #[error("no trusted issuer made the signature")]
    UnknownIssuer,
}

impl SignatureError {
    /// A stable name for logs and metrics, in snake case.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnsupportedAlgorithm => "unsupported_signature_algorithm",
            Self::Malformed => "malformed_signature",
            Self::NoIssuers => "untrusted_domain",
            Self::UnknownIssuer => "unknown_issuer",
        }
    }
}

/// Why an issuer certificate or key of the configuration is refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum IssuerError {
    /// Not PEM of certificates.
    #[error("issuer certificates are not PEM")]
    Pem(#[source] PemError),
    /// Not an X.509 certificate.
    #[error("issuer is not a certificate")]
    Encoding(#[source] EncodingError),
    /// An extension of the certificate is malformed or repeated.
    #[error("issuer certificate has a bad extension")]
    Extension(#[source] ExtensionError),
    /// basicConstraints lacks `cA` (RFC 5280 §4.2.1.9).
    #[error("issuer is not a signing certificate (cA is not set)")]
    NotAuthority,
    /// keyUsage is present without keyCertSign (RFC 5280 §4.2.1.3).
    #[error("issuer's key usage lacks keyCertSign")]
    NoKeyCertSign,
    /// The key is not ECDSA on P-256 or P-384, RSA of 2048 to 8192 bits, or Ed25519.
    #[error("issuer key is not P-256, P-384, RSA of 2048 to 8192 bits or Ed25519")]
    UnsupportedKey,
}
