//! A leaf that passed its profile.

use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use crate::pem::{self, PemError};
use crate::x509::digest::Sha256Digest;
use crate::x509::error::{EncodingError, ExtensionError, SignatureError, SvidError};
use crate::x509::issuer::IssuerKey;
use crate::x509::key_type::KeyType;
use crate::x509::outer::Outer;
use crate::x509::profile::{Extensions, SvidProfile};
use crate::x509::signature::{self, KeyKind, SignatureAlgorithm, VerifySignature};
use crate::x509::{MAX_PEM_BYTES, MAX_SERIAL_BYTES, name, san};
use crate::{SpiffeId, UnixTime};

/// When a certificate may be used: seconds, both ends inclusive (RFC 5280 §4.1.2.5).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Validity {
    /// First second.
    pub not_before: UnixTime,
    /// Last second.
    pub not_after: UnixTime,
}

/// An X509-SVID leaf: the parsed facts beside the DER.
///
/// Having one means that every check of its [`SvidProfile`] passed; it does not mean that the
/// certificate is valid now, signed by anyone trusted, or not revoked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct X509Svid {
    der: Vec<u8>,
    id: SpiffeId,
    validity: Validity,
    serial_hex: String,
    issuer: String,
    spki_der: Vec<u8>,
    sha256: Sha256Digest,
    twin_sha256: Option<Sha256Digest>,
    key_type: KeyType,
    key_bits: u32,
    spki_sha256: Sha256Digest,
    extended_key_usages: Vec<String>,
    policy_oids: Vec<String>,
}

