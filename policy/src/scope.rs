//! Which policies apply to which workload.

use std::collections::BTreeMap;

use identity::TrustDomain;
use serde::{Deserialize, Serialize};

use crate::{authorization_policy::WorkloadSelector, path::PathNormalization};

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
        }
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

/// Istio's default root namespace.
pub(crate) const DEFAULT_ROOT_NAMESPACE: &str = "istio-system";
