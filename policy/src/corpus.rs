//! The corpus format: policies, requests, and the decisions expected of them.
//!
//! The files (`policy/corpus/*.yaml`, described in its README) are run natively and through the built filter, and
//! both must agree. So these types name only what a proxy can show to a filter: the peer and attributes of its
//! certificate, headers with `:method`, `:path` and `:authority`, addresses and ports, claims and metadata.

mod certificate;
mod expect;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use identity::{SpiffeId, TrustDomain};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;

use crate::{
    claims::{Claims, DynamicMetadata, NoMetadata},
    config::{Direction, PluginConfig, TrustEntry},
    engine::PolicySet,
    json::ShapeError,
    path::PathNormalization,
    peer::{Peer, PeerFault},
    request::Request,
    resources::{Resource, Resources},
    scope::{DEFAULT_ROOT_NAMESPACE, Protocol, Scope, Target, WorkloadKind, WorkloadScope},
    yaml::{self, YamlError},
};

pub use self::{
    certificate::{CaseCertificate, CaseKey},
    expect::{Expectation, ExpectedShadow, Verdict},
};

/// One file of the corpus.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct File {
    /// What the file shows, in a sentence.
    pub about: String,
    /// The workload the policies are compiled for.
    #[serde(default)]
    pub scope: FileScope,
    /// Why the file is run in the native engine only; a host of the filter leaves it out, and says so.
    #[serde(default)]
    pub native: Option<String>,
    /// Resources as Istio writes them, of every kind that is read.
    pub policies: Vec<Value>,
    /// Requests and what becomes of them; at least one.
    pub cases: Vec<Case>,
}

/// The workload of a file; every field has a default.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct FileScope {
    /// Namespace `default`, labels `app: httpbin` unless said otherwise.
    pub workload: WorkloadScope,
    /// `cluster.local` unless said otherwise.
    pub trust_domain: String,
    /// None unless said otherwise.
    pub trust_domain_aliases: Vec<String>,
    /// `istio-system` unless said otherwise.
    pub root_namespace: String,
    /// The configuration's default unless said otherwise.
    pub path_normalization: PathNormalization,
    /// `http` unless said otherwise.
    pub protocol: Protocol,
    /// `sidecar` unless said otherwise.
    pub workload_kind: WorkloadKind,
    /// None unless said otherwise.
    pub targets: Vec<Target>,
    /// None unless said otherwise.
    pub custom_providers: BTreeSet<String>,
}

/// One request and what becomes of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Case {
    /// A statement, unique in its file.
    pub name: String,
    /// Why the case is run in the native engine only; a host of the filter leaves it out, and says so.
    #[serde(default)]
    pub native: Option<String>,
    /// The other end of the connection.
    pub peer: CasePeer,
    /// What the peer's certificate looks like; only beside a SPIFFE ID.
    #[serde(default)]
    pub certificate: Option<CaseCertificate>,
    /// `:method`.
    #[serde(default = "default_method")]
    pub method: String,
    /// `:path`, with its query.
    #[serde(default = "default_path")]
    pub path: String,
    /// `:authority`.
    #[serde(default = "default_host")]
    pub host: String,
    /// Pseudo-headers that are not there at all.
    #[serde(default)]
    pub without: Vec<Pseudo>,
    /// Other headers, in order; a name may occur several times.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// Address of the TCP peer.
    #[serde(default = "default_source_ip")]
    pub source_ip: IpAddr,
    /// Address of the client behind trusted proxies; that of the TCP peer if left out.
    #[serde(default)]
    pub remote_ip: Option<IpAddr>,
    /// Port of the TCP peer.
    #[serde(default = "default_source_port")]
    pub source_port: u16,
    /// Local address of the connection.
    #[serde(default = "default_destination_ip")]
    pub destination_ip: IpAddr,
    /// Local port of the connection.
    #[serde(default = "default_destination_port")]
    pub destination_port: u16,
    /// Server name the client asked for in TLS; none if left out.
    #[serde(default)]
    pub sni: Option<String>,
    /// Payload of the validated token; no token if left out.
    #[serde(default)]
    pub claims: Option<Value>,
    /// What other filters left: name of the filter → key → value.
    #[serde(default)]
    pub metadata: Option<Value>,
    /// What becomes of it.
    pub expect: Expectation,
    /// What AUDIT and dry-run policies say of it; not compared if left out.
    #[serde(default)]
    pub shadow: Option<ExpectedShadow>,
}

