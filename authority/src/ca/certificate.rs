//! A CA certificate with the facts the authority needs from it.

use std::fs;
use std::path::Path;

use identity::pem;
use identity::{TrustDomain, UnixTime};
use x509_parser::prelude::{FromDer as _, GeneralName, ParsedExtension, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::X509Name;

use crate::ca::CaError;
use crate::ca::path::Limits;
use crate::crypto::{EcCurve, sha256_hex};

/// A CA certificate. The facts are read once and kept beside the DER.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CaCertificate {
    der: Vec<u8>,
    pem: String,
    subject: String,
    subject_der: Vec<u8>,
    serial: String,
    sha256: String,
    not_before: UnixTime,
    not_after: UnixTime,
    spki_der: Vec<u8>,
    public_key: Vec<u8>,
    key_id: Vec<u8>,
    limits: Limits,
    signs_crls: bool,
    weakness: Option<Weakness>,
}

/// What makes a CA certificate too weak to take over from somebody.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Weakness {
    /// Signed with a digest that can be forged.
    Digest {
        /// Its name: MD5, SHA-1 …
        name: &'static str,
    },
    /// Signed by an algorithm that is not supported.
    UnknownSignature {
        /// Its object identifier.
        oid: String,
    },
    /// An RSA key that is too short.
    ShortRsa {
        /// Its length, in bits.
        bits: usize,
    },
    /// A key that is neither RSA nor ECDSA on P-256 or P-384.
    UnknownKey {
        /// Its object identifier.
        oid: String,
    },
}

impl std::fmt::Display for Weakness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Digest { name } => write!(f, "it is signed with {name}"),
            Self::UnknownSignature { oid } => {
                write!(f, "it is signed by an unsupported algorithm, {oid}")
            }
            Self::ShortRsa { bits } => {
                write!(f, "its RSA key has {bits} bits, expected 2048 to 8192")
            }
            Self::UnknownKey { oid } => write!(
                f,
                "its key is of an unsupported kind, {oid}; expected RSA, or ECDSA on P-256 or P-384"
            ),
        }
    }
}

impl CaCertificate {
    /// Reads the one certificate in a PEM file.
    ///
    /// # Errors
    /// [`CaError::Io`], or [`CaError::BadCertificate`] if the file does not hold exactly one
    /// certificate with `CA:true`, `keyCertSign` and a subject key identifier.
    pub fn read(path: &Path) -> Result<Self, CaError> {
        let text = fs::read_to_string(path).map_err(|source| CaError::Io {
            action: "read",
            path: path.to_owned(),
            source,
        })?;
        let bad = |problem| CaError::BadCertificate {
            path: path.to_owned(),
            problem,
        };
        let der = pem::single(&text, pem::CERTIFICATE, MAX_PEM_BYTES)
            .map_err(|_bad| bad("it is not one PEM certificate"))?;
        Self::from_der(der).map_err(bad)
    }

    /// Reads all certificates of a PEM file, at most eight.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_all(path: &Path) -> Result<Vec<Self>, CaError> {
        let text = fs::read_to_string(path).map_err(|source| CaError::Io {
            action: "read",
            path: path.to_owned(),
            source,
        })?;
        Self::all_from_pem(&text).map_err(|problem| CaError::BadCertificate {
            path: path.to_owned(),
            problem,
        })
    }

    /// All certificates of a PEM text; on refusal says what is wrong with it.
    pub(crate) fn all_from_pem(text: &str) -> Result<Vec<Self>, &'static str> {
        let ders = pem::blocks(text, pem::CERTIFICATE, MAX_PEM_BYTES)
            .map_err(|_bad| "it is not PEM certificates and nothing else")?;
        if ders.len() > MAX_CHAIN {
            return Err("it holds more than eight certificates");
        }
        ders.into_iter().map(Self::from_der).collect()
    }

    /// Parses a DER certificate; on refusal says what is wrong with it.
    pub(crate) fn from_der(der: Vec<u8>) -> Result<Self, &'static str> {
        let (rest, certificate) = X509Certificate::from_der(&der)
            .map_err(|_malformed| "it is not an X.509 certificate")?;
        if !rest.is_empty() {
            return Err("bytes follow the certificate");
        }
        let key_id = ca_key_id(&certificate)?;
        let limits = Limits::of(&certificate)?;
        let signs_crls = certificate
            .key_usage()
            .is_ok_and(|usage| usage.is_some_and(|usage| usage.value.crl_sign()));
        let weakness = weakness(&certificate);
        let validity = certificate.validity();
        let pem = pem::encode(&der, pem::CERTIFICATE);
        Ok(Self {
            pem,
            subject: rfc4514(certificate.subject()),
            subject_der: certificate.subject().as_raw().to_vec(),
            serial: hex::encode(certificate.raw_serial()),
            sha256: sha256_hex(&der),
            not_before: UnixTime::from_secs(validity.not_before.timestamp()),
            not_after: UnixTime::from_secs(validity.not_after.timestamp()),
            spki_der: certificate.public_key().raw.to_vec(),
            public_key: certificate.public_key().subject_public_key.data.to_vec(),
            key_id,
            limits,
            signs_crls,
            weakness,
            der,
        })
    }

    /// The certificate, DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The trust domain of its SPIFFE ID (X509-SVID §4.2); `None` if it has none.
    #[must_use]
    pub fn trust_domain(&self) -> Option<TrustDomain> {
        let (_, parsed) = X509Certificate::from_der(&self.der).ok()?;
        let names = parsed.subject_alternative_name().ok()??;
        let mut uris = names
            .value
            .general_names
            .iter()
            .filter_map(|name| match name {
                GeneralName::URI(uri) => uri.strip_prefix("spiffe://"),
                _ => None,
            });
        uris.next()?.parse().ok()
    }

    /// What it lets certificates below it be.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Other name constraints than it has.
    #[cfg(test)]
    pub(crate) fn set_constraints(
        &mut self,
        permitted: Vec<crate::ca::NameConstraint>,
        excluded: Vec<crate::ca::NameConstraint>,
    ) {
        self.limits.permitted = permitted;
        self.limits.excluded = excluded;
    }

    /// Whether its key usage has cRLSign.
    #[must_use]
    pub const fn signs_crls(&self) -> bool {
        self.signs_crls
    }

    /// What makes it too weak to be imported; `None` if nothing does.
    #[must_use]
    pub const fn weakness(&self) -> Option<&Weakness> {
        self.weakness.as_ref()
    }

    /// The certificate, one PEM block with a newline at its end.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The subject, RFC 4514 text.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The subject, DER, as leaves must carry it as issuer.
    #[must_use]
    pub fn subject_der(&self) -> &[u8] {
        &self.subject_der
    }

    /// The serial number, lower-case hex.
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// SHA-256 of the DER, lower-case hex.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// First second of validity.
    #[must_use]
    pub const fn not_before(&self) -> UnixTime {
        self.not_before
    }

    /// Last second of validity.
    #[must_use]
    pub const fn not_after(&self) -> UnixTime {
        self.not_after
    }

    /// The SubjectPublicKeyInfo, DER.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    /// The public key, as the bit string of the SubjectPublicKeyInfo holds it.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// The subject key identifier (RFC 5280 §4.2.1.2).
    #[must_use]
    pub fn key_id(&self) -> &[u8] {
        &self.key_id
    }
}

