//! Names, and what CA certificates say about them (RFC 5280 §4.2.1.10).

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use x509_parser::extensions::GeneralSubtree;
use x509_parser::prelude::{GeneralName, X509Certificate};

use crate::ca::der;

/// What a CA certificate lets the ones below it be.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Limits {
    /// Most CA certificates that may follow it; `None` for any number.
    pub path_length: Option<u32>,
    /// Name constraints: what must hold for names of each kind that is listed.
    pub permitted: Vec<NameConstraint>,
    /// Name constraints: what no name may match.
    pub excluded: Vec<NameConstraint>,
    /// Whether certificates below it can be used by TLS clients and servers.
    pub allows_tls: bool,
}

/// One subtree of a name constraint.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NameConstraint {
    /// A host of URIs, or with a dot before it all hosts below.
    Uri(String),
    /// A DNS name and all below it; the empty one is all of them.
    Dns(String),
    /// Address and mask, 4 or 16 octets each.
    Ip(Vec<u8>, Vec<u8>),
    /// Of a kind that is not evaluated.
    Other(&'static str),
}

impl fmt::Display for NameConstraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uri(host) => write!(f, "URI:{host}"),
            Self::Dns(name) => write!(f, "DNS:{name}"),
            Self::Ip(address, mask) => {
                write!(f, "IP:{}/{}", hex::encode(address), hex::encode(mask))
            }
            Self::Other(kind) => f.write_str(kind),
        }
    }
}

pub(super) enum Name<'a> {
    Uri(&'a str),
    Dns(&'a str),
    Ip(IpAddr),
}

impl Name<'_> {
    pub(super) const fn is_kind(&self, constraint: &NameConstraint) -> bool {
        matches!(
            (self, constraint),
            (Self::Uri(_), NameConstraint::Uri(_))
                | (Self::Dns(_), NameConstraint::Dns(_))
                | (Self::Ip(_), NameConstraint::Ip(..))
        )
    }

    /// False of a URI alone that has none.
    pub(super) fn has_host(&self) -> bool {
        !matches!(self, Self::Uri(uri) if uri_host(uri).is_none())
    }

    pub(super) fn matches(&self, constraint: &NameConstraint) -> bool {
        match (self, constraint) {
            (Self::Uri(uri), NameConstraint::Uri(subtree)) => {
                uri_host(uri).is_some_and(|host| host_matches(host, subtree))
            }
            (Self::Dns(name), NameConstraint::Dns(subtree)) => dns_matches(name, subtree),
            (Self::Ip(ip), NameConstraint::Ip(address, mask)) => ip_matches(*ip, address, mask),
            _ => false,
        }
    }
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uri(name) | Self::Dns(name) => f.write_str(name),
            Self::Ip(ip) => ip.fmt(f),
        }
    }
}

/// The host of `scheme://host/…`.
fn uri_host(uri: &str) -> Option<&str> {
    let (_, rest) = uri.split_once("://")?;
    rest.split(['/', '?', '#'])
        .next()
        .filter(|host| !host.is_empty())
}

pub(crate) fn host_matches(host: &str, subtree: &str) -> bool {
    if subtree.starts_with('.') {
        return ends_with_below(host, subtree);
    }
    host.eq_ignore_ascii_case(subtree)
}

/// Whether something is left of `host` before the suffix `dotted`.
fn ends_with_below(host: &str, dotted: &str) -> bool {
    let at = host.len().checked_sub(dotted.len());
    at.filter(|at| *at > 0)
        .and_then(|at| host.get(at..))
        .is_some_and(|end| end.eq_ignore_ascii_case(dotted))
}

fn dns_matches(name: &str, subtree: &str) -> bool {
    subtree.is_empty()
        || name.eq_ignore_ascii_case(subtree)
        || if subtree.starts_with('.') {
            ends_with_below(name, subtree)
        } else {
            ends_with_below(name, &format!(".{subtree}"))
        }
}

fn ip_matches(ip: IpAddr, address: &[u8], mask: &[u8]) -> bool {
    let octets = match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    octets.len() == address.len()
        && octets.len() == mask.len()
        && octets
            .iter()
            .zip(address)
            .zip(mask)
            .all(|((octet, wanted), mask)| octet & mask == wanted & mask)
}

