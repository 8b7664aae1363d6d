//! The certificates of cases: read from a file, or made as the case describes them.

use std::path::PathBuf;

use identity::x509::{MAX_ISSUER_PEM_BYTES, SvidError, SvidProfile, X509Svid};
use identity::{UnixTime, pem};
use policy::PeerFault;
use serde::Deserialize;

pub use self::mint::Mint;

mod mint;

/// How a test file describes a certificate: the fields of a corpus file ([`policy::corpus::CaseCertificate`]), and
/// `file`, `id`, `uris`, `dns` and more kinds of keys. With `file` nothing else may be said.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CertificateSpec {
    /// A PEM file with the certificate, leaf first; relative to the test file.
    pub file: Option<PathBuf>,
    /// The SPIFFE ID; the case's `peer` if left out.
    pub id: Option<String>,
    /// More URI names. A good X509-SVID has none.
    pub uris: Vec<String>,
    /// DNS names.
    pub dns: Vec<String>,
    /// Kind and size of its key.
    pub key: KeyKind,
    /// Serial number, two hexadecimal digits for each byte; random if left out.
    pub serial: Option<String>,
    /// Common name of the authority that signed it.
    pub issuer_common_name: Option<String>,
    /// Seconds since notBefore; a minute if left out.
    pub age_seconds: Option<i64>,
    /// Seconds until notAfter, negative if it has passed; an hour if left out.
    pub remaining_seconds: Option<i64>,
    /// extendedKeyUsage as dotted OIDs, or `serverAuth`, `clientAuth`: both if left out; an empty list means no such
    /// extension.
    pub extended_key_usages: Option<Vec<String>>,
    /// certificatePolicies as dotted OIDs.
    pub policy_oids: Vec<String>,
}

/// Keys that certificates can be made with.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
pub enum KeyKind {
    /// An elliptic curve of 256 bits.
    #[default]
    #[serde(rename = "EC-256")]
    Ec256,
    /// An elliptic curve of 384 bits.
    #[serde(rename = "EC-384")]
    Ec384,
    /// Ed25519.
    Ed25519,
    /// RSA with 2,048 bits.
    #[serde(rename = "RSA-2048")]
    Rsa2048,
    /// RSA with 3,072 bits.
    #[serde(rename = "RSA-3072")]
    Rsa3072,
    /// RSA with 4,096 bits.
    #[serde(rename = "RSA-4096")]
    Rsa4096,
}

/// A certificate as a peer shows it, and what the checks of it say.
#[derive(Clone, Debug)]
pub struct Presented {
    /// The certificate, PEM.
    pub pem: String,
    /// The certificate, DER.
    pub der: Vec<u8>,
    /// Its facts, or why it proves nothing.
    pub checked: Result<X509Svid, PeerFault>,
    /// When it is judged.
    pub at: UnixTime,
}

/// Why a certificate of a test file cannot be had.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The file holds no certificate.
    #[error("holds no certificate: {source}")]
    NotPem {
        /// What is wrong with its text.
        source: pem::PemError,
    },
    /// `file` beside fields that describe a certificate.
    #[error("file cannot be combined with other fields")]
    FileAndMore,
    /// A value a certificate cannot have.
    #[error("{value:?} is not {expected}")]
    BadValue {
        /// The value.
        value: String,
        /// What is expected.
        expected: &'static str,
    },
    /// The certificate could not be made.
    #[error("the certificate cannot be made: {problem}")]
    NotMade {
        /// What the library said.
        problem: String,
    },
}

impl CertificateSpec {
    /// A good X509-SVID of this SPIFFE ID.
    #[must_use]
    pub fn of(id: &str) -> Self {
        Self {
            id: Some(id.to_owned()),
            ..Self::default()
        }
    }

    /// Whether it says nothing but where the file is.
    pub(super) fn is_file_only(&self) -> bool {
        let rest = Self {
            file: None,
            ..self.clone()
        };
        rest == Self::default()
    }
}

impl Presented {
    /// A certificate of a PEM text, leaf first.
    ///
    /// # Errors
    /// There is none in it. One that fails its checks is no error.
    pub fn from_pem(
        text: &str,
        profile: SvidProfile,
        now: Option<UnixTime>,
    ) -> Result<Self, CertificateError> {
        let blocks = pem::blocks(text, pem::CERTIFICATE, MAX_ISSUER_PEM_BYTES)
            .map_err(|source| CertificateError::NotPem { source })?;
        let der = blocks.into_iter().next().unwrap_or_default();
        // The leaf alone, as a proxy shows it.
        let end = "-----END CERTIFICATE-----\n";
        let pem = text.split_inclusive(end).next().unwrap_or(text).to_owned();
        Ok(Self::of(pem, der, profile, now))
    }

    fn of(pem: String, der: Vec<u8>, profile: SvidProfile, now: Option<UnixTime>) -> Self {
        let parsed = X509Svid::parse(&der, profile);
        // Without a time, a certificate is looked at a minute after it became valid, whatever the year is.
        let fresh = parsed
            .as_ref()
            .ok()
            .and_then(|svid| svid.validity().not_before.plus_secs(60));
        let at = now.or(fresh).unwrap_or(UnixTime::from_secs(0));
        let checked = parsed.and_then(|svid| svid.check_time(at).map(|()| svid));
        Self {
            pem,
            der,
            checked: checked.map_err(|error| fault(&error)),
            at,
        }
    }
}

/// As the filter reports it.
fn fault(error: &SvidError) -> PeerFault {
    PeerFault::Svid {
        code: error.code(),
        detail: error.to_string(),
    }
}
