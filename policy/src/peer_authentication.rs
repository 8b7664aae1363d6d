//! Istio's `PeerAuthentication`: whether a port takes mutual TLS, plaintext or both.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    authentication::{check_set, created},
    authorization_policy::{Metadata, WorkloadSelector, present},
    error::{CompileError, Problem},
    report::Report,
    scope::Scope,
};

/// A `PeerAuthentication` resource, `security.istio.io/v1` and `v1beta1`, as it was written.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PeerAuthentication {
    /// `security.istio.io/v1` or `security.istio.io/v1beta1`.
    pub api_version: String,
    /// `PeerAuthentication`.
    pub kind: String,
    /// Name and namespace; `creationTimestamp` decides between resources of the same scope.
    pub metadata: Metadata,
    /// What is asked of peers; left out, everything is inherited.
    #[serde(default)]
    pub spec: PeerAuthenticationSpec,
    /// Written by the API server; not looked at.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub status: Option<Value>,
}

/// Istio `PeerAuthentication.spec`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PeerAuthenticationSpec {
    /// Workloads it is for; without labels all of the namespace (of the mesh, in the root namespace).
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub selector: Option<WorkloadSelector>,
    /// The mode of all ports.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub mtls: Option<MutualTls>,
    /// Workload port (a text of digits, 1 to 65535) → its own mode; only beside a selector with labels.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub port_level_mtls: Option<BTreeMap<String, MutualTls>>,
}

/// Istio `PeerAuthentication.MutualTLS`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct MutualTls {
    /// The mode; UNSET if left out.
    #[serde(skip_serializing_if = "WrittenMode::is_default")]
    pub mode: WrittenMode,
}

/// Istio `PeerAuthentication.MutualTLS.Mode`, as it is written.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum WrittenMode {
    /// What the next wider scope says; at last PERMISSIVE.
    #[default]
    Unset,
    /// No TLS.
    Disable,
    /// Mutual TLS and plaintext.
    Permissive,
    /// Mutual TLS alone.
    Strict,
}

impl WrittenMode {
    fn is_default(&self) -> bool {
        *self == Self::Unset
    }

    fn mode(self) -> Option<MtlsMode> {
        match self {
            Self::Unset => None,
            Self::Disable => Some(MtlsMode::Disable),
            Self::Permissive => Some(MtlsMode::Permissive),
            Self::Strict => Some(MtlsMode::Strict),
        }
    }
}

/// What a port takes.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum MtlsMode {
    /// Mutual TLS and plaintext.
    #[default]
    Permissive,
    /// Mutual TLS alone: a peer without a certificate is denied.
    Strict,
    /// No TLS: every peer is plaintext.
    Disable,
}

impl MtlsMode {
    /// The mode as Istio writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Permissive => "PERMISSIVE",
            Self::Strict => "STRICT",
            Self::Disable => "DISABLE",
        }
    }
}

/// The modes in force at one workload.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MtlsModes {
    /// What a resource says; `None` where none does.
    workload: Option<MtlsMode>,
    ports: BTreeMap<u16, MtlsMode>,
}

impl PeerAuthentication {
    /// Everything wrong with the resource, as Istio's admission would refuse it; `index` of the errors is 0.
    #[must_use]
    pub fn validate(&self) -> Vec<CompileError> {
        let written = (self.api_version.as_str(), self.kind.as_str());
        let mut report = Report::new(KIND, 0, &self.metadata);
        report.head(written, &self.metadata);
        report.creation(&self.metadata);
        report.selector(self.spec.selector.as_ref());
        if let Some(ports) = &self.spec.port_level_mtls {
            let path = "spec.portLevelMtls";
            if ports.is_empty() {
                report.problem(path, Problem::Empty);
            } else if !self.has_labels() {
                let expected = "spec.selector.matchLabels, without which ports cannot have modes";
                report.problem(path, Problem::Missing { expected });
            }
            for port in ports.keys().filter(|port| parse_port(port).is_none()) {
                report.invalid(format!("{path}.{port}"), port, "a port from 1 to 65535");
            }
        }
        report.finish()
    }

