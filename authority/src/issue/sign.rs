//! From a grant to a certificate: the to-be-signed bytes are built and checked first; the signature
//! is the one effect.

use std::cell::RefCell;
use std::sync::Arc;

use identity::x509::Validity;
use identity::{SpiffeId, UnixTime, pem};
use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer as RcgenIssuer,
    KeyUsagePurpose, PublicKeyData, SanType, SigningKey, SubjectPublicKeyInfo,
};
use rustls::pki_types::CertificateDer;
use time::OffsetDateTime;

use crate::ca::path::{self, PathError};
use crate::ca::{CaCertificate, CaKey, CaKeyError, CertificateAuthority, Custody};
use crate::crypto::sha256_hex;
use crate::issue::csr::KeyType;
use crate::issue::grant::{Grant, Purpose};
use crate::issue::lint::{self, ChainFacts, LintError};
use crate::issue::profile::{self, ProfileError};
use crate::issue::serial::SerialNumber;

/// Signs what was granted.
#[derive(Clone, Debug)]
pub struct Issuer {
    root: CaCertificate,
    certificate: CaCertificate,
    upper: Vec<CaCertificate>,
    key: Arc<dyn CaKey>,
    root_custody: Custody,
    chain_facts: Arc<ChainFacts>,
}

/// A signed certificate and its facts. It is worth nothing until it has been recorded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IssuedSvid {
    /// The certificate, DER.
    pub der: Vec<u8>,
    /// SHA-256 of the DER, lower-case hex.
    pub sha256: String,
    /// Its serial number.
    pub serial: SerialNumber,
    /// The identity certified.
    pub spiffe_id: SpiffeId,
    /// SHA-256 of the issuer's certificate, lower-case hex.
    pub issuer_sha256: String,
    /// Kind of the certified key.
    pub key_type: KeyType,
    /// SHA-256 of the SubjectPublicKeyInfo, lower-case hex.
    pub spki_sha256: String,
    /// First second of validity.
    pub not_before: UnixTime,
    /// Last second of validity.
    pub not_after: UnixTime,
    /// The registration entry it lives on.
    pub entry_id: Option<String>,
}

