//! What the issuers above a leaf allow. Read once for an issuer, looked at for every leaf.

use identity::UnixTime;
use identity::x509::VerifySignature as _;
use x509_parser::asn1_rs::Oid;
use x509_parser::prelude::{FromDer as _, GeneralName, ParsedExtension, X509Certificate};

use crate::ca::CaCertificate;
use crate::crypto::AwsLcVerifier;
use crate::issue::csr::signature_algorithm;
use crate::issue::lint::{Outcome, require};

/// The issuers above a leaf, the one that signs first, and the root last.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ChainFacts {
    pub(super) issuers: Vec<IssuerFacts>,
    /// Why the chain is none; a leaf below it would be refused by everybody.
    problem: Option<String>,
}

/// What one issuer allows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct IssuerFacts {
    pub(super) name: String,
    pub(super) subject_der: Vec<u8>,
    pub(super) key_id: Vec<u8>,
    pub(super) spki_der: Vec<u8>,
    pub(super) key_algorithm: Oid<'static>,
    pub(super) not_before: UnixTime,
    pub(super) not_after: UnixTime,
    pub(super) path_length: Option<u32>,
    pub(super) constraints: Option<Constraints>,
}

/// Name constraints (RFC 5280 §4.2.1.10) of the kinds that leaves have names of.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Constraints {
    pub(super) permitted: Vec<Subtree>,
    pub(super) excluded: Vec<Subtree>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Subtree {
    /// A host, or with a dot before it all hosts below it.
    Uri(String),
    /// A domain and all below it.
    Dns(String),
    /// Address and mask.
    Ip(Vec<u8>),
}

impl ChainFacts {
    /// Reads the certificates of a chain, the one that signs leaves first and the root last.
    #[must_use]
    pub fn read(chain: &[&CaCertificate]) -> Self {
        let mut issuers = Vec::new();
        let mut problem = None;
        for certificate in chain {
            match issuer(certificate) {
                Ok(facts) => issuers.push(facts),
                Err(found) => problem = problem.or(Some(found)),
            }
        }
        if chain.is_empty() {
            problem = Some("there is no issuer".to_owned());
        }
        for (below, above) in chain.iter().zip(chain.iter().skip(1)) {
            problem = problem.or_else(|| link(below, above).err());
        }
        Self { issuers, problem }
    }

    /// The one that signs.
    pub(super) fn issuer(&self) -> Option<&IssuerFacts> {
        self.issuers.first()
    }

    pub(super) fn sound(&self) -> Outcome {
        match &self.problem {
            None => Ok(()),
            Some(problem) => Err(problem.clone()),
        }
    }

    /// The number of intermediates below each issuer, the leaf not counted, is its place.
    pub(super) fn path_lengths(&self) -> Outcome {
        for (below, issuer) in self.issuers.iter().enumerate() {
            let allowed = issuer
                .path_length
                .map(|length| usize::try_from(length).unwrap_or(0));
            require(allowed.is_none_or(|length| length >= below), || {
                format!(
                    "{} allows {} intermediates below it, there are {below}",
                    issuer.name,
                    allowed.unwrap_or_default()
                )
            })?;
        }
        Ok(())
    }
}

fn issuer(certificate: &CaCertificate) -> Result<IssuerFacts, String> {
    let name = certificate.subject().to_owned();
    let malformed = || format!("the certificate of {name} does not parse");
    let (_, parsed) =
        X509Certificate::from_der(certificate.der()).map_err(|_malformed| malformed())?;
    let mut path_length = None;
    let mut constraints = None;
    // That it is a CA and may sign was looked at when it was read.
    for extension in parsed.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(basic) => path_length = basic.path_len_constraint,
            ParsedExtension::NameConstraints(found) => {
                let subtrees = |list: &Option<Vec<_>>| {
                    list.iter()
                        .flatten()
                        .filter_map(|subtree: &x509_parser::extensions::GeneralSubtree<'_>| {
                            Subtree::of(&subtree.base)
                        })
                        .collect()
                };
                constraints = Some(Constraints {
                    permitted: subtrees(&found.permitted_subtrees),
                    excluded: subtrees(&found.excluded_subtrees),
                });
            }
            ParsedExtension::ParseError { .. } => {
                return Err(format!(
                    "an extension of the certificate of {name} does not parse"
                ));
            }
            ParsedExtension::UnsupportedExtension { .. } if extension.critical => {
                return Err(format!("{name} has a critical extension that is not known"));
            }
            _ => {}
        }
    }
    Ok(IssuerFacts {
        subject_der: certificate.subject_der().to_vec(),
        key_id: certificate.key_id().to_vec(),
        spki_der: certificate.spki_der().to_vec(),
        key_algorithm: parsed.public_key().algorithm.algorithm.to_owned(),
        not_before: certificate.not_before(),
        not_after: certificate.not_after(),
        path_length,
        constraints,
        name,
    })
}

/// Whether `above` issued `below`: by name, by key id if there is one, and by signature.
fn link(below: &CaCertificate, above: &CaCertificate) -> Outcome {
    let (_, parsed) = X509Certificate::from_der(below.der())
        .map_err(|_malformed| format!("the certificate of {} does not parse", below.subject()))?;
    let (by, of) = (above.subject(), below.subject());
    require(parsed.issuer().as_raw() == above.subject_der(), || {
        format!("{of} names another issuer than {by}")
    })?;
    for extension in parsed.extensions() {
        if let ParsedExtension::AuthorityKeyIdentifier(id) = extension.parsed_extension()
            && let Some(id) = &id.key_identifier
        {
            require(id.0 == above.key_id(), || {
                format!("{of} names another key of its issuer than {by} has")
            })?;
        }
    }
    let algorithm = signature_algorithm(&parsed.signature_algorithm)
        .ok_or_else(|| format!("{of} is signed with an algorithm that is not accepted"))?;
    AwsLcVerifier
        .verify(
            algorithm,
            above.spki_der(),
            parsed.tbs_certificate.as_ref(),
            &parsed.signature_value.data,
        )
        .map_err(|_bad| format!("{of} is not signed by {by}"))
}

impl Subtree {
    fn of(base: &GeneralName<'_>) -> Option<Self> {
        match base {
            GeneralName::URI(host) => Some(Self::Uri(host.to_ascii_lowercase())),
            GeneralName::DNSName(name) => Some(Self::Dns(name.to_ascii_lowercase())),
            GeneralName::IPAddress(bytes) => Some(Self::Ip(bytes.to_vec())),
            // Leaves have no other names, and an empty subject is in every directory.
            _ => None,
        }
    }
}
