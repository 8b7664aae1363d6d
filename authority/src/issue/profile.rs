//! Our own leaf profile, checked on the bytes about to be signed (X509-SVID §4–5, RFC 5280 §4.2,
//! RFC 8813).

use std::collections::BTreeSet;
use std::net::IpAddr;

use identity::x509::{SvidError, SvidProfile, X509Svid};
use x509_parser::prelude::{FromDer as _, GeneralName, ParsedExtension, X509Certificate};

use crate::ca::CaCertificate;
use crate::issue::csr::KeyType;
use crate::issue::grant::{Grant, Purpose};
use crate::issue::serial::SerialNumber;

/// How a certificate differs from what was granted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// It is no X509-SVID.
    #[error("it is not a valid X509-SVID")]
    Svid(#[source] SvidError),
    /// It does not parse.
    #[error("it does not parse")]
    Malformed,
    /// A field differs.
    #[error("{field} is not what was granted")]
    Differs {
        /// The field.
        field: &'static str,
    },
    /// An extension is missing, too many, or has the wrong criticality.
    #[error("extensions are {found:?}")]
    Extensions {
        /// Object identifiers, `!` behind the critical ones.
        found: Vec<String>,
    },
}

/// Checks `der`, whose signature may be anything, against the grant it was built from.
///
/// # Errors
/// [`ProfileError`], the first difference.
pub(crate) fn check(
    der: &[u8],
    grant: &Grant,
    serial: SerialNumber,
    issuer: &CaCertificate,
) -> Result<(), ProfileError> {
    // X509-SVID §4.4 wants both purposes of whoever has one; a gateway's outer side has one.
    let strictness = match grant.purpose() {
        Purpose::Tls | Purpose::ListSigning => SvidProfile::Strict,
        Purpose::TlsServer | Purpose::TlsClient => SvidProfile::Istio,
    };
    let svid = X509Svid::parse(der, strictness).map_err(ProfileError::Svid)?;
    same("SPIFFE ID", svid.id() == grant.spiffe_id())?;

    let (rest, certificate) =
        X509Certificate::from_der(der).map_err(|_malformed| ProfileError::Malformed)?;
    same("length", rest.is_empty())?;
    same(
        "serial number",
        certificate.raw_serial() == serial.as_bytes(),
    )?;
    same(
        "issuer",
        certificate.issuer().as_raw() == issuer.subject_der(),
    )?;
    same("subject", certificate.subject().iter_rdn().next().is_none())?;
    same(
        "public key",
        certificate.public_key().raw == grant.csr().spki_der(),
    )?;
    let validity = certificate.validity();
    same(
        "notBefore",
        validity.not_before.timestamp() == grant.not_before().as_secs(),
    )?;
    same(
        "notAfter",
        validity.not_after.timestamp() == grant.not_after().as_secs(),
    )?;
    same("end of life", grant.not_after() <= issuer.not_after())?;
    same("start of life", grant.not_before() >= issuer.not_before())?;
    same("lifetime", grant.not_before() <= grant.not_after())?;
    check_extension_set(&certificate, grant.purpose())?;
    for extension in certificate.extensions() {
        check_extension(extension.parsed_extension(), grant, issuer)?;
    }
    Ok(())
}

const fn same(field: &'static str, holds: bool) -> Result<(), ProfileError> {
    if holds {
        Ok(())
    } else {
        Err(ProfileError::Differs { field })
    }
}

/// Exactly the extensions of the profile, each once, with the right criticality.
fn check_extension_set(
    certificate: &X509Certificate<'_>,
    purpose: Purpose,
) -> Result<(), ProfileError> {
    let mut found: Vec<String> = certificate
        .extensions()
        .iter()
        .map(|extension| {
            let mark = if extension.critical { "!" } else { "" };
            format!("{}{mark}", extension.oid.to_id_string())
        })
        .collect();
    found.sort();
    let [others @ .., _extended_key_usage] = &EXTENSIONS;
    let wanted: &[&str] = match purpose {
        Purpose::Tls | Purpose::TlsServer | Purpose::TlsClient => &EXTENSIONS,
        Purpose::ListSigning => others,
    };
    if found == wanted {
        Ok(())
    } else {
        Err(ProfileError::Extensions { found })
    }
}