/// Why a grant could not be signed. Never the caller's fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The bytes to sign cannot be built.
    #[error("cannot build the certificate")]
    Build(#[source] rcgen::Error),
    /// A date outside the calendar.
    #[error("{0} is not a date a certificate can hold")]
    BadDate(UnixTime),
    /// What was built is not what was granted; nothing was signed.
    #[error("the certificate to sign breaks our own profile")]
    Profile(#[source] ProfileError),
    /// What was granted would not validate; nothing was signed.
    #[error("the certificate would not validate")]
    Path(#[source] PathError),
    /// What was built breaks a lint; nothing was signed.
    #[error("the certificate to sign breaks a lint")]
    Lint(#[source] LintError),
    /// The issuer's certificate has expired.
    #[error("the issuing certificate expired at {not_after}")]
    IssuerExpired {
        /// Last second of its validity.
        not_after: UnixTime,
    },
    /// The key gave no signature.
    #[error("the CA key gave no signature")]
    Key(#[source] CaKeyError),
}

impl Issuer {
    /// An issuer that signs with the intermediate of `authority`.
    #[must_use]
    pub fn new(authority: CertificateAuthority) -> Self {
        let chain: Vec<&CaCertificate> = std::iter::once(&authority.intermediate)
            .chain(&authority.upper)
            .chain([&authority.root])
            .collect();
        let chain_facts = ChainFacts::read(&chain);
        Self {
            chain_facts: Arc::new(chain_facts),
            root: authority.root,
            certificate: authority.intermediate,
            upper: authority.upper,
            key: authority.key,
            root_custody: authority.root_custody,
        }
    }

    /// The trust anchor.
    #[must_use]
    pub const fn root(&self) -> &CaCertificate {
        &self.root
    }

    /// The certificate that signs.
    #[must_use]
    pub const fn certificate(&self) -> &CaCertificate {
        &self.certificate
    }

    /// All CAs, the one that signs first, the root last.
    #[must_use]
    pub fn cas(&self) -> Vec<&CaCertificate> {
        std::iter::once(&self.certificate)
            .chain(&self.upper)
            .chain(std::iter::once(&self.root))
            .collect()
    }

    /// Where the key that signs is kept.
    #[must_use]
    pub fn custody(&self) -> Custody {
        self.key.custody()
    }

    /// Where the root's key is kept.
    #[must_use]
    pub const fn root_custody(&self) -> &Custody {
        &self.root_custody
    }

    /// When what it signs can be valid: no CA above it ends sooner.
    #[must_use]
    pub fn validity(&self) -> Validity {
        path::validity(&self.cas()).unwrap_or_else(|| Validity {
            not_before: self.certificate.not_before(),
            not_after: self.certificate.not_after(),
        })
    }

    /// The chain of a leaf as Istio answers it: one PEM certificate an element, leaf first, then
    /// the intermediates; the last element is the whole root bundle.
    #[must_use]
    pub fn chain(&self, leaf_der: &[u8]) -> Vec<String> {
        let leaf = pem::encode(leaf_der, pem::CERTIFICATE);
        let cas = self.cas().into_iter().map(|ca| ca.pem().to_owned());
        std::iter::once(leaf).chain(cas).collect()
    }

    /// Signs.
    ///
    /// # Errors
    /// [`SignError`]; nothing is signed that breaks our own profile.
    pub async fn issue(
        &self,
        grant: Grant,
        serial: SerialNumber,
        now: UnixTime,
    ) -> Result<IssuedSvid, SignError> {
        if now > self.certificate.not_after() {
            return Err(SignError::IssuerExpired {
                not_after: self.certificate.not_after(),
            });
        }
        self.check_path(&grant, now).map_err(SignError::Path)?;
        let tbs = self.to_be_signed(&grant, serial)?;
        let algorithm = self.key.algorithm().signature_identifier();
        // The signature's place is filled with one that verifies nowhere, so that the very bytes
        // that will be signed can be parsed and checked before the key is used.
        let signature =
            lint::rehearsal_signature(self.key.algorithm()).map_err(SignError::Build)?;
        let rehearsal = assemble(&tbs, algorithm, &signature);
        profile::check(&rehearsal, &grant, serial, &self.certificate)
            .map_err(SignError::Profile)?;
        lint::check(&rehearsal, grant.purpose, &self.chain_facts).map_err(SignError::Lint)?;
        let signature = self.key.sign(&tbs).await.map_err(SignError::Key)?;
        let der = assemble(&tbs, algorithm, &signature);
        Ok(IssuedSvid {
            sha256: sha256_hex(&der),
            der,
            serial,
            issuer_sha256: self.certificate.sha256().to_owned(),
            key_type: grant.csr.key_type(),
            spki_sha256: grant.csr.spki_sha256().to_owned(),
            not_before: grant.not_before,
            not_after: grant.not_after,
            spiffe_id: grant.spiffe_id,
            entry_id: grant.entry_id,
        })
    }

    /// Whether what was granted would validate under every CA above it.
    fn check_path(&self, grant: &Grant, now: UnixTime) -> Result<(), PathError> {
        let id = grant.spiffe_id.to_string();
        let candidate = path::Candidate {
            uris: vec![&id],
            dns: grant.server_names.dns.iter().map(String::as_str).collect(),
            ips: grant.server_names.ip.clone(),
            ca: None,
            not_before: grant.not_before,
            not_after: grant.not_after,
        };
        path::check(&self.cas(), &candidate, now)
    }

    fn to_be_signed(&self, grant: &Grant, serial: SerialNumber) -> Result<Vec<u8>, SignError> {
        let params = leaf_params(grant, serial)?;
        let subject =
            SubjectPublicKeyInfo::from_der(grant.csr.spki_der()).map_err(SignError::Build)?;
        let recorder = Recorder {
            public_key: self.certificate.public_key(),
            algorithm: self.key.algorithm().rcgen(),
            message: RefCell::default(),
        };
        let certificate = CertificateDer::from(self.certificate.der());
        let issuer =
            RcgenIssuer::from_ca_cert_der(&certificate, &recorder).map_err(SignError::Build)?;
        params
            .signed_by(&subject, &issuer)
            .map_err(SignError::Build)?;
        drop(issuer);
        Ok(recorder.message.into_inner())
    }
}

fn leaf_params(grant: &Grant, serial: SerialNumber) -> Result<CertificateParams, SignError> {
    let name = |text: String| text.try_into().map_err(SignError::Build);
    let mut names = vec![SanType::URI(name(grant.spiffe_id.to_string())?)];
    for dns in &grant.server_names.dns {
        names.push(SanType::DnsName(name(dns.clone())?));
    }
    names.extend(
        grant
            .server_names
            .ip
            .iter()
            .copied()
            .map(SanType::IpAddress),
    );

    let mut params = CertificateParams::default();
    // An empty subject is what makes the subject alternative name critical (RFC 5280 §4.2.1.6).
    params.distinguished_name = DistinguishedName::new();
    params.serial_number = Some(rcgen::SerialNumber::from_slice(serial.as_bytes()));
    params.not_before = date(grant.not_before)?;
    params.not_after = date(grant.not_after)?;
    params.subject_alt_names = names;
    // Plain `NoCa` writes no basic constraints at all.
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    // RFC 5280 §4.2.1.12 has keyEncipherment for serverAuth, and not for clientAuth alone.
    params.key_usages = match grant.csr.key_type() {
        KeyType::Rsa { .. } if grant.purpose == Purpose::TlsClient => {
            vec![KeyUsagePurpose::DigitalSignature]
        }
        // RFC 8813 §3: keyEncipherment has no meaning for an EC key and must not be set.
        KeyType::EcdsaP256 | KeyType::EcdsaP384 | KeyType::Ed25519 => {
            vec![KeyUsagePurpose::DigitalSignature]
        }
        KeyType::Rsa { .. } => {
            vec![
                KeyUsagePurpose::DigitalSignature,
                KeyUsagePurpose::KeyEncipherment,
            ]
        }
    };
    params.extended_key_usages = match grant.purpose {
        Purpose::Tls => vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ],
        Purpose::TlsServer => vec![ExtendedKeyUsagePurpose::ServerAuth],
        Purpose::TlsClient => vec![ExtendedKeyUsagePurpose::ClientAuth],
        Purpose::ListSigning => Vec::new(),
    };
    Ok(params)
}

fn date(time: UnixTime) -> Result<OffsetDateTime, SignError> {
    OffsetDateTime::from_unix_timestamp(time.as_secs()).map_err(|_range| SignError::BadDate(time))
}

/// Stands where rcgen wants a signing key, and only keeps what it was asked to sign.
pub(crate) struct Recorder<'a> {
    pub(crate) public_key: &'a [u8],
    pub(crate) algorithm: &'static rcgen::SignatureAlgorithm,
    pub(crate) message: RefCell<Vec<u8>>,
}

impl PublicKeyData for Recorder<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.public_key
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.algorithm
    }
}

