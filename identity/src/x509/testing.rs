//! Certificates for tests, made in the test at fixed times, each extension written by hand.

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CustomExtension, DistinguishedName, DnType,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SerialNumber, SigningKey as _,
};

use super::der;
use super::{BadSignature, SignatureAlgorithm, VerifySignature};
use crate::UnixTime;

/// 2026-01-01T00:00:00Z.
pub(crate) const NOT_BEFORE: UnixTime = UnixTime::from_secs(1_767_225_600);
/// One minute later.
pub(crate) const NOT_AFTER: UnixTime = UnixTime::from_secs(1_767_225_660);
pub(crate) const HTTPBIN: &str = "spiffe://cluster.local/ns/default/sa/httpbin";

/// aws-lc as the caller's cryptography.
pub(crate) struct AwsLc;

impl VerifySignature for AwsLc {
    fn verify(
        &self,
        algorithm: SignatureAlgorithm,
        spki_der: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        let p384 = spki_der.len() > 100;
        let algorithm: &'static dyn VerificationAlgorithm = match algorithm {
            SignatureAlgorithm::EcdsaSha256 if p384 => &signature::ECDSA_P384_SHA256_ASN1,
            SignatureAlgorithm::EcdsaSha256 => &signature::ECDSA_P256_SHA256_ASN1,
            SignatureAlgorithm::EcdsaSha384 if p384 => &signature::ECDSA_P384_SHA384_ASN1,
            SignatureAlgorithm::EcdsaSha384 => &signature::ECDSA_P256_SHA384_ASN1,
            SignatureAlgorithm::RsaPkcs1Sha256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            SignatureAlgorithm::RsaPkcs1Sha384 => &signature::RSA_PKCS1_2048_8192_SHA384,
            SignatureAlgorithm::RsaPkcs1Sha512 => &signature::RSA_PKCS1_2048_8192_SHA512,
            SignatureAlgorithm::Ed25519 => &signature::ED25519,
        };
        UnparsedPublicKey::new(algorithm, spki_der)
            .verify(message, signature)
            .map_err(|_bad| BadSignature)
    }
}

/// A signing certificate and its key.
pub(crate) struct Authority {
    pub(crate) certificate: Certificate,
    pub(crate) params: CertificateParams,
    pub(crate) key: KeyPair,
}

impl Authority {
    pub(crate) fn new(algorithm: &'static rcgen::SignatureAlgorithm) -> Self {
        Self::with(algorithm, |_params| {})
    }

    pub(crate) fn with(
        algorithm: &'static rcgen::SignatureAlgorithm,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let mut params = params("countersign test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        change(&mut params);
        let certificate = params.self_signed(&key).unwrap();
        Self {
            certificate,
            params,
            key,
        }
    }

    /// Signs `leaf`; its DER.
    pub(crate) fn sign(&self, leaf: &Leaf) -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        let mut params = params("");
        if !leaf.subject.is_empty() {
            params
                .distinguished_name
                .push(DnType::CommonName, leaf.subject);
        }
        params.serial_number = Some(SerialNumber::from_slice(&leaf.serial));
        params.custom_extensions = leaf.extensions.iter().map(Extension::to_rcgen).collect();
        let issuer = Issuer::from_params(&self.params, &self.key);
        params.signed_by(&key, &issuer).unwrap().der().to_vec()
    }

    /// Signs another signed part, for what rcgen cannot write.
    pub(crate) fn sign_bytes(&self, signed: &[u8], algorithm: &[u8]) -> Vec<u8> {
        let signature = self.key.sign(signed).unwrap();
        let bits = der::write(der::BIT_STRING, &[&[0], &signature]).unwrap();
        der::write(der::SEQUENCE, &[signed, algorithm, &bits]).unwrap()
    }
}

/// What a leaf says; [`Leaf::good`] passes the strict profile.
#[derive(Clone)]
pub(crate) struct Leaf {
    pub(crate) subject: &'static str,
    pub(crate) serial: Vec<u8>,
    pub(crate) extensions: Vec<Extension>,
}