impl Limits {
    /// Reads them from a certificate; on refusal says what is wrong with it.
    pub(crate) fn of(certificate: &X509Certificate<'_>) -> Result<Self, &'static str> {
        let constraints = certificate
            .basic_constraints()
            .map_err(|_malformed| "its basic constraints are malformed")?;
        let names = certificate
            .name_constraints()
            .map_err(|_malformed| "its name constraints are malformed")?;
        let subtrees = |list: Option<&Vec<GeneralSubtree<'_>>>| {
            list.map(|list| list.iter().map(|tree| constraint(&tree.base)).collect())
                .unwrap_or_default()
        };
        let names = names.map(|extension| extension.value);
        let usage = certificate
            .extended_key_usage()
            .map_err(|_malformed| "its extended key usage is malformed")?;
        let allows_tls = usage.is_none_or(|usage| {
            usage.value.any || (usage.value.server_auth && usage.value.client_auth)
        });
        Ok(Self {
            path_length: constraints.and_then(|c| c.value.path_len_constraint),
            permitted: subtrees(names.and_then(|n| n.permitted_subtrees.as_ref())),
            excluded: subtrees(names.and_then(|n| n.excluded_subtrees.as_ref())),
            allows_tls,
        })
    }

    /// Whether rustls (ztunnel, linkerd, this authority's own listener) refuses every certificate
    /// below it: rustls-webpki does not evaluate URI constraints, and fails closed.
    #[must_use]
    pub fn constrains_uris(&self) -> bool {
        self.permitted
            .iter()
            .chain(&self.excluded)
            .any(|one| matches!(one, NameConstraint::Uri(_)))
    }
}

fn constraint(name: &GeneralName<'_>) -> NameConstraint {
    match name {
        GeneralName::URI(host) => NameConstraint::Uri((*host).to_owned()),
        GeneralName::DNSName(name) => NameConstraint::Dns((*name).to_owned()),
        GeneralName::IPAddress(bytes) if matches!(bytes.len(), 8 | 32) => {
            let (address, mask) = bytes.split_at(bytes.len() / 2);
            NameConstraint::Ip(address.to_vec(), mask.to_vec())
        }
        GeneralName::IPAddress(_) => NameConstraint::Other("addresses in a malformed way"),
        GeneralName::DirectoryName(_) => NameConstraint::Other("directory names"),
        GeneralName::RFC822Name(_) => NameConstraint::Other("e-mail addresses"),
        _ => NameConstraint::Other("names of an unusual kind"),
    }
}

/// The extension value of `permitted` URI hosts (RFC 5280 §4.2.1.10), DER.
pub(crate) fn permitted_uris(hosts: &[UriHost]) -> Vec<u8> {
    let subtrees: Vec<Vec<u8>> = hosts
        .iter()
        // GeneralName [6] uniformResourceIdentifier, in a GeneralSubtree.
        .map(|host| der::sequence(&[der::value(0x86, host.0.as_bytes())]))
        .collect();
    der::sequence(&[der::value(0xa0, &subtrees.concat())])
}

/// A host that URI names may be constrained to, or with a dot before it all hosts below.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UriHost(String);

/// A text that no verifier would match as the host of a URI.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{found:?} cannot constrain URIs: expected a DNS name of letters, digits, hyphens and dots \
     (`example.org` for that host, `.example.org` for all below; an underscore matches nowhere)"
)]
pub struct BadUriHost {
    /// The text.
    pub found: String,
}

impl UriHost {
    /// The host, as the constraint holds it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UriHost {
    type Err = BadUriHost;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.strip_prefix('.').unwrap_or(text);
        let is_label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        // Verifiers want a host with a dot, and no address.
        let is_name = name.len() <= 253
            && name.contains('.')
            && name.split('.').all(is_label)
            && name.parse::<IpAddr>().is_err();
        if is_name {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(BadUriHost {
                found: text.to_owned(),
            })
        }
    }
}

impl fmt::Display for UriHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
