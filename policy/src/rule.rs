//! Compiled rules and how they are tested.

use std::{fmt, net::IpAddr};

use identity::x509::X509Svid;

use crate::{
    decision::PolicyRule,
    matcher::{
        CertificateTest, CidrSet, NamespaceSet, PathSet, RequestPrincipalClaims,
        RequestPrincipalPattern, ServiceAccountPattern, SlashPrincipal, TextSet,
    },
    path::without_query,
    peer::Peer,
    request::Request,
};

/// One rule: one of `from` (if there are any), one of `to` (if there are any), and all of `when`.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) id: PolicyRule,
    pub(crate) from: Vec<Clause>,
    pub(crate) to: Vec<Clause>,
    pub(crate) when: Clause,
}

/// Conditions that must all hold: one source, one operation, or the `when` list.
#[derive(Debug, Default)]
pub(crate) struct Clause(pub(crate) Vec<Condition>);

/// One written field.
#[derive(Debug)]
pub(crate) struct Condition {
    pub(crate) field: Field,
    pub(crate) negated: bool,
    pub(crate) test: Test,
}

/// Where a condition was written, within its rule; displays as the path, `from[1].source.ipBlocks`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Field {
    /// A field of a source.
    From(usize, &'static str),
    /// A field of an operation.
    To(usize, &'static str),
    /// `values` or `notValues` of a condition.
    When(usize, &'static str),
}

/// What is compared with what. An absent attribute never matches; see [`Condition::holds`].
#[derive(Debug)]
pub(crate) enum Test {
    Principal(TextSet),
    Namespace(NamespaceSet),
    ServiceAccount(Vec<ServiceAccountPattern>),
    /// The name of the peer's trust domain.
    TrustDomain(TextSet),
    SourceIp(CidrSet),
    RemoteIp(CidrSet),
    DestinationIp(CidrSet),
    DestinationPort(Vec<u16>),
    Sni(TextSet),
    Host(TextSet),
    Method(TextSet),
    /// The path without query and fragment.
    Path(PathSet),
    /// Each value of the header on its own; the name is in lower case.
    Header(Box<str>, TextSet),
    /// Issuer and subject of the token.
    RequestPrincipal(Vec<RequestPrincipalPattern>, RequestPrincipalClaims),
    /// The claim at this path: a text, or each text of a list.
    Claim(Box<[Box<str>]>, TextSet),
    Metadata(Box<MetadataTest>),
    /// Of the peer's checked certificate.
    Certificate(CertificateTest),
}

/// What another filter left under a key, compared as a text and as a list of texts.
#[derive(Debug)]
pub(crate) struct MetadataTest {
    pub(crate) namespace: Box<str>,
    pub(crate) path: [Box<str>; 1],
    /// The values written plainly.
    pub(crate) text: TextSet,
    /// The values written in brackets.
    pub(crate) element: TextSet,
}

/// A request with what several conditions look at worked out once.
pub(crate) struct View<'r> {
    pub(crate) request: &'r Request<'r>,
    pub(crate) path: Option<&'r [u8]>,
}

impl<'r> View<'r> {
    pub(crate) fn new(request: &'r Request<'r>) -> Self {
        Self {
            request,
            path: request.path.map(without_query),
        }
    }

    /// The SPIFFE ID without `spiffe://`, Istio's form of a principal.
    pub(crate) fn principal(&self) -> Option<&[u8]> {
        let slash_principal = self.slash_principal()?.as_bytes();
        slash_principal.strip_prefix(b"/")
    }

    /// The same with a slash before it, so that every segment has one.
    pub(crate) const fn slash_principal(&self) -> Option<&'r SlashPrincipal> {
        match self.request.peer {
            Peer::Workload(workload) => Some(workload.slash_principal()),
            Peer::Plaintext | Peer::Unidentified(_) => None,
        }
    }

    /// The peer's trust domain.
    pub(crate) fn trust_domain(&self) -> Option<&str> {
        match self.request.peer {
            Peer::Workload(id) => Some(id.trust_domain_name()),
            Peer::Plaintext | Peer::Unidentified(_) => None,
        }
    }

    /// The peer's certificate, if the peer's identity was proved by it.
    pub(crate) fn certificate(&self) -> Option<&'r X509Svid> {
        match self.request.peer {
            Peer::Workload(_) => self.request.certificate,
            Peer::Plaintext | Peer::Unidentified(_) => None,
        }
    }

    /// Calls `test` with each value of a header until it says true. The three pseudo-headers that are
    /// request attributes are taken from there; Envoy keeps `host` as `:authority`.
    pub(crate) fn any_header(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        match name {
            ":method" => self.request.method.is_some_and(test),
            ":path" => self.request.path.is_some_and(test),
            ":authority" | "host" => self.request.host.is_some_and(test),
            name => self.request.headers.any(name, test),
        }
    }
}