impl SigningKey for Recorder<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.message.replace(message.to_vec());
        Ok(Vec::new())
    }
}

/// `Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signatureValue }` (RFC 5280
/// §4.1).
pub(crate) fn assemble(tbs: &[u8], algorithm: &[u8], signature: &[u8]) -> Vec<u8> {
    let mut bits = Vec::with_capacity(signature.len() + 1);
    // No unused bits.
    bits.push(0);
    bits.extend_from_slice(signature);
    let mut body = Vec::with_capacity(tbs.len() + algorithm.len() + bits.len() + 8);
    body.extend_from_slice(tbs);
    body.extend_from_slice(algorithm);
    push_der(&mut body, 0x03, &bits);
    let mut der = Vec::with_capacity(body.len() + 8);
    push_der(&mut der, 0x30, &body);
    der
}

/// Appends one DER value: tag, definite length, content.
pub(crate) fn push_der(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let length: Vec<u8> = content
                .len()
                .to_be_bytes()
                .into_iter()
                .skip_while(|byte| *byte == 0)
                .collect();
            // A usize has at most eight octets, so the count fits.
            out.push(0x80 | u8::try_from(length.len()).unwrap_or(8));
            out.extend_from_slice(&length);
        }
    }
    out.extend_from_slice(content);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_definite_and_shortest() {
        for (length, header) in [
            (0_usize, vec![0x30, 0]),
            (127, vec![0x30, 127]),
            (128, vec![0x30, 0x81, 128]),
            (255, vec![0x30, 0x81, 255]),
            (256, vec![0x30, 0x82, 1, 0]),
            (70_000, vec![0x30, 0x83, 1, 0x11, 0x70]),
        ] {
            let mut out = Vec::new();
            push_der(&mut out, 0x30, &vec![7; length]);
            assert_eq!(out[..header.len()], header);
            assert_eq!(out.len(), header.len() + length);
        }
    }
}
