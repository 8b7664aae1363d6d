//! Compiled rules and how they are tested.

use std::{fmt, net::IpAddr};

use crate::{
    decision::PolicyRule,
    matcher::{CidrSet, NamespacePattern, ServiceAccountPattern, TextSet},
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
    Namespace(Vec<NamespacePattern>),
    ServiceAccount(Vec<ServiceAccountPattern>),
    SourceIp(CidrSet),
    DestinationIp(CidrSet),
    DestinationPort(Vec<u16>),
    Sni(TextSet),
    Host(TextSet),
    Method(TextSet),
    /// The path without query and fragment.
    Path(TextSet),
    /// Each value of the header on its own; the name is in lower case.
    Header(Box<str>, TextSet),
}

/// A request with what several conditions look at worked out once.
pub(crate) struct View<'r> {
    pub(crate) request: &'r Request<'r>,
    /// `/<trust domain><path>` of a peer with a SPIFFE ID.
    slash_principal: Option<String>,
    pub(crate) path: Option<&'r [u8]>,
}

impl<'r> View<'r> {
    pub(crate) fn new(request: &'r Request<'r>) -> Self {
        let slash_principal = match request.peer {
            Peer::Workload(id) => {
                let parts = ["/", id.trust_domain_name(), id.path()];
                Some(parts.concat())
            }
            Peer::Plaintext | Peer::Unidentified(_) => None,
        };
        Self {
            request,
            slash_principal,
            path: request.path.map(without_query),
        }
    }

    /// The SPIFFE ID without `spiffe://`, Istio's form of a principal.
    pub(crate) fn principal(&self) -> Option<&str> {
        self.slash_principal
            .as_deref()
            .and_then(|principal| principal.strip_prefix('/'))
    }

    /// Calls `test` with each value of a header until it says true. The three pseudo-headers that are
    /// request attributes are taken from there; Envoy keeps `host` as `:authority`.
    fn any_header(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
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
            Self::Principal(set) => view
                .principal()
                .is_some_and(|id| set.matches(id.as_bytes())),
            Self::Namespace(patterns) => view
                .slash_principal
                .as_deref()
                .is_some_and(|id| patterns.iter().any(|pattern| pattern.matches(id))),
            Self::ServiceAccount(patterns) => view
                .slash_principal
                .as_deref()
                .is_some_and(|id| patterns.iter().any(|pattern| pattern.matches(id))),
            Self::SourceIp(set) => request.source_ip.is_some_and(|ip| set.matches(ip)),
            Self::DestinationIp(set) => request.destination_ip.is_some_and(|ip| set.matches(ip)),
            Self::DestinationPort(ports) => request
                .destination_port
                .is_some_and(|port| ports.contains(&port)),
            Self::Sni(set) => request.sni.is_some_and(|name| set.matches(name)),
            Self::Host(set) => request.host.is_some_and(|host| set.matches(host)),
            Self::Method(set) => request.method.is_some_and(|method| set.matches(method)),
            Self::Path(set) => view.path.is_some_and(|path| set.matches(path)),
            Self::Header(name, set) => view.any_header(name, &mut |value| set.matches(value)),
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
                text(view.principal().map(str::as_bytes))
            }
            Self::SourceIp(_) => address(request.source_ip),
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
            Self::Header(name, _) => {
                let mut values = Vec::new();
                view.any_header(name, &mut |value| {
                    values.push(lossy(value));
                    false
                });
                values
            }
        }
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

fn lossy(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}
