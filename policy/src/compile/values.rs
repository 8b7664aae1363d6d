//! Lists of values, which fields and conditions share.

use crate::{
    error::Problem,
    matcher::{
        CidrSet, NamespaceSet, PathSet, PathTemplate, Presence, RequestPrincipalClaims,
        RequestPrincipalPattern, ServiceAccountPattern, TextSet, parse_cidr,
    },
    report::{Path, Report},
    rule::{MetadataTest, Test},
};

use super::{
    certificate::{self, Attribute},
    fields::Fields,
    limits,
};

/// What a list of values is compared with.
pub(super) enum Kind {
    Principal,
    Namespace,
    ServiceAccount,
    TrustDomain,
    SourceIp,
    RemoteIp,
    DestinationIp,
    DestinationPort,
    Sni,
    Host,
    Method,
    Path,
    /// The name in lower case.
    Header(Box<str>),
    RequestPrincipal,
    /// The claim's path.
    Claim(Box<[Box<str>]>),
    /// Namespace and key.
    Metadata(Box<str>, Box<str>),
    Certificate(Attribute),
}

impl Kind {
    /// Whether it is about who the peer or the user is.
    pub(super) fn is_of_identity(&self) -> bool {
        matches!(
            self,
            Self::Principal
                | Self::Namespace
                | Self::ServiceAccount
                | Self::TrustDomain
                | Self::RequestPrincipal
                | Self::Claim(_)
                | Self::Certificate(_)
        )
    }
}

impl Fields<'_> {
    /// The values of one list, compiled; `None` if one of them was reported.
    pub(super) fn test(
        &self,
        kind: Kind,
        values: &[String],
        path: &Path,
        report: &mut Report,
    ) -> Option<Test> {
        if !check_list(&kind, values, path, report) {
            return None;
        }
        Some(match kind {
            Kind::Principal => {
                let expand = |value| self.trust_domains.expand(value);
                let expanded: Vec<_> = values.iter().flat_map(|value| expand(value)).collect();
                Test::Principal(TextSet::new(&expanded, Presence::NonEmpty))
            }
            Kind::Namespace => Test::Namespace(NamespaceSet::new(values)),
            Kind::ServiceAccount => {
                let pattern = |value: &String| ServiceAccountPattern::new(value, self.namespace());
                Test::ServiceAccount(values.iter().map(pattern).collect())
            }
            Kind::TrustDomain => {
                let expand = |value| self.trust_domains.expand_name(value);
                let expanded: Vec<&str> = values.iter().flat_map(|value| expand(value)).collect();
                Test::TrustDomain(TextSet::new(&expanded, Presence::NonEmpty))
            }
            Kind::SourceIp => Test::SourceIp(addresses(values, path, report)?),
            Kind::RemoteIp => Test::RemoteIp(addresses(values, path, report)?),
            Kind::DestinationIp => Test::DestinationIp(addresses(values, path, report)?),
            Kind::DestinationPort => Test::DestinationPort(ports(values, path, report)?),
            Kind::Sni => Test::Sni(TextSet::new(values, Presence::NonEmpty)),
            Kind::Host => Test::Host(TextSet::without_case(values, Presence::MayBeEmpty)),
            Kind::Method => Test::Method(TextSet::new(values, Presence::MayBeEmpty)),
            Kind::Path => Test::Path(paths(values, path, report)?),
            Kind::Header(name) => Test::Header(name, TextSet::new(values, Presence::MayBeEmpty)),
            Kind::RequestPrincipal => {
                let patterns = values
                    .iter()
                    .map(|value| RequestPrincipalPattern::new(value));
                Test::RequestPrincipal(patterns.collect(), RequestPrincipalClaims::default())
            }
            Kind::Claim(path) => Test::Claim(path, TextSet::new(values, Presence::NonEmpty)),
            Kind::Metadata(namespace, key) => {
                Test::Metadata(Box::new(metadata(namespace, key, values)))
            }
            Kind::Certificate(attribute) => {
                Test::Certificate(certificate::test(attribute, values, path, report)?)
            }
        })
    }
}