impl Rule {
    pub(crate) fn matches(&self, view: &View<'_>) -> bool {
        (self.from.is_empty() || self.from.iter().any(|clause| clause.holds(view)))
            && (self.to.is_empty() || self.to.iter().any(|clause| clause.holds(view)))
            && self.when.holds(view)
    }

    /// The first failing condition of the first of `from`, `to` and `when` that fails; `None` if the rule matches.
    pub(crate) fn first_failing(&self, view: &View<'_>) -> Option<&Condition> {
        Clause::first_failing_of(&self.from, view)
            .or_else(|| Clause::first_failing_of(&self.to, view))
            .or_else(|| self.when.first_failing(view))
    }

    /// Every condition of the rule.
    pub(crate) fn conditions(&self) -> impl Iterator<Item = &Condition> {
        self.from
            .iter()
            .chain(&self.to)
            .chain([&self.when])
            .flat_map(|clause| &clause.0)
    }
}

impl Clause {
    pub(crate) fn holds(&self, view: &View<'_>) -> bool {
        self.first_failing(view).is_none()
    }

    /// Of alternatives that all fail, the first failing condition of the first one.
    fn first_failing_of<'c>(alternatives: &'c [Self], view: &View<'_>) -> Option<&'c Condition> {
        let holds = alternatives.iter().any(|clause| clause.holds(view));
        let first = alternatives.first().filter(|_| !holds)?;
        first.first_failing(view)
    }

    pub(crate) fn first_failing(&self, view: &View<'_>) -> Option<&Condition> {
        self.0.iter().find(|condition| !condition.holds(view))
    }
}

impl Condition {
    /// An absent attribute fails a positive condition and satisfies a negative one.
    pub(crate) fn holds(&self, view: &View<'_>) -> bool {
        self.test.matches(view) != self.negated
    }
}

impl Test {
    fn matches(&self, view: &View<'_>) -> bool {
        let request = view.request;
        match self {
            Self::Principal(set) => view.principal().is_some_and(|id| set.matches(id)),
            Self::Namespace(set) => view.slash_principal().is_some_and(|id| set.matches(id)),
            Self::ServiceAccount(patterns) => view
                .slash_principal()
                .is_some_and(|id| patterns.iter().any(|pattern| pattern.matches(id))),
            Self::TrustDomain(set) => view
                .trust_domain()
                .is_some_and(|name| set.matches(name.as_bytes())),
            Self::SourceIp(set) => request.source_ip.is_some_and(|ip| set.matches(ip)),
            Self::RemoteIp(set) => request.remote_ip.is_some_and(|ip| set.matches(ip)),
            Self::DestinationIp(set) => request.destination_ip.is_some_and(|ip| set.matches(ip)),
            Self::DestinationPort(ports) => request
                .destination_port
                .is_some_and(|port| ports.contains(&port)),
            Self::Sni(set) => request.sni.is_some_and(|name| set.matches(name)),
            Self::Host(set) => request.host.is_some_and(|host| set.matches(host)),
            Self::Method(set) => request.method.is_some_and(|method| set.matches(method)),
            Self::Path(set) => view.path.is_some_and(|path| set.matches(path)),
            Self::Header(name, set) => view.any_header(name, &mut |value| set.matches(value)),
            Self::RequestPrincipal(patterns, names) => request
                .claims
                .is_some_and(|claims| patterns.iter().any(|p| p.matches(claims, names))),
            Self::Claim(path, set) => request
                .claims
                .is_some_and(|claims| claims.any(path, &mut |value| set.matches(value))),
            Self::Metadata(test) => test.matches(request),
            Self::Certificate(test) => view
                .certificate()
                .is_some_and(|certificate| test.matches(certificate, request.now)),
        }
    }

