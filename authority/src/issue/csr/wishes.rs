//! What a request asks for besides the key.

use std::collections::HashSet;

use x509_parser::asn1_rs::Oid;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::prelude::{GeneralName, ParsedExtension};

use crate::issue::csr::{CsrError, MAX_NAMES};

/// Looks at the extensions asked for, to refuse what no honest workload asks for; gives the DNS
/// names among them.
pub(super) fn check_wishes(
    request: &X509CertificationRequest<'_>,
) -> Result<Vec<String>, CsrError> {
    let malformed = |problem| CsrError::Malformed { problem };
    let attributes = request.certification_request_info.attributes();
    // RFC 2986 §4.1: attributes are a SET, and each of those known here has one value.
    if has_twin(attributes.iter().map(|attribute| &attribute.oid)) {
        return Err(malformed("it has an attribute twice"));
    }
    let mut names = 0_usize;
    let mut dns_names = Vec::new();
    let wishes = attributes
        .iter()
        .filter_map(|attribute| match attribute.parsed_attribute() {
            ParsedCriAttribute::ExtensionRequest(wishes) => Some(&wishes.extensions),
            _ => None,
        });
    for extensions in wishes {
        if has_twin(extensions.iter().map(|extension| &extension.oid)) {
            return Err(malformed("it asks for an extension twice"));
        }
        for extension in extensions {
            match extension.parsed_extension() {
                ParsedExtension::BasicConstraints(wish) if wish.ca => {
                    return Err(CsrError::AsksForCa { asked: "CA:TRUE" });
                }
                ParsedExtension::KeyUsage(wish) if wish.key_cert_sign() => {
                    return Err(CsrError::AsksForCa {
                        asked: "keyCertSign",
                    });
                }
                ParsedExtension::KeyUsage(wish) if wish.crl_sign() => {
                    return Err(CsrError::AsksForCa { asked: "cRLSign" });
                }
                ParsedExtension::SubjectAlternativeName(wish) => {
                    names = names.saturating_add(wish.general_names.len());
                    dns_names.extend(wish.general_names.iter().filter_map(|name| match name {
                        GeneralName::DNSName(name) => Some((*name).to_owned()),
                        _ => None,
                    }));
                }
                ParsedExtension::ParseError { .. } => {
                    return Err(malformed("an extension asked for is malformed"));
                }
                _ => {}
            }
        }
    }
    if names > MAX_NAMES {
        return Err(CsrError::TooManyNames { found: names });
    }
    Ok(dns_names)
}

/// Whether one of them is there twice. A request is short, and so is the list.
fn has_twin<'a, 'b: 'a>(oids: impl Iterator<Item = &'a Oid<'b>>) -> bool {
    let mut seen = HashSet::new();
    oids.into_iter().any(|oid| !seen.insert(oid.as_bytes()))
}

/// The one name asked for, if it is a URI and there is no common name beside it.
pub(super) fn only_name(request: &X509CertificationRequest<'_>) -> Option<String> {
    let info = &request.certification_request_info;
    if info.subject.iter_common_name().next().is_some() {
        return None;
    }
    let mut names = info
        .iter_attributes()
        .filter_map(|attribute| match attribute.parsed_attribute() {
            ParsedCriAttribute::ExtensionRequest(wishes) => Some(&wishes.extensions),
            _ => None,
        })
        .flatten()
        .filter_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
            _ => None,
        })
        .flatten();
    match (names.next(), names.next()) {
        (Some(GeneralName::URI(uri)), None) => Some((*uri).to_owned()),
        _ => None,
    }
}