    fn has_labels(&self) -> bool {
        let selector = self.spec.selector.as_ref();
        selector
            .and_then(|selector| selector.match_labels.as_ref())
            .is_some_and(|labels| !labels.is_empty())
    }

    fn mode(&self) -> Option<MtlsMode> {
        self.spec.mtls.and_then(|mtls| mtls.mode.mode())
    }
}

impl MtlsModes {
    /// The modes that `resources` give the workload of `scope`: a resource for the workload stands above one for
    /// its namespace, that above one for the mesh (in the root namespace, without labels). Within a scope the
    /// oldest counts, of the same age the first by name; the others are ignored, as in Istio, and so is one with
    /// labels in the root namespace. UNSET inherits, and PERMISSIVE is where there is nothing to inherit.
    ///
    /// # Errors
    /// All problems of all resources, also of those that do not apply; nothing is kept then.
    pub fn compile(
        resources: &[PeerAuthentication],
        scope: &Scope,
    ) -> Result<Self, Vec<CompileError>> {
        let checked = resources
            .iter()
            .map(|resource| (&resource.metadata, resource.validate()));
        let errors = check_set(KIND, checked);
        if !errors.is_empty() {
            return Err(errors);
        }
        let [mesh, namespace, workload] = by_scope(resources, scope);
        let mut narrowest_first = [workload, namespace, mesh].into_iter().flatten();
        let mode = narrowest_first.find_map(PeerAuthentication::mode);
        let of_port = |mtls: &MutualTls| mtls.mode.mode().or(mode).unwrap_or_default();
        // One by one: collecting brings a sort of its own into the filter.
        let mut ports = BTreeMap::new();
        let written = workload
            .and_then(|resource| resource.spec.port_level_mtls.as_ref())
            .into_iter()
            .flatten()
            .filter_map(|(port, mtls)| Some((parse_port(port)?, of_port(mtls))));
        for (port, mode) in written {
            ports.insert(port, mode);
        }
        Ok(Self {
            workload: mode,
            ports,
        })
    }

    /// The mode of a port of the workload; without a port, or for one that has no mode of its own, the workload's.
    #[must_use]
    pub fn mode(&self, port: Option<u16>) -> MtlsMode {
        self.written(port).unwrap_or_default()
    }

    /// The same, without the default: `None` where no resource says anything.
    #[must_use]
    pub fn written(&self, port: Option<u16>) -> Option<MtlsMode> {
        port.and_then(|port| self.ports.get(&port))
            .copied()
            .or(self.workload)
    }

    /// The ports with a mode of their own, by number.
    pub fn ports(&self) -> impl Iterator<Item = (u16, MtlsMode)> {
        self.ports.iter().map(|(port, mode)| (*port, *mode))
    }
}

/// The resource that counts for the mesh, for the namespace and for the workload.
fn by_scope<'r>(
    resources: &'r [PeerAuthentication],
    scope: &Scope,
) -> [Option<&'r PeerAuthentication>; 3] {
    let mut found = [None; 3];
    for resource in resources {
        let namespace = resource.metadata.namespace.as_deref().unwrap_or_default();
        let labels = resource.has_labels();
        let rank = match namespace == scope.root_namespace {
            true if labels => continue,
            true => 0,
            false if namespace != scope.workload.namespace => continue,
            false if !labels => 1,
            false if scope.includes(namespace, resource.spec.selector.as_ref()) => 2,
            false => continue,
        };
        if let Some(best) = found.get_mut(rank)
            && best.is_none_or(|best| age(resource) < age(best))
        {
            *best = Some(resource);
        }
    }
    found
}

/// Oldest first, then by name.
fn age(resource: &PeerAuthentication) -> (&str, Option<&str>) {
    let metadata = &resource.metadata;
    (
        created(metadata).unwrap_or_default(),
        metadata.name.as_deref(),
    )
}

/// A port without sign or leading zeros, so that no two keys of a map are the same port.
fn parse_port(text: &str) -> Option<u16> {
    let port = text.parse::<u16>().ok().filter(|port| *port > 0)?;
    (port.to_string() == text).then_some(port)
}

/// The kind, as it is written.
pub(crate) const KIND: &str = "PeerAuthentication";

#[cfg(test)]
mod tests;