impl X509Svid {
    /// Parses the DER of one certificate and checks it against `profile`.
    ///
    /// # Errors
    /// See [`SvidError`]; never [`SvidError::NotYetValid`] or [`SvidError::Expired`].
    pub fn parse(der: &[u8], profile: SvidProfile) -> Result<Self, SvidError> {
        let outer = Outer::read(der)?;
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|_malformed| EncodingError::NotCertificate)?;
        let version = u64::from(certificate.version().0).saturating_add(1);
        if version != 3 {
            return Err(EncodingError::NotVersion3 { found: version }.into());
        }
        let extensions = Extensions::read(&certificate)?;
        if let Some(oid) = extensions.unknown_critical {
            return Err(ExtensionError::UnknownCritical { oid }.into());
        }
        let subject_is_empty = certificate.subject().iter_rdn().next().is_none();
        profile.check_usage(&extensions)?;
        let id = san::spiffe_id(&extensions, subject_is_empty, profile)?;
        let spki_der = certificate.public_key().raw;
        let (key_type, key_bits) = KeyType::of_spki(spki_der);
        Ok(Self {
            id,
            validity: validity(&certificate)?,
            serial_hex: serial_hex(certificate.raw_serial())?,
            issuer: name::text(certificate.issuer()),
            spki_der: spki_der.to_vec(),
            sha256: Sha256Digest::of(der),
            twin_sha256: signature::twin_sha256(&outer),
            der: der.to_vec(),
            key_type,
            key_bits,
            spki_sha256: Sha256Digest::of(spki_der),
            extended_key_usages: extensions.purposes,
            policy_oids: extensions.policies,
        })
    }

    /// Parses one certificate in PEM, plain or URL-encoded (Envoy writes either), at most
    /// [`MAX_PEM_BYTES`], as [`parse`](Self::parse) does.
    ///
    /// There must be one block only: the leaf, without its chain.
    ///
    /// # Errors
    /// See [`SvidError`].
    pub fn parse_pem(text: &[u8], profile: SvidProfile) -> Result<Self, SvidError> {
        if text.len() > MAX_PEM_BYTES {
            let (len, max) = (text.len(), MAX_PEM_BYTES);
            return Err(SvidError::Pem(PemError::TooLarge { len, max }));
        }
        let plain;
        // Plain PEM has no percent sign at all.
        let text = if text.contains(&b'%') {
            plain = pem::url_decode(text).map_err(SvidError::Pem)?;
            plain.as_slice()
        } else {
            text
        };
        let text =
            std::str::from_utf8(text).map_err(|_not_utf8| SvidError::Pem(PemError::NotAscii))?;
        let der = pem::single(text, pem::CERTIFICATE, MAX_PEM_BYTES).map_err(SvidError::Pem)?;
        Self::parse(&der, profile)
    }

    /// The one SPIFFE ID; its path is not empty.
    #[must_use]
    pub const fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// When the certificate may be used.
    #[must_use]
    pub const fn validity(&self) -> Validity {
        self.validity
    }

    /// The serial number as hexadecimal digits, two for each byte, in lower case; as
    /// `openssl x509 -serial` writes it, but for the case.
    #[must_use]
    pub fn serial_hex(&self) -> &str {
        &self.serial_hex
    }

    /// The issuer's name in the manner of RFC 4514. For people; not an identity.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The leaf's SubjectPublicKeyInfo, in DER.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    /// SHA-256 of the SubjectPublicKeyInfo's DER.
    #[must_use]
    pub const fn spki_sha256(&self) -> Sha256Digest {
        self.spki_sha256
    }

    /// The kind of the certificate's key; [`KeyType::Other`] also for one that is malformed.
    #[must_use]
    pub const fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// The size of the certificate's key: bits of an RSA modulus or of a curve's field, 256 for
    /// Ed25519; 0 for a curve that is not P-224, P-256, P-384 or P-521, and for
    /// [`KeyType::Other`].
    #[must_use]
    pub const fn key_bits(&self) -> u32 {
        self.key_bits
    }

    /// The purposes of extendedKeyUsage as dotted OIDs, in the certificate's order; empty where
    /// there is no such extension.
    #[must_use]
    pub fn extended_key_usages(&self) -> &[String] {
        &self.extended_key_usages
    }

    /// The policies of certificatePolicies as dotted OIDs without their qualifiers, in the
    /// certificate's order; empty where there is no such extension.
    #[must_use]
    pub fn policy_oids(&self) -> &[String] {
        &self.policy_oids
    }

    /// The certificate, in DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 of the certificate's DER.
    #[must_use]
    pub const fn sha256(&self) -> Sha256Digest {
        self.sha256
    }

    /// SHA-256 that this certificate has with the other valid form of its signature; `None` when
    /// its algorithm has one form only.
    ///
    /// Of an ECDSA signature (r, s) anyone can make (r, n − s), which is as valid. The holder of a
    /// revoked certificate could present it so, under a SHA-256 no deny list has. Both digests name
    /// the same certificate, so both must be looked up: see
    /// [`DenyList::state_of`](crate::deny_list::DenyList::state_of).
    #[must_use]
    pub const fn twin_sha256(&self) -> Option<Sha256Digest> {
        self.twin_sha256
    }

    /// Checks that `now` is within the validity, both ends inclusive.
    ///
    /// # Errors
    /// [`SvidError::NotYetValid`], [`SvidError::Expired`].
    pub fn check_time(&self, now: UnixTime) -> Result<(), SvidError> {
        let Validity {
            not_before,
            not_after,
        } = self.validity;
        if now < not_before {
            return Err(SvidError::NotYetValid { not_before, now });
        }
        if now > not_after {
            return Err(SvidError::Expired { not_after, now });
        }
        Ok(())
    }

    /// Checks that one of `issuers` signed this certificate.
    ///
    /// `issuers` must be those of the trust domain of [`id`](Self::id): any other's key could sign
    /// this name too.
    ///
    /// # Errors
    /// [`SvidError::Signature`].
    pub fn check_signature(
        &self,
        issuers: &[IssuerKey],
        verifier: &dyn VerifySignature,
    ) -> Result<(), SvidError> {
        let outer = Outer::read(&self.der)?;
        let algorithm = SignatureAlgorithm::read(outer.algorithm)
            .ok_or(SignatureError::UnsupportedAlgorithm)?;
        let kind = algorithm.key_kind();
        // Verifiers differ in what they take besides DER, and there must be two forms at most.
        if kind == KeyKind::Ecdsa && signature::ecdsa_parts(outer.signature).is_none() {
            return Err(SignatureError::Malformed.into());
        }
        if issuers.is_empty() {
            return Err(SignatureError::NoIssuers.into());
        }
        let signed_by = |issuer: &IssuerKey| {
            issuer.kind() == kind
                && verifier
                    .verify(algorithm, issuer.spki_der(), outer.signed, outer.signature)
                    .is_ok()
        };
        if issuers.iter().any(signed_by) {
            return Ok(());
        }
        Err(SignatureError::UnknownIssuer.into())
    }
}

fn validity(certificate: &X509Certificate<'_>) -> Result<Validity, EncodingError> {
    let found = certificate.validity();
    let not_before = UnixTime::from_secs(found.not_before.timestamp());
    let not_after = UnixTime::from_secs(found.not_after.timestamp());
    if not_after < not_before {
        return Err(EncodingError::InvertedValidity {
            not_before,
            not_after,
        });
    }
    Ok(Validity {
        not_before,
        not_after,
    })
}

/// RFC 5280 §4.1.2.2: "The serial number MUST be a positive integer"; "conforming CAs MUST NOT use
/// serialNumber values longer than 20 octets".
fn serial_hex(raw: &[u8]) -> Result<String, EncodingError> {
    let magnitude = crate::x509::der::positive_integer(raw).ok_or(EncodingError::BadSerial)?;
    if raw.len() > MAX_SERIAL_BYTES {
        return Err(EncodingError::BadSerial);
    }
    Ok(hex::encode(magnitude))
}