/// Checks what all lists of a kind share; whether nothing was reported.
fn check_list(kind: &Kind, values: &[String], path: &Path, report: &mut Report) -> bool {
    let (most, longest) = match kind {
        Kind::ServiceAccount => (
            limits::MAX_SERVICE_ACCOUNTS,
            limits::MAX_SERVICE_ACCOUNT_BYTES,
        ),
        _ => (limits::MAX_VALUES, limits::MAX_VALUE_BYTES),
    };
    report.list(path, values.len(), "values", most);
    let mut sound = !values.is_empty() && values.len() <= most;
    for (index, value) in values.iter().take(most).enumerate() {
        let path = path.index(index);
        if value.is_empty() {
            report.problem(&path, Problem::Empty);
        } else if value.len() > longest {
            report.too_many(&path, value.len(), "bytes", longest);
        } else if let Some(expected) = expected_instead(kind, value) {
            report.invalid(&path, value, expected);
        } else {
            continue;
        }
        sound = false;
    }
    sound
}

/// What a value of this kind should look like, if it does not.
fn expected_instead(kind: &Kind, value: &str) -> Option<&'static str> {
    let (fits, expected) = match kind {
        Kind::ServiceAccount => (
            is_service_account(value),
            "SERVICE_ACCOUNT or NAMESPACE/SERVICE_ACCOUNT without wildcard",
        ),
        Kind::TrustDomain => (
            is_trust_domain_pattern(value),
            "a trust domain without /, with at most one * and that at an end",
        ),
        Kind::Metadata(..) => (
            value != "[]",
            "a value, or one in brackets for an element of a list",
        ),
        _ => return None,
    };
    (!fits).then_some(expected)
}

fn is_service_account(value: &str) -> bool {
    let parts = value.split('/').count();
    parts <= 2 && !value.contains('*') && value.split('/').all(|part| !part.is_empty())
}

fn is_trust_domain_pattern(value: &str) -> bool {
    let stars = value.matches('*').count();
    let at_an_end = value.starts_with('*') || value.ends_with('*');
    !value.contains('/') && (stars == 0 || (stars == 1 && at_an_end))
}

fn addresses(values: &[String], path: &Path, report: &mut Report) -> Option<CidrSet> {
    let mut set = CidrSet::default();
    let mut sound = true;
    for (index, value) in values.iter().enumerate() {
        match parse_cidr(value) {
            Ok(range) => set.push(range),
            Err(source) => {
                let problem = Problem::BadAddress {
                    value: value.clone(),
                    source,
                };
                report.problem(&path.index(index), problem);
                sound = false;
            }
        }
    }
    sound.then_some(set)
}

fn ports(values: &[String], path: &Path, report: &mut Report) -> Option<Vec<u16>> {
    let mut ports = Vec::new();
    for (index, value) in values.iter().enumerate() {
        // `parse` alone would take a sign.
        let digits = value.bytes().all(|byte| byte.is_ascii_digit());
        match value.parse() {
            Ok(port) if digits => ports.push(port),
            _ => report.invalid(&path.index(index), value, "a port, 0 to 65535"),
        }
    }
    (ports.len() == values.len()).then_some(ports)
}

/// A value without `{*}` and `{**}` is no template, and braces in it stand for themselves.
fn paths(values: &[String], path: &Path, report: &mut Report) -> Option<PathSet> {
    let mut texts = Vec::new();
    let mut templates = Vec::new();
    for (index, value) in values.iter().enumerate() {
        if !PathTemplate::is_one(value) {
            texts.push(value.as_str());
            continue;
        }
        match PathTemplate::new(value) {
            Ok(template) => templates.push(template),
            Err(expected) => report.invalid(&path.index(index), value, expected),
        }
    }
    let sound = texts.len().saturating_add(templates.len()) == values.len();
    sound.then(|| PathSet::new(TextSet::new(&texts, Presence::NonEmpty), templates))
}

fn metadata(namespace: Box<str>, key: Box<str>, values: &[String]) -> MetadataTest {
    let is_element = |value: &&String| value.starts_with('[') && value.ends_with(']');
    let (elements, texts): (Vec<&String>, Vec<&String>) = values.iter().partition(is_element);
    let elements: Vec<&str> = elements
        .into_iter()
        .map(|value| value.trim_matches(['[', ']']))
        .collect();
    MetadataTest {
        namespace,
        path: [key],
        text: TextSet::new(&texts, Presence::NonEmpty),
        element: TextSet::new(&elements, Presence::NonEmpty),
    }
}
