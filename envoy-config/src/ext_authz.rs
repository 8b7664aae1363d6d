//! Istio's action CUSTOM as Envoy's `ext_authz` filter, what istiod makes of it.
//!
//! In front of everything else stands an RBAC filter that enforces nothing and only leaves in dynamic metadata
//! which CUSTOM rule a request matched; `ext_authz` behind it asks the provider where one did. A provider that
//! cannot be reached denies, unless it is said to be `failOpen`.

mod check;
mod message;
mod provider;
mod service;

use std::collections::BTreeMap;

use crate::cluster::Cluster;
use crate::error::{Checks, Problem};
use crate::rbac::{Rbac, RulePair};

pub(crate) use self::message::ExtAuthz;
pub use self::provider::{
    ExtensionProvider, ExternalAuthorizationGrpc, ExternalAuthorizationHttp, RequestBody,
};
pub(crate) use self::service::Providers;

/// What the CUSTOM policies of a workload need of a proxy, in the order of the filter chain.
#[derive(Clone, Debug, Default)]
pub(crate) struct Custom {
    pub(crate) filters: Vec<CustomFilter>,
    /// Where providers are asked.
    pub(crate) clusters: Vec<Cluster>,
}

#[derive(Clone, Debug)]
pub(crate) enum CustomFilter {
    /// An RBAC filter, as JSON with its name and type.
    Rbac(serde_json::Value),
    /// The filter that asks.
    Ask(Box<ExtAuthz>),
}

impl Custom {
    /// As in Istio a workload has one provider; where its policies name several, the requests of all those policies
    /// are denied, since none of the providers can be picked.
    pub(crate) fn new(rbac: &Rbac, providers: &Providers<'_>, checks: &mut Checks) -> Self {
        let rules: BTreeMap<&str, &RulePair> = rbac
            .custom
            .iter()
            // On trial the provider is not asked: its answer would count.
            .filter(|(_, pair)| pair.enforced.is_some())
            .map(|(name, pair)| (name.as_str(), pair))
            .collect();
        let mut custom = Self::default();
        let one = rules.len() == 1;
        for (name, pair) in rules {
            match providers.find(name) {
                Some(service) if one => {
                    custom.filters.push(CustomFilter::Rbac(pair.asking()));
                    let ask = ExtAuthz::new(name, &service);
                    custom.filters.push(CustomFilter::Ask(Box::new(ask)));
                    custom.clusters.push(providers.cluster(name, &service));
                }
                Some(_) => custom.filters.push(CustomFilter::Rbac(pair.denying())),
                None => checks.refuse(
                    "mesh.extensionProviders",
                    Problem::BadText {
                        value: name.to_owned(),
                        expected: "every provider that a CUSTOM policy of the workload names",
                    },
                ),
            }
        }
        custom
    }
}

#[cfg(test)]
mod tests;
