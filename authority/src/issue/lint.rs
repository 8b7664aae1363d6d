//! Lints of a certificate before it is signed.
//!
//! The bytes to be signed are put together with the signature of a throw-away key over something
//! else (`rehearsal_signature`), which is a signature in form and verifies nowhere. What comes out is
//! parsed as any verifier would, and every [`Lint`] looks at it; only then the CA's key is used. The
//! lints know nothing of what was granted: that the certificate is the one granted is
//! `profile`, beside it, to say.

use std::fmt;

use x509_parser::prelude::{FromDer as _, X509Certificate};

pub use self::chain::ChainFacts;
use crate::issue::grant::Purpose;

mod chain;
mod extensions;
mod fields;
mod names;
mod rehearsal;

pub(super) use self::rehearsal::rehearsal_signature;

/// A rule that every leaf keeps.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Lint {
    /// It is one certificate in DER, with nothing behind it.
    Encoding,
    /// Version 3.
    Version,
    /// A positive serial number of 64 to 159 bits.
    SerialNumber,
    /// The same signature algorithm inside and outside, which is that of the issuer's key.
    SignatureAlgorithm,
    /// The issuer's name is the subject of the issuer's certificate, and not empty.
    IssuerName,
    /// Not before comes before not after.
    ValidityOrder,
    /// UTCTime through 2049, GeneralizedTime from 2050.
    TimeEncoding,
    /// The key is none of the chain's.
    SubjectKey,
    /// No extension twice, and none that the profile does not have.
    ExtensionSet,
    /// Extensions are critical where they must be, and only there.
    Criticality,
    /// Exactly one URI among the alternative names, which is a SPIFFE ID with a path.
    OneUri,
    /// The alternative names are critical if, and only if, the subject is empty.
    SanCriticality,
    /// DNS names are names, and each is there once; no other kinds of names but addresses.
    OtherNames,
    /// Basic constraints are there, and say that it is no CA.
    BasicConstraints,
    /// Key usage is digitalSignature, with keyEncipherment for the RSA key of a server and no other.
    KeyUsage,
    /// Extended key usage is that of the profile.
    ExtendedKeyUsage,
    /// Subject and authority key identifiers are there; the latter is the issuer's.
    KeyIdentifiers,
    /// Each issuer may sign what is below it, and was signed by the one above it.
    Chain,
    /// Each issuer's path length allows for those below it.
    PathLength,
    /// Its validity lies within each issuer's.
    Lifetimes,
    /// Its names are within each issuer's name constraints.
    NameConstraints,
}

impl Lint {
    /// All of them, in the order they are looked at.
    pub const ALL: [Self; 21] = [
        Self::Encoding,
        Self::Version,
        Self::SerialNumber,
        Self::SignatureAlgorithm,
        Self::IssuerName,
        Self::ValidityOrder,
        Self::TimeEncoding,
        Self::SubjectKey,
        Self::ExtensionSet,
        Self::Criticality,
        Self::OneUri,
        Self::SanCriticality,
        Self::OtherNames,
        Self::BasicConstraints,
        Self::KeyUsage,
        Self::ExtendedKeyUsage,
        Self::KeyIdentifiers,
        Self::Chain,
        Self::PathLength,
        Self::Lifetimes,
        Self::NameConstraints,
    ];

    /// Stable name.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::Encoding => "encoding",
            Self::Version => "version",
            Self::SerialNumber => "serial_number",
            Self::SignatureAlgorithm => "signature_algorithm",
            Self::IssuerName => "issuer_name",
            Self::ValidityOrder => "validity_order",
            Self::TimeEncoding => "time_encoding",
            Self::SubjectKey => "subject_key",
            Self::ExtensionSet => "extension_set",
            Self::Criticality => "criticality",
            Self::OneUri => "one_uri",
            Self::SanCriticality => "san_criticality",
            Self::OtherNames => "other_names",
            Self::BasicConstraints => "basic_constraints",
            Self::KeyUsage => "key_usage",
            Self::ExtendedKeyUsage => "extended_key_usage",
            Self::KeyIdentifiers => "key_identifiers",
            Self::Chain => "chain",
            Self::PathLength => "path_length",
            Self::Lifetimes => "lifetimes",
            Self::NameConstraints => "name_constraints",
        }
    }

    /// Where it is written.
    #[must_use]
    pub const fn section(self) -> &'static str {
        match self {
            Self::Encoding => "X.690 §10, RFC 5280 §4.1",
            Self::Version => "RFC 5280 §4.1.2.1",
            Self::SerialNumber => "RFC 5280 §4.1.2.2, CA/B Forum BR §7.1",
            Self::SignatureAlgorithm => "RFC 5280 §4.1.1.2",
            Self::IssuerName => "RFC 5280 §4.1.2.4",
            Self::ValidityOrder | Self::TimeEncoding => "RFC 5280 §4.1.2.5",
            Self::SubjectKey => "X509-SVID §4.1",
            Self::ExtensionSet => "RFC 5280 §4.2",
            Self::Criticality => "RFC 5280 §4.2.1.1–4.2.1.12, X509-SVID §4.3",
            Self::OneUri => "X509-SVID §2, §4.1",
            Self::SanCriticality | Self::OtherNames => "RFC 5280 §4.2.1.6",
            Self::BasicConstraints => "X509-SVID §4.1, RFC 5280 §4.2.1.9",
            Self::KeyUsage => "X509-SVID §4.3, RFC 8813 §3, RFC 8410 §5, RFC 5280 §4.2.1.12",
            Self::ExtendedKeyUsage => "X509-SVID §4.4, RFC 5280 §4.2.1.12",
            Self::KeyIdentifiers => "RFC 5280 §4.2.1.1–4.2.1.2",
            Self::Chain | Self::Lifetimes => "RFC 5280 §6.1.3",
            Self::PathLength => "RFC 5280 §4.2.1.9, §6.1.4",
            Self::NameConstraints => "RFC 5280 §4.2.1.10",
        }
    }
}