    /// Whether the attribute exists for requests only, not for a TCP connection.
    pub(crate) fn is_http_only(&self) -> bool {
        match self {
            Self::Host(_)
            | Self::Method(_)
            | Self::Path(_)
            | Self::Header(..)
            | Self::RequestPrincipal(..)
            | Self::Claim(..) => true,
            Self::Principal(_)
            | Self::Namespace(_)
            | Self::ServiceAccount(_)
            | Self::TrustDomain(_)
            | Self::SourceIp(_)
            | Self::RemoteIp(_)
            | Self::DestinationIp(_)
            | Self::DestinationPort(_)
            | Self::Sni(_)
            | Self::Metadata(_)
            | Self::Certificate(_) => false,
        }
    }

    /// Whether a path that is not in normal form could slip past this test.
    pub(crate) fn looks_at_path(&self) -> bool {
        match self {
            Self::Path(_) => true,
            Self::Header(name, _) => name.as_ref() == ":path",
            _ => false,
        }
    }

    /// The attribute's values in the request, for people.
    pub(crate) fn seen(&self, view: &View<'_>) -> Vec<String> {
        let request = view.request;
        let text = |value: Option<&[u8]>| value.map(lossy).into_iter().collect();
        let address = |ip: Option<IpAddr>| ip.iter().map(ToString::to_string).collect();
        match self {
            Self::Principal(_) | Self::Namespace(_) | Self::ServiceAccount(_) => {
                text(view.principal())
            }
            Self::TrustDomain(_) => text(view.trust_domain().map(str::as_bytes)),
            Self::SourceIp(_) => address(request.source_ip),
            Self::RemoteIp(_) => address(request.remote_ip),
            Self::DestinationIp(_) => address(request.destination_ip),
            Self::DestinationPort(_) => request
                .destination_port
                .iter()
                .map(ToString::to_string)
                .collect(),
            Self::Sni(_) => text(request.sni),
            Self::Host(_) => text(request.host),
            Self::Method(_) => text(request.method),
            Self::Path(_) => text(view.path),
            Self::Header(name, _) => collect(&mut |keep| view.any_header(name, keep)),
            Self::RequestPrincipal(_, names) => {
                let claim = |path: &[Box<str>]| {
                    request.claims.map_or_else(Vec::new, |claims| {
                        collect(&mut |keep| claims.any(path, keep))
                    })
                };
                let (issuers, subjects) = (claim(&names.issuer), claim(&names.subject));
                issuers
                    .iter()
                    .flat_map(|issuer| subjects.iter().map(move |sub| format!("{issuer}/{sub}")))
                    .collect()
            }
            Self::Claim(path, _) => request.claims.map_or_else(Vec::new, |claims| {
                collect(&mut |keep| claims.any(path, keep))
            }),
            Self::Metadata(test) => test.seen(request),
            Self::Certificate(test) => view
                .certificate()
                .map_or_else(Vec::new, |certificate| test.seen(certificate, request.now)),
        }
    }
}

impl MetadataTest {
    fn matches(&self, request: &Request<'_>) -> bool {
        let metadata = request.metadata;
        metadata.text(&self.namespace, &self.path, &mut |v| self.text.matches(v))
            || metadata.elements(&self.namespace, &self.path, &mut |v| {
                self.element.matches(v)
            })
    }

    fn seen(&self, request: &Request<'_>) -> Vec<String> {
        let metadata = request.metadata;
        let mut seen = collect(&mut |keep| metadata.text(&self.namespace, &self.path, keep));
        seen.extend(collect(&mut |keep| {
            metadata.elements(&self.namespace, &self.path, keep)
        }));
        seen
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::From(index, name) => write!(f, "from[{index}].source.{name}"),
            Self::To(index, name) => write!(f, "to[{index}].operation.{name}"),
            Self::When(index, name) => write!(f, "when[{index}].{name}"),
        }
    }
}

/// What is asked of each value until it says true.
type Ask<'a> = &'a mut dyn FnMut(&[u8]) -> bool;

/// Every value that `visit` asks about.
fn collect(visit: &mut dyn FnMut(Ask<'_>) -> bool) -> Vec<String> {
    let mut values = Vec::new();
    visit(&mut |value| {
        values.push(lossy(value));
        false
    });
    values
}

fn lossy(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}
