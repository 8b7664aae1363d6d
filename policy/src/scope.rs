//! Which policies apply to which workload.

use std::collections::{BTreeMap, BTreeSet};

use identity::TrustDomain;
use serde::{Deserialize, Serialize};

use crate::{
    authorization_policy::{AuthorizationPolicy, TargetReference, WorkloadSelector},
    path::PathNormalization,
};

/// The workload that is protected.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkloadScope {
    /// Its namespace.
    pub namespace: String,
    /// Its labels, which `selector.matchLabels` must be a subset of.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// What policies are compiled for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Scope {
    /// The workload that is protected.
    pub workload: WorkloadScope,
    /// Policies of this namespace apply in every namespace; Istio's default is `istio-system`.
    pub root_namespace: String,
    /// The mesh's own trust domain; `cluster.local` in a principal stands for it.
    pub trust_domain: TrustDomain,
    /// Other names of the trust domain; a principal of one stands for all (Istio `trustDomainAliases`).
    pub trust_domain_aliases: Vec<TrustDomain>,
    /// The form every path has when it reaches the filter.
    pub path_normalization: PathNormalization,
    /// What the proxy speaks where the policies are enforced.
    pub protocol: Protocol,
    /// What kind of proxy enforces the policies.
    pub kind: WorkloadKind,
    /// What `targetRefs` may name: the gateways and services the proxy serves.
    pub targets: Vec<Target>,
    /// Names of the providers that the proxy asks for CUSTOM policies, before the filter.
    pub custom_providers: BTreeSet<String>,
}

/// What the proxy speaks where policies are enforced.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Protocol {
    /// Requests with headers.
    #[default]
    Http,
    /// Connections only. As in Istio, an ALLOW rule with a field of HTTP is dropped whole (so it allows
    /// nothing), and of a DENY or AUDIT rule those fields are removed (so it denies more).
    Tcp,
}

/// What kind of proxy enforces the policies.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum WorkloadKind {
    /// Beside a workload: policies with `targetRefs` do not apply.
    #[default]
    Sidecar,
    /// A gateway: policies apply by `targetRefs`, and by selector where they have none.
    Gateway,
    /// A waypoint: policies apply by `targetRefs` only.
    Waypoint,
}

/// Something that `targetRefs` may name.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Target {
    /// API group, e.g. `gateway.networking.k8s.io`; empty for the core group.
    #[serde(default)]
    pub group: String,
    /// Kind, e.g. `Gateway` or `Service`.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Namespace it is in.
    #[serde(default)]
    pub namespace: String,
}

impl Scope {
    /// A workload without labels, with Istio's root namespace and the default path form.
    #[must_use]
    pub fn new(trust_domain: TrustDomain, namespace: &str) -> Self {
        Self {
            workload: WorkloadScope {
                namespace: namespace.to_owned(),
                labels: BTreeMap::new(),
            },
            root_namespace: DEFAULT_ROOT_NAMESPACE.to_owned(),
            trust_domain,
            trust_domain_aliases: Vec::new(),
            path_normalization: PathNormalization::default(),
            protocol: Protocol::default(),
            kind: WorkloadKind::default(),
            targets: Vec::new(),
            custom_providers: BTreeSet::new(),
        }
    }

    /// Whether `policy` applies, by its `targetRefs` or else by namespace and selector.
    ///
    /// A sidecar ignores policies with `targetRefs`, and a waypoint those without, as in Istio.
    #[must_use]
    pub fn applies(&self, policy: &AuthorizationPolicy) -> bool {
        let namespace = policy.metadata.namespace.as_deref().unwrap_or_default();
        let spec = &policy.spec;
        let references = spec.target_refs.iter().flatten().chain(&spec.target_ref);
        self.attaches(namespace, spec.selector.as_ref(), references)
    }

    /// The same for a resource of any kind that may have `targetRefs`.
    pub(crate) fn attaches<'r>(
        &self,
        namespace: &str,
        selector: Option<&WorkloadSelector>,
        references: impl Iterator<Item = &'r TargetReference>,
    ) -> bool {
        let mut references = references.peekable();
        match (self.kind, references.peek().is_some()) {
            (WorkloadKind::Sidecar | WorkloadKind::Gateway, false) => {
                self.includes(namespace, selector)
            }
            (WorkloadKind::Sidecar, true) | (WorkloadKind::Waypoint, false) => false,
            (WorkloadKind::Gateway | WorkloadKind::Waypoint, true) => {
                references.any(|reference| self.serves(reference, namespace))
            }
        }
    }

    /// Whether the proxy serves what a policy of `namespace` refers to, which is always in that namespace.
    fn serves(&self, reference: &TargetReference, namespace: &str) -> bool {
        let group = |group: &str| {
            if group == "core" {
                String::new()
            } else {
                group.to_owned()
            }
        };
        let is_class = reference.group == GATEWAY_API && reference.kind == "GatewayClass";
        if is_class {
            return namespace == self.root_namespace
                && self.kind == WorkloadKind::Waypoint
                && reference.name == WAYPOINT_CLASS;
        }
        self.targets.iter().any(|target| {
            group(&target.group) == group(&reference.group)
                && target.kind == reference.kind
                && target.name == reference.name
                && target.namespace == namespace
        })
    }

    /// Whether a policy of `namespace` with `selector` applies: its namespace is the workload's or the root
    /// namespace, and every label it asks for is there (no selector asks for none).
    #[must_use]
    pub fn includes(&self, namespace: &str, selector: Option<&WorkloadSelector>) -> bool {
        let labels = &self.workload.labels;
        (namespace == self.workload.namespace || namespace == self.root_namespace)
            && selector
                .and_then(|selector| selector.match_labels.as_ref())
                .is_none_or(|wanted| {
                    wanted
                        .iter()
                        .all(|(key, value)| labels.get(key) == Some(value))
                })
    }
}

const GATEWAY_API: &str = "gateway.networking.k8s.io";
/// The class of Istio's waypoints; a policy for it is for all of them.
const WAYPOINT_CLASS: &str = "istio-waypoint";
/// Istio's default root namespace.
pub(crate) const DEFAULT_ROOT_NAMESPACE: &str = "istio-system";