fn check_extension(
    extension: &ParsedExtension<'_>,
    grant: &Grant,
    issuer: &CaCertificate,
) -> Result<(), ProfileError> {
    match extension {
        ParsedExtension::BasicConstraints(constraints) => same(
            "CA flag",
            !constraints.ca && constraints.path_len_constraint.is_none(),
        ),
        ParsedExtension::KeyUsage(usage) => {
            let wanted = match grant.csr().key_type() {
                KeyType::Rsa { .. } if grant.purpose() == Purpose::TlsClient => DIGITAL_SIGNATURE,
                KeyType::EcdsaP256 | KeyType::EcdsaP384 | KeyType::Ed25519 => DIGITAL_SIGNATURE,
                KeyType::Rsa { .. } => DIGITAL_SIGNATURE | KEY_ENCIPHERMENT,
            };
            same("key usage", usage.flags == wanted)
        }
        ParsedExtension::ExtendedKeyUsage(usage) => {
            let others = usage.any
                || usage.code_signing
                || usage.email_protection
                || usage.time_stamping
                || usage.ocsp_signing
                || !usage.other.is_empty();
            let wanted = match grant.purpose() {
                Purpose::Tls => Some((true, true)),
                Purpose::TlsServer => Some((true, false)),
                Purpose::TlsClient => Some((false, true)),
                Purpose::ListSigning => None,
            };
            let found = (usage.server_auth, usage.client_auth);
            same("extended key usage", wanted == Some(found) && !others)
        }
        ParsedExtension::AuthorityKeyIdentifier(id) => same(
            "authority key identifier",
            id.key_identifier
                .as_ref()
                .is_some_and(|id| id.0 == issuer.key_id())
                && id.authority_cert_issuer.is_none()
                && id.authority_cert_serial.is_none(),
        ),
        ParsedExtension::SubjectKeyIdentifier(id) => {
            same("subject key identifier", !id.0.is_empty())
        }
        ParsedExtension::SubjectAlternativeName(names) => {
            same("names", names_are_granted(&names.general_names, grant))
        }
        _ => same("extension", false),
    }
}

/// One URI, which is the SPIFFE ID, and the granted server names; no more, no fewer.
fn names_are_granted(names: &[GeneralName<'_>], grant: &Grant) -> bool {
    let wanted: BTreeSet<String> = [format!("uri:{}", grant.spiffe_id())]
        .into_iter()
        .chain(
            grant
                .server_names()
                .dns
                .iter()
                .map(|name| format!("dns:{name}")),
        )
        .chain(grant.server_names().ip.iter().map(|ip| format!("ip:{ip}")))
        .collect();
    let found: Option<BTreeSet<String>> = names
        .iter()
        .map(|name| match name {
            GeneralName::URI(uri) => Some(format!("uri:{uri}")),
            GeneralName::DNSName(name) => Some(format!("dns:{name}")),
            GeneralName::IPAddress(bytes) => ip(bytes).map(|ip| format!("ip:{ip}")),
            _ => None,
        })
        .collect();
    names.len() == wanted.len() && found == Some(wanted)
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(v4.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

/// subjectKeyIdentifier, keyUsage, subjectAltName, basicConstraints, authorityKeyIdentifier,
/// extKeyUsage, which only those for TLS have; `!` behind the critical ones.
const EXTENSIONS: [&str; 6] = [
    "2.5.29.14",
    "2.5.29.15!",
    "2.5.29.17!",
    "2.5.29.19!",
    "2.5.29.35",
    "2.5.29.37",
];
/// Bit 0 of KeyUsage, as x509-parser counts.
const DIGITAL_SIGNATURE: u16 = 1;
/// Bit 2 of KeyUsage.
const KEY_ENCIPHERMENT: u16 = 1 << 2;
