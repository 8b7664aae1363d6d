//! The transcript of a ceremony: JSON that people read, and below it the root's signature over every
//! byte above, as PEM.

use identity::x509::{SignatureAlgorithm, VerifySignature as _};
use identity::{UnixTime, pem};
use serde::{Deserialize, Serialize};
use x509_parser::prelude::{FromDer as _, SubjectPublicKeyInfo};

use crate::ca::key::{CaKey, CaKeyError};
use crate::ca::{CaCertificate, CaError};
use crate::crypto::{AwsLcVerifier, EcCurve, sha256_hex};

/// What was signed, when, for whom, before whose eyes.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Statement {
    /// [`Self::FORMAT`].
    pub format: String,
    /// What signed.
    pub tool: String,
    /// When, by the offline machine's clock, seconds since 1970.
    pub at: UnixTime,
    /// Who was there, as they were named.
    pub witnesses: Vec<String>,
    /// The root's subject.
    pub root_subject: String,
    /// SHA-256 of the root's certificate.
    pub root_sha256: String,
    /// SHA-256 of the request's PEM text, without blanks around it.
    pub request_sha256: String,
    /// SHA-256 of the certified SubjectPublicKeyInfo.
    pub key_sha256: String,
    /// Kind of the certified key.
    pub key_type: String,
    /// The certificate's subject.
    pub subject: String,
    /// Its trust domain, as a SPIFFE ID.
    pub trust_domain: String,
    /// CA certificates that may follow it.
    pub path_length: u8,
    /// First second of its validity.
    pub not_before: UnixTime,
    /// Last second of its validity.
    pub not_after: UnixTime,
    /// Hosts that URI names below it are confined to.
    pub permitted_uri_hosts: Vec<String>,
    /// Its serial number.
    pub serial: String,
    /// SHA-256 of the certificate.
    pub certificate_sha256: String,
}

impl Statement {
    /// Name and version of the format.
    pub const FORMAT: &'static str = "countersign-ceremony/1";

    /// Whether it is about this certificate, root and request.
    ///
    /// # Errors
    /// [`TranscriptError::Differs`].
    pub fn check(
        &self,
        certificate: &CaCertificate,
        root: &CaCertificate,
        csr_pem: &str,
    ) -> Result<(), TranscriptError> {
        let facts = [
            ("root", self.root_sha256 == root.sha256()),
            (
                "certificate",
                self.certificate_sha256 == certificate.sha256(),
            ),
            ("serial number", self.serial == certificate.serial()),
            ("key", self.key_sha256 == sha256_hex(certificate.spki_der())),
            (
                "request",
                self.request_sha256 == sha256_hex(csr_pem.trim().as_bytes()),
            ),
        ];
        match facts.iter().find(|(_, same)| !same) {
            Some((field, _)) => Err(TranscriptError::Differs { field }),
            None => Ok(()),
        }
    }
}

/// Why a transcript is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TranscriptError {
    /// It is none.
    #[error("it is no transcript: {problem}")]
    Malformed {
        /// What is wrong.
        problem: &'static str,
    },
    /// The signature is not the root's over these bytes.
    #[error("it is not signed by the root {root}: it was changed, or the root is another one")]
    BadSignature {
        /// SHA-256 of the root's certificate.
        root: String,
    },
    /// It is about something else.
    #[error("it is about another {field}")]
    Differs {
        /// What differs.
        field: &'static str,
    },
    /// The root's key gave no signature.
    #[error("the root's key gave no signature")]
    Sign(#[source] CaKeyError),
}

/// A transcript whose signature was not looked at yet.
#[derive(Clone, Debug)]
pub struct Transcript {
    text: String,
    signature: Vec<u8>,
}

impl Transcript {
    /// Signs a statement: the text of its file.
    pub(crate) async fn sign(statement: &Statement, key: &dyn CaKey) -> Result<String, CaError> {
        let mut text =
            serde_json::to_string_pretty(statement).map_err(|_json| CaError::BadResult {
                problem: "the transcript has no JSON form",
            })?;
        text.push('\n');
        let signature = key.sign(&message(&text)).await.map_err(CaError::Sign)?;
        text.push_str(&pem::encode(&signature, LABEL));
        Ok(text)
    }

    /// Takes a file apart.
    ///
    /// # Errors
    /// [`TranscriptError::Malformed`].
    pub fn parse(file: &str) -> Result<Self, TranscriptError> {
        let bad = |problem| TranscriptError::Malformed { problem };
        if file.len() > MAX_BYTES {
            return Err(bad("it is larger than 64 KiB"));
        }
        let at = file
            .find(&format!("-----BEGIN {LABEL}-----"))
            .ok_or_else(|| bad("there is no signature in it"))?;
        let (text, signature) = file
            .split_at_checked(at)
            .ok_or_else(|| bad("it is not text"))?;
        let signature = pem::single(signature, LABEL, MAX_BYTES)
            .map_err(|_bad| bad("its signature is not one PEM block at its end"))?;
        Ok(Self {
            text: text.to_owned(),
            signature,
        })
    }

    /// What it says, if the root has signed it.
    ///
    /// # Errors
    /// [`TranscriptError`].
    pub fn verify(&self, root: &CaCertificate) -> Result<Statement, TranscriptError> {
        let bad = || TranscriptError::BadSignature {
            root: root.sha256().to_owned(),
        };
        let algorithm = algorithm(root).ok_or_else(bad)?;
        AwsLcVerifier
            .verify(
                algorithm,
                root.spki_der(),
                &message(&self.text),
                &self.signature,
            )
            .map_err(|_bad| bad())?;
        let statement: Statement =
            serde_json::from_str(&self.text).map_err(|_json| TranscriptError::Malformed {
                problem: "its JSON is not a ceremony's",
            })?;
        if statement.format != Statement::FORMAT {
            return Err(TranscriptError::Malformed {
                problem: "its format is another version",
            });
        }
        if statement.root_sha256 != root.sha256() {
            return Err(TranscriptError::Differs { field: "root" });
        }
        Ok(statement)
    }
}

/// How the key of `root` signs.
fn algorithm(root: &CaCertificate) -> Option<SignatureAlgorithm> {
    let (_, spki) = SubjectPublicKeyInfo::from_der(root.spki_der()).ok()?;
    Some(match EcCurve::of(&spki) {
        Some(EcCurve::P256) => SignatureAlgorithm::EcdsaSha256,
        Some(EcCurve::P384) => SignatureAlgorithm::EcdsaSha384,
        None => SignatureAlgorithm::RsaPkcs1Sha256,
    })
}

/// The bytes that are signed. Certificates, requests and lists begin with a SEQUENCE, this does not:
/// none can be passed off as the other.
fn message(text: &str) -> Vec<u8> {
    [PREFIX, text.as_bytes()].concat()
}

const PREFIX: &[u8] = b"countersign ceremony transcript v1\0";
const LABEL: &str = "COUNTERSIGN TRANSCRIPT SIGNATURE";
const MAX_BYTES: usize = 64 * 1024;
