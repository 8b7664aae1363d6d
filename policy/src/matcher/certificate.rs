//! Attributes of the peer's checked certificate: the `source.certificate.*` conditions.

use identity::{
    UnixTime,
    x509::{Sha256Digest, X509Svid},
};

use crate::matcher::TextSet;

/// One `source.certificate.*` attribute and what it is compared with.
#[derive(Debug)]
pub(crate) enum CertificateTest {
    /// The issuer's name, as RFC 4514 writes it.
    Issuer(TextSet),
    /// The serial number in lower-case hexadecimal digits, two for each byte.
    Serial(TextSet),
    /// SHA-256 of the certificate, in either valid form of its signature.
    Sha256(Vec<Sha256Digest>),
    /// SHA-256 of the SubjectPublicKeyInfo.
    Spki(Vec<Sha256Digest>),
    /// `RSA`, `EC`, `Ed25519` or `other`.
    KeyType(TextSet),
    KeyBits(Vec<KeyBits>),
    /// Any of the purposes of extendedKeyUsage, as a dotted OID.
    ExtendedKeyUsage(TextSet),
    /// Any of the certificate policies, as a dotted OID.
    PolicyOid(TextSet),
    /// At most so many seconds are left.
    NotAfterWithin(i64),
    /// Fewer seconds than these have passed since notBefore.
    AgeLessThan(i64),
}

/// A size of a key in bits: `2048`, or `2048+` for no less.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum KeyBits {
    Exactly(u32),
    AtLeast(u32),
}

impl CertificateTest {
    /// Without a time, nothing is known of the age.
    pub(crate) fn matches(&self, certificate: &X509Svid, now: Option<UnixTime>) -> bool {
        match self {
            Self::Issuer(set) => set.matches(certificate.issuer().as_bytes()),
            Self::Serial(set) => set.matches(certificate.serial_hex().as_bytes()),
            // Whoever holds the key can present the certificate with either form of its signature.
            Self::Sha256(digests) => [Some(certificate.sha256()), certificate.twin_sha256()]
                .iter()
                .flatten()
                .any(|digest| digests.contains(digest)),
            Self::Spki(digests) => digests.contains(&certificate.spki_sha256()),
            Self::KeyType(set) => set.matches(certificate.key_type().as_str().as_bytes()),
            Self::KeyBits(sizes) => {
                let bits = certificate.key_bits();
                sizes.iter().any(|size| size.holds(bits))
            }
            Self::ExtendedKeyUsage(set) => any(certificate.extended_key_usages(), set),
            Self::PolicyOid(set) => any(certificate.policy_oids(), set),
            Self::NotAfterWithin(seconds) => {
                now.is_some_and(|now| certificate.validity().not_after.secs_since(now) <= *seconds)
            }
            Self::AgeLessThan(seconds) => {
                now.is_some_and(|now| now.secs_since(certificate.validity().not_before) < *seconds)
            }
        }
    }

    /// The attribute's name after `source.certificate.`.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Issuer(_) => "issuer",
            Self::Serial(_) => "serial",
            Self::Sha256(_) => "sha256",
            Self::Spki(_) => "spki",
            Self::KeyType(_) => "keyType",
            Self::KeyBits(_) => "keyBits",
            Self::ExtendedKeyUsage(_) => "eku",
            Self::PolicyOid(_) => "policyOid",
            Self::NotAfterWithin(_) => "notAfterWithin",
            Self::AgeLessThan(_) => "ageLessThan",
        }
    }

    /// Whether the test needs the time.
    pub(crate) fn looks_at_time(&self) -> bool {
        matches!(self, Self::NotAfterWithin(_) | Self::AgeLessThan(_))
    }

    /// The attribute's values, for people.
    pub(crate) fn seen(&self, certificate: &X509Svid, now: Option<UnixTime>) -> Vec<String> {
        let seconds = |count: i64| format!("{count} s");
        match self {
            Self::Issuer(_) => vec![certificate.issuer().to_owned()],
            Self::Serial(_) => vec![certificate.serial_hex().to_owned()],
            Self::Sha256(_) => vec![certificate.sha256().to_string()],
            Self::Spki(_) => vec![certificate.spki_sha256().to_string()],
            Self::KeyType(_) => vec![certificate.key_type().as_str().to_owned()],
            Self::KeyBits(_) => vec![certificate.key_bits().to_string()],
            Self::ExtendedKeyUsage(_) => certificate.extended_key_usages().to_vec(),
            Self::PolicyOid(_) => certificate.policy_oids().to_vec(),
            Self::NotAfterWithin(_) => now
                .map(|now| seconds(certificate.validity().not_after.secs_since(now)))
                .into_iter()
                .collect(),
            Self::AgeLessThan(_) => now
                .map(|now| seconds(now.secs_since(certificate.validity().not_before)))
                .into_iter()
                .collect(),
        }
    }
}

impl KeyBits {
    /// Reads `2048` or `2048+`; no sign, no leading zero.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_suffix('+').unwrap_or(text);
        let bits: u32 = digits.parse().ok()?;
        if bits.to_string() != digits {
            return None;
        }
        Some(if digits == text {
            Self::Exactly(bits)
        } else {
            Self::AtLeast(bits)
        })
    }

    fn holds(self, bits: u32) -> bool {
        match self {
            Self::Exactly(wanted) => bits == wanted,
            Self::AtLeast(least) => bits >= least,
        }
    }
}

fn any(found: &[String], set: &TextSet) -> bool {
    found.iter().any(|value| set.matches(value.as_bytes()))
}

#[cfg(test)]
mod tests;