/// A lint that fails.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{} ({}): {found}", lint.id(), lint.section())]
pub struct LintError {
    /// Which.
    pub lint: Lint,
    /// What is wrong.
    pub found: String,
}

/// What lints look at.
struct Leaf<'a> {
    der: &'a [u8],
    certificate: &'a X509Certificate<'a>,
    purpose: Purpose,
    chain: &'a ChainFacts,
}

/// Looks at a leaf for `purpose` below `chain`; its signature is not looked at.
///
/// # Errors
/// The first [`LintError`].
pub fn check(der: &[u8], purpose: Purpose, chain: &ChainFacts) -> Result<(), LintError> {
    with_leaf(der, purpose, chain, |leaf| {
        Lint::ALL.into_iter().try_for_each(|lint| leaf.check(lint))
    })
    .and_then(|outcome| outcome)
}

/// Looks at a leaf with every lint.
#[must_use]
pub fn findings(der: &[u8], purpose: Purpose, chain: &ChainFacts) -> Vec<LintError> {
    let all = with_leaf(der, purpose, chain, |leaf| {
        Lint::ALL
            .into_iter()
            .filter_map(|lint| leaf.check(lint).err())
            .collect()
    });
    all.unwrap_or_else(|error| vec![error])
}

fn with_leaf<T>(
    der: &[u8],
    purpose: Purpose,
    chain: &ChainFacts,
    look: impl FnOnce(&Leaf<'_>) -> T,
) -> Result<T, LintError> {
    let failed = |found: &str| LintError {
        lint: Lint::Encoding,
        found: found.to_owned(),
    };
    let (rest, certificate) =
        X509Certificate::from_der(der).map_err(|_malformed| failed("it does not parse"))?;
    if !rest.is_empty() {
        return Err(failed("bytes follow the certificate"));
    }
    Ok(look(&Leaf {
        der,
        certificate: &certificate,
        purpose,
        chain,
    }))
}

impl Leaf<'_> {
    fn check(&self, lint: Lint) -> Result<(), LintError> {
        let outcome = match lint {
            Lint::Encoding => self.encoding(),
            Lint::Version => self.version(),
            Lint::SerialNumber => self.serial_number(),
            Lint::SignatureAlgorithm => self.signature_algorithm(),
            Lint::IssuerName => self.issuer_name(),
            Lint::ValidityOrder => self.validity_order(),
            Lint::TimeEncoding => self.time_encoding(),
            Lint::SubjectKey => self.subject_key(),
            Lint::ExtensionSet => self.extension_set(),
            Lint::Criticality => self.criticality(),
            Lint::OneUri => self.one_uri(),
            Lint::SanCriticality => self.san_criticality(),
            Lint::OtherNames => self.other_names(),
            Lint::BasicConstraints => self.basic_constraints(),
            Lint::KeyUsage => self.key_usage(),
            Lint::ExtendedKeyUsage => self.extended_key_usage(),
            Lint::KeyIdentifiers => self.key_identifiers(),
            Lint::Chain => self.chain.sound(),
            Lint::PathLength => self.chain.path_lengths(),
            Lint::Lifetimes => self.lifetimes(),
            Lint::NameConstraints => self.name_constraints(),
        };
        outcome.map_err(|found| LintError { lint, found })
    }
}

/// What a lint says.
type Outcome = Result<(), String>;

fn require(holds: bool, found: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(found()) }
}

impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

#[cfg(test)]
mod tests;
