//! What a case's certificate looks like; whoever runs the case makes one.

use serde::Deserialize;

/// Attributes of the certificate a peer shows. Whatever is left out is up to who makes it: an EC key of 256 bits, both
/// usual purposes, no policies, dates around the time of the case.
#[derive(Clone, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CaseCertificate {
    /// Common name of the authority that signed it.
    pub issuer_common_name: Option<String>,
    /// Serial number, two hexadecimal digits for each byte.
    pub serial: Option<String>,
    /// Kind and size of its key.
    pub key: Option<CaseKey>,
    /// extendedKeyUsage as dotted OIDs; an empty list means no such extension.
    pub extended_key_usages: Option<Vec<String>>,
    /// certificatePolicies as dotted OIDs.
    pub policy_oids: Vec<String>,
    /// Seconds since notBefore.
    pub age_seconds: Option<i64>,
    /// Seconds until notAfter.
    pub remaining_seconds: Option<i64>,
}

/// The kinds of keys that cases know.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd)]
pub enum CaseKey {
    /// An elliptic curve of 256 bits.
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
}