impl Leaf {
    pub(crate) fn good() -> Self {
        Self {
            subject: "",
            serial: vec![0x0a, 0xbc],
            extensions: vec![
                basic_constraints(false),
                key_usage(&[DIGITAL_SIGNATURE]),
                extended_key_usage(&[SERVER_AUTH, CLIENT_AUTH]),
                san(&[HTTPBIN]),
            ],
        }
    }

    /// The good leaf with one extension put in place of that with the same OID, or added.
    pub(crate) fn with(extension: Extension) -> Self {
        let mut leaf = Self::without(extension.oid);
        leaf.extensions.push(extension);
        leaf
    }

    pub(crate) fn without(oid: &[u64]) -> Self {
        let mut leaf = Self::good();
        leaf.extensions.retain(|held| held.oid != oid);
        leaf
    }
}

/// An extension, its content in DER.
#[derive(Clone)]
pub(crate) struct Extension {
    pub(crate) oid: &'static [u64],
    pub(crate) critical: bool,
    pub(crate) content: Vec<u8>,
}

impl Extension {
    pub(crate) fn not_critical(mut self) -> Self {
        self.critical = false;
        self
    }

    fn to_rcgen(&self) -> CustomExtension {
        let mut extension = CustomExtension::from_oid_content(self.oid, self.content.clone());
        extension.set_criticality(self.critical);
        extension
    }
}

pub(crate) const BASIC_CONSTRAINTS: &[u64] = &[2, 5, 29, 19];
pub(crate) const KEY_USAGE: &[u64] = &[2, 5, 29, 15];
pub(crate) const EXTENDED_KEY_USAGE: &[u64] = &[2, 5, 29, 37];
pub(crate) const SUBJECT_ALT_NAME: &[u64] = &[2, 5, 29, 17];

pub(crate) fn basic_constraints(ca: bool) -> Extension {
    let content: &[u8] = if ca {
        &[0x30, 3, 1, 1, 0xff]
    } else {
        &[0x30, 0]
    };
    Extension {
        oid: BASIC_CONSTRAINTS,
        critical: true,
        content: content.to_vec(),
    }
}

pub(crate) const DIGITAL_SIGNATURE: u8 = 0x80;
pub(crate) const KEY_ENCIPHERMENT: u8 = 0x20;
pub(crate) const KEY_CERT_SIGN: u8 = 0x04;
pub(crate) const CRL_SIGN: u8 = 0x02;

pub(crate) fn key_usage(bits: &[u8]) -> Extension {
    let bits = bits.iter().fold(0, |all, bit| all | bit);
    let unused = u8::try_from(u8::trailing_zeros(bits).min(7)).unwrap();
    Extension {
        oid: KEY_USAGE,
        critical: true,
        content: vec![3, 2, unused, bits],
    }
}

/// id-kp-serverAuth and id-kp-clientAuth, their last arcs.
pub(crate) const SERVER_AUTH: u8 = 1;
pub(crate) const CLIENT_AUTH: u8 = 2;

pub(crate) fn extended_key_usage(purposes: &[u8]) -> Extension {
    let oids: Vec<u8> = purposes
        .iter()
        .flat_map(|last| [6, 8, 0x2b, 6, 1, 5, 5, 7, 3, *last])
        .collect();
    let content = der::write(der::SEQUENCE, &[&oids]).unwrap();
    Extension {
        oid: EXTENDED_KEY_USAGE,
        critical: false,
        content,
    }
}

pub(crate) fn san(uris: &[&str]) -> Extension {
    let names: Vec<(u8, &[u8])> = uris.iter().map(|uri| (URI, uri.as_bytes())).collect();
    san_of(&names)
}

/// Context tags of GeneralName.
pub(crate) const DNS: u8 = 0x82;
pub(crate) const URI: u8 = 0x86;

pub(crate) fn san_of(names: &[(u8, &[u8])]) -> Extension {
    let names: Vec<u8> = names
        .iter()
        .flat_map(|(tag, name)| der::write(*tag, &[name]).unwrap())
        .collect();
    let content = der::write(der::SEQUENCE, &[&names]).unwrap();
    Extension {
        oid: SUBJECT_ALT_NAME,
        critical: true,
        content,
    }
}

fn params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    if !common_name.is_empty() {
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
    }
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = params.not_before + std::time::Duration::from_secs(60);
    params
}