/// The other end of a case's connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CasePeer {
    /// `plaintext`: no TLS.
    Plaintext,
    /// `certificate-missing`: the proxy speaks of mutual TLS but shows no certificate.
    CertificateMissing,
    /// A SPIFFE ID, of a valid X.509-SVID.
    Workload(SpiffeId),
}

/// A pseudo-header that a case can do without.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
pub enum Pseudo {
    /// `:method`.
    Method,
    /// `:path`.
    Path,
    /// `:authority`.
    Host,
}

impl File {
    /// Reads a file; `name` is for errors.
    ///
    /// # Errors
    /// Not YAML, not one document, not of this shape, no cases, or two cases of one name.
    pub fn parse(name: &str, text: &str) -> Result<Self, YamlError> {
        let file: Self = yaml::single(name, text)?;
        let problem =
            |path: String, problem: &str| YamlError::new(name, None, path, problem.to_owned());
        if file.cases.is_empty() {
            return Err(problem("cases".to_owned(), "has no cases"));
        }
        let mut names = BTreeSet::new();
        for (index, case) in file.cases.iter().enumerate() {
            if !names.insert(case.name.as_str()) {
                return Err(problem(
                    format!("cases[{index}].name"),
                    "occurs twice in the file",
                ));
            }
            if case.certificate.is_some() && !matches!(case.peer, CasePeer::Workload(_)) {
                let path = format!("cases[{index}].certificate");
                return Err(problem(
                    path,
                    "only a peer with a SPIFFE ID has a certificate",
                ));
            }
        }
        Ok(file)
    }

    /// The policies, compiled for the file's workload.
    ///
    /// # Errors
    /// The problems, each with its path in the file.
    pub fn compile(&self) -> Result<PolicySet, Vec<ShapeError>> {
        let scope = self.scope.resolve().map_err(|error| vec![error])?;
        let place = |index: usize, path: &str| format!("policies[{index}].{path}");
        let mut resources = Resources::default();
        let mut places = BTreeMap::new();
        for (index, written) in self.policies.iter().enumerate() {
            let resource = Resource::from_value(written).map_err(|error| {
                let (path, problem) = (place(index, &error.path), error.problem);
                vec![ShapeError { path, problem }]
            })?;
            let kind = resource.kind();
            places.insert((kind, resources.push(resource)), index);
        }
        PolicySet::compile_resources(&resources, &scope).map_err(|errors| {
            let shape = |error: crate::CompileError| {
                let index = places.get(&(error.kind, error.index)).copied();
                ShapeError {
                    path: place(index.unwrap_or(error.index), &error.path),
                    problem: error.problem.to_string(),
                }
            };
            errors.into_iter().map(shape).collect()
        })
    }

    /// The configuration that gives a filter the same policies, with `trust` for the peers' trust domains.
    #[must_use]
    pub fn plugin_config(&self, trust: BTreeMap<String, TrustEntry>) -> PluginConfig {
        let scope = self.scope.clone();
        PluginConfig {
            protocol: scope.protocol,
            workload: scope.workload,
            workload_kind: scope.workload_kind,
            targets: scope.targets,
            custom_providers: scope.custom_providers,
            trust_domain_aliases: scope.trust_domain_aliases,
            root_namespace: scope.root_namespace,
            trust,
            policies: self.policies.clone(),
            path_normalization: scope.path_normalization,
            ..PluginConfig::new(Direction::Inbound, &scope.trust_domain)
        }
    }
}

impl FileScope {
    /// What policies are compiled for.
    ///
    /// # Errors
    /// A name that is no trust domain.
    pub fn resolve(&self) -> Result<Scope, ShapeError> {
        let domain = |path: &str, name: &str| {
            TrustDomain::new(name).map_err(|error| ShapeError {
                path: path.to_owned(),
                problem: format!("{name:?} is not a trust domain: {error}"),
            })
        };
        let alias = |name: &String| domain("scope.trustDomainAliases", name);
        Ok(Scope {
            workload: self.workload.clone(),
            root_namespace: self.root_namespace.clone(),
            trust_domain: domain("scope.trustDomain", &self.trust_domain)?,
            trust_domain_aliases: self
                .trust_domain_aliases
                .iter()
                .map(alias)
                .collect::<Result<_, _>>()?,
            path_normalization: self.path_normalization,
            protocol: self.protocol,
            kind: self.workload_kind,
            targets: self.targets.clone(),
            custom_providers: self.custom_providers.clone(),
        })
    }
}

