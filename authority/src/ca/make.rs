//! CA certificates, requests and revocation lists: the bytes to sign, and what becomes of them with
//! a signature. Signing is the one effect and is left to the key, wherever that is.

use std::cell::RefCell;

use identity::{TrustDomain, UnixTime};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension,
    DistinguishedName, DnType, IsCa, Issuer, KeyIdMethod, KeyUsagePurpose, SanType, SerialNumber,
    SubjectPublicKeyInfo,
};
use rustls::pki_types::CertificateDer;
use time::OffsetDateTime;

use crate::ca::key::{CaKey, KeyAlgorithm};
use crate::ca::path::{CaCandidate, Candidate, UriHost, permitted_uris};
use crate::ca::{CaCertificate, CaError};
use crate::crypto::sha256_hex;
use crate::issue::serial::random_serial;
use crate::issue::sign::{Recorder, assemble};

/// What a CA certificate says. Everything in it comes from here, nothing from a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CaProfile {
    /// The trust domain, in the subject alternative name as a SPIFFE ID without path (X509-SVID
    /// §4.2).
    pub trust_domain: TrustDomain,
    /// Organization of the subject, at most 64 characters.
    pub organization: String,
    /// Common name of the subject, at most 64 characters.
    pub common_name: String,
    /// CA certificates that may follow it.
    pub path_length: u8,
    /// First second of its validity.
    pub not_before: UnixTime,
    /// Last second of its validity.
    pub not_after: UnixTime,
    /// Hosts that URI names below it are confined to; none for no constraint. Opt-in: rustls
    /// refuses every certificate below such a CA.
    pub uri_hosts: Vec<UriHost>,
}

/// Bytes to sign.
#[derive(Debug)]
pub(crate) struct Unsigned {
    bytes: Vec<u8>,
    algorithm: KeyAlgorithm,
}

/// Who signs: a certificate, or the key itself.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Signer<'a> {
    /// The CA whose certificate this is.
    Ca(&'a CaCertificate),
    /// The key that is certified.
    Itself,
}

impl CaProfile {
    /// What [`check`](crate::ca::path::check) is to look at.
    pub(crate) fn candidate<'a>(&self, trust_domain_id: &'a str) -> Candidate<'a> {
        Candidate {
            uris: vec![trust_domain_id],
            dns: Vec::new(),
            ips: Vec::new(),
            ca: Some(CaCandidate {
                path_length: Some(self.path_length.into()),
            }),
            not_before: self.not_before,
            not_after: self.not_after,
        }
    }

    fn params(&self) -> Result<CertificateParams, CaError> {
        for (field, text) in [
            ("organization", &self.organization),
            ("common name", &self.common_name),
        ] {
            let found = text.chars().count();
            if found == 0 || found > MAX_NAME_CHARACTERS || text.chars().any(char::is_control) {
                return Err(CaError::BadName {
                    field,
                    found: text.clone(),
                });
            }
        }
        let mut name = DistinguishedName::new();
        name.push(DnType::OrganizationName, &self.organization);
        name.push(DnType::CommonName, &self.common_name);
        let uri = self.trust_domain.id_string();
        let uri = uri.try_into().map_err(failed("CA's trust domain name"))?;
        let mut params = CertificateParams::default();
        params.distinguished_name = name;
        params.not_before = date(self.not_before)?;
        params.not_after = date(self.not_after)?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(self.path_length));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(params)
    }
}

impl Unsigned {
    /// A CA certificate for the public key `subject` (SubjectPublicKeyInfo, DER), to be signed by
    /// `signer` with the key `key`.
    pub(crate) fn certificate(
        profile: &CaProfile,
        subject: &[u8],
        signer: Signer<'_>,
        key: &dyn CaKey,
    ) -> Result<Self, CaError> {
        let mut params = profile.params()?;
        params.serial_number = Some(SerialNumber::from_slice(random_serial()?.as_bytes()));
        if !profile.uri_hosts.is_empty() {
            let value = permitted_uris(&profile.uri_hosts);
            let mut constraints = CustomExtension::from_oid_content(NAME_CONSTRAINTS, value);
            // RFC 5280 §4.2.1.10: conforming CAs MUST mark this extension as critical.
            constraints.set_criticality(true);
            params.custom_extensions.push(constraints);
        }
        let recorder = recorder(key);
        match signer {
            Signer::Itself => {
                params
                    .self_signed(&recorder)
                    .map_err(failed("root certificate"))?;
            }
            Signer::Ca(certificate) => {
                params.use_authority_key_identifier_extension = true;
                let subject = SubjectPublicKeyInfo::from_der(subject)
                    .map_err(failed("intermediate's public key"))?;
                let der = CertificateDer::from(certificate.der());
                let issuer = Issuer::from_ca_cert_der(&der, &recorder)
                    .map_err(failed("intermediate's issuer"))?;
                params
                    .signed_by(&subject, &issuer)
                    .map_err(failed("intermediate certificate"))?;
            }
        }
        Ok(Self::recorded(recorder, key))
    }