/// The subject key identifier of a certificate that may sign others.
fn ca_key_id(certificate: &X509Certificate<'_>) -> Result<Vec<u8>, &'static str> {
    let constraints = certificate
        .basic_constraints()
        .map_err(|_malformed| "its basic constraints are malformed")?
        .ok_or("it has no basic constraints")?;
    if !constraints.value.ca {
        return Err("its basic constraints say CA:false");
    }
    let usage = certificate
        .key_usage()
        .map_err(|_malformed| "its key usage is malformed")?
        .ok_or("it has no key usage")?;
    if !usage.value.key_cert_sign() {
        return Err("its key usage lacks keyCertSign");
    }
    let ids: Vec<_> = certificate
        .extensions()
        .iter()
        .filter_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        })
        .collect();
    match <[Vec<u8>; 1]>::try_from(ids) {
        Ok([id]) if !id.is_empty() => Ok(id),
        _ => Err("it has no subject key identifier"),
    }
}

/// Of signature and key what is too weak or not supported.
fn weakness(certificate: &X509Certificate<'_>) -> Option<Weakness> {
    let algorithm = &certificate.signature_algorithm;
    let text = algorithm.algorithm.to_id_string();
    if let Some((_, name)) = WEAK_SIGNATURES.iter().find(|(weak, _)| *weak == text) {
        return Some(Weakness::Digest { name });
    }
    if crate::issue::csr::signature_algorithm(algorithm).is_none() {
        return Some(Weakness::UnknownSignature { oid: text });
    }
    let key = certificate.public_key();
    if let Ok(PublicKey::RSA(rsa)) = key.parsed() {
        let bits = rsa.modulus.iter().skip_while(|octet| **octet == 0).count() * 8;
        return (!(2048..=8192).contains(&bits)).then_some(Weakness::ShortRsa { bits });
    }
    EcCurve::of(key).is_none().then(|| Weakness::UnknownKey {
        oid: key.algorithm.algorithm.to_id_string(),
    })
}

/// A name as RFC 4514 writes it: last relative name first, joined with commas.
fn rfc4514(name: &X509Name<'_>) -> String {
    let mut parts: Vec<String> = name
        .iter_rdn()
        .map(|rdn| {
            let attributes: Vec<String> = rdn
                .iter()
                .map(|attribute| {
                    let oid = attribute.attr_type();
                    let key =
                        x509_parser::objects::oid2abbrev(oid, x509_parser::objects::oid_registry())
                            .map_or_else(|_unknown| oid.to_id_string(), str::to_owned);
                    format!("{key}={}", escape(attribute.as_str().unwrap_or("?")))
                })
                .collect();
            attributes.join("+")
        })
        .collect();
    parts.reverse();
    parts.join(",")
}

/// Escapes what RFC 4514 §2.4 says must be escaped within a value.
fn escape(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        if matches!(c, '"' | '+' | ',' | ';' | '<' | '>' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

/// Signature algorithms with a digest that can be forged, or is too short.
const WEAK_SIGNATURES: [(&str, &str); 9] = [
    ("1.2.840.113549.1.1.2", "MD2"),
    ("1.2.840.113549.1.1.3", "MD4"),
    ("1.2.840.113549.1.1.4", "MD5"),
    ("1.3.14.3.2.25", "MD5"),
    ("1.2.840.113549.1.1.5", "SHA-1"),
    ("1.3.14.3.2.29", "SHA-1"),
    ("1.2.840.10045.4.1", "SHA-1"),
    ("1.2.840.113549.1.1.14", "SHA-224"),
    ("1.2.840.10045.4.3.1", "SHA-224"),
];
/// Most CA certificates in one file.
pub(crate) const MAX_CHAIN: usize = 8;
/// Far beyond any certificate; keeps a wrong file from being read as one.
const MAX_PEM_BYTES: usize = 64 * 1024;