impl Case {
    /// The request, of `peer`, which is [`CasePeer::to_peer`] of the case's peer. Certificate and time are the
    /// caller's to set, who can make certificates.
    #[must_use]
    pub fn request<'c>(&'c self, peer: &'c Peer) -> Request<'c> {
        let pseudo =
            |which, value: &'c String| (!self.without.contains(&which)).then_some(value.as_bytes());
        let claims = match &self.claims {
            Some(claims) => Some::<&dyn Claims>(claims),
            None => None,
        };
        let metadata: &dyn DynamicMetadata = match &self.metadata {
            Some(metadata) => metadata,
            None => &NoMetadata,
        };
        Request {
            peer,
            method: pseudo(Pseudo::Method, &self.method),
            path: pseudo(Pseudo::Path, &self.path),
            host: pseudo(Pseudo::Host, &self.host),
            headers: &self.headers,
            source_ip: Some(self.source_ip),
            remote_ip: Some(self.remote_ip.unwrap_or(self.source_ip)),
            destination_ip: Some(self.destination_ip),
            destination_port: Some(self.destination_port),
            sni: self.sni.as_deref().map(str::as_bytes),
            claims,
            metadata,
            certificate: None,
            now: None,
        }
    }

    /// All headers as a proxy shows them, the pseudo-headers first.
    #[must_use]
    pub fn header_map(&self) -> Vec<(&str, &str)> {
        [
            (Pseudo::Method, ":method", &self.method),
            (Pseudo::Path, ":path", &self.path),
            (Pseudo::Host, ":authority", &self.host),
        ]
        .into_iter()
        .filter(|(which, _, _)| !self.without.contains(which))
        .map(|(_, name, value)| (name, value.as_str()))
        .chain(
            self.headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        )
        .collect()
    }
}

impl CasePeer {
    /// The peer as the engine knows it.
    #[must_use]
    pub fn to_peer(&self) -> Peer {
        match self {
            Self::Plaintext => Peer::Plaintext,
            Self::CertificateMissing => Peer::Unidentified(PeerFault::CertificateMissing),
            Self::Workload(id) => Peer::Workload(id.clone().into()),
        }
    }
}

impl<'de> Deserialize<'de> for CasePeer {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        match text.as_str() {
            "plaintext" => Ok(Self::Plaintext),
            "certificate-missing" => Ok(Self::CertificateMissing),
            id => SpiffeId::new(id).map(Self::Workload).map_err(|error| {
                D::Error::custom(format!(
                    "{id:?} is not plaintext, certificate-missing or a SPIFFE ID: {error}"
                ))
            }),
        }
    }
}

impl Default for FileScope {
    fn default() -> Self {
        let labels = BTreeMap::from([("app".to_owned(), "httpbin".to_owned())]);
        Self {
            workload: WorkloadScope {
                namespace: "default".to_owned(),
                labels,
            },
            trust_domain: "cluster.local".to_owned(),
            trust_domain_aliases: Vec::new(),
            root_namespace: DEFAULT_ROOT_NAMESPACE.to_owned(),
            path_normalization: PathNormalization::default(),
            protocol: Protocol::default(),
            workload_kind: WorkloadKind::default(),
            targets: Vec::new(),
            custom_providers: BTreeSet::new(),
        }
    }
}

fn default_method() -> String {
    "GET".to_owned()
}

fn default_path() -> String {
    "/".to_owned()
}

fn default_host() -> String {
    "httpbin.default".to_owned()
}

fn default_source_ip() -> IpAddr {
    IpAddr::from([10, 0, 0, 1])
}

fn default_source_port() -> u16 {
    40_000
}

fn default_destination_ip() -> IpAddr {
    IpAddr::from([10, 0, 0, 2])
}

fn default_destination_port() -> u16 {
    8_080
}