    /// A request for a CA certificate, PKCS#10: subject, trust domain, path length and key.
    pub(crate) fn request(profile: &CaProfile, key: &dyn CaKey) -> Result<Self, CaError> {
        let recorder = recorder(key);
        profile
            .params()?
            .serialize_request(&recorder)
            .map_err(failed("certificate request"))?;
        Ok(Self::recorded(recorder, key))
    }

    /// A revocation list of `issuer` that lists nothing.
    pub(crate) fn empty_crl(
        issuer: &CaCertificate,
        key: &dyn CaKey,
        number: u64,
        this_update: UnixTime,
        next_update: UnixTime,
    ) -> Result<Self, CaError> {
        let params = CertificateRevocationListParams {
            this_update: date(this_update)?,
            next_update: date(next_update)?,
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            // The authority key identifier must be what the issuer's certificate carries.
            key_identifier_method: KeyIdMethod::PreSpecified(issuer.key_id().to_vec()),
        };
        let recorder = recorder(key);
        let der = CertificateDer::from(issuer.der());
        let signer = Issuer::from_ca_cert_der(&der, &recorder).map_err(failed("list's issuer"))?;
        params
            .signed_by(&signer)
            .map_err(failed("revocation list"))?;
        drop(signer);
        Ok(Self::recorded(recorder, key))
    }

    fn recorded(recorder: Recorder<'_>, key: &dyn CaKey) -> Self {
        Self {
            bytes: recorder.message.into_inner(),
            algorithm: key.algorithm(),
        }
    }

    /// The bytes to sign.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What they become with their signature, DER.
    pub(crate) fn signed(&self, signature: &[u8]) -> Vec<u8> {
        assemble(
            &self.bytes,
            self.algorithm.signature_identifier(),
            signature,
        )
    }

    /// Signs: DER.
    pub(crate) async fn sign(&self, key: &dyn CaKey) -> Result<Vec<u8>, CaError> {
        let signature = key.sign(&self.bytes).await.map_err(CaError::Sign)?;
        Ok(self.signed(&signature))
    }
}

/// The SubjectPublicKeyInfo of a key, DER.
pub(crate) fn spki(key: &dyn CaKey) -> Vec<u8> {
    use rcgen::PublicKeyData as _;
    recorder(key).subject_public_key_info()
}

fn recorder(key: &dyn CaKey) -> Recorder<'_> {
    Recorder {
        public_key: key.public_key(),
        algorithm: key.algorithm().rcgen(),
        message: RefCell::default(),
    }
}

/// The trust domain as an organization name, which X.520 limits to 64 characters.
pub(crate) fn organization(trust_domain: &TrustDomain) -> String {
    let name = trust_domain.as_str();
    if name.len() <= MAX_NAME_CHARACTERS {
        return name.to_owned();
    }
    let digest = sha256_hex(name.as_bytes());
    let (short, _) = digest.split_at_checked(32).unwrap_or((&digest, ""));
    format!("trust domain sha256 {short}")
}

fn failed(what: &'static str) -> impl FnOnce(rcgen::Error) -> CaError {
    move |source| CaError::Generate { what, source }
}

fn date(time: UnixTime) -> Result<OffsetDateTime, CaError> {
    OffsetDateTime::from_unix_timestamp(time.as_secs()).map_err(|_range| CaError::BadDate { time })
}

/// Longest organization and common name (X.520 ub-organization-name, ub-common-name), characters.
const MAX_NAME_CHARACTERS: usize = 64;
/// id-ce-nameConstraints.
const NAME_CONSTRAINTS: &[u64] = &[2, 5, 29, 30];
