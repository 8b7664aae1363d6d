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

use policy::Protocol;

use crate::cluster::Cluster;
use crate::error::{Checks, Problem};
use crate::rbac::{Rbac, RulePair};

use self::service::Service;

pub(crate) use self::message::{ExtAuthz, NetworkExtAuthz};
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
    /// The filter that asks about requests.
    Ask(Box<ExtAuthz>),
    /// The one that asks about connections.
    AskTcp(Box<NetworkExtAuthz>),
}

impl Custom {
    /// As in Istio a workload has one provider; where its policies name several, the requests of all those policies
    /// are denied, since none of the providers can be picked. So are connections that an HTTP provider would have to
    /// be asked about; istiod leaves such policies out.
    pub(crate) fn new(
        rbac: &Rbac,
        providers: &Providers<'_>,
        protocol: Protocol,
        checks: &mut Checks,
    ) -> Self {
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
                Some(service) => {
                    let asked = one
                        .then(|| asking(name, pair, &service, protocol))
                        .flatten();
                    match asked {
                        Some(filters) => {
                            custom.filters.extend(filters);
                            custom.clusters.push(providers.cluster(name, &service));
                        }
                        None => custom.filters.push(denying(pair, protocol)),
                    }
                }
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

/// What picks, and what asks; `None` where the provider cannot be asked about such.
fn asking(
    name: &str,
    pair: &RulePair,
    service: &Service<'_>,
    protocol: Protocol,
) -> Option<[CustomFilter; 2]> {
    let (pick, ask) = match protocol {
        Protocol::Http => {
            let ask = ExtAuthz::new(name, service);
            (pair.asking(), CustomFilter::Ask(Box::new(ask)))
        }
        Protocol::Tcp => {
            let ask = NetworkExtAuthz::new(name, service)?;
            (pair.asking_network(), CustomFilter::AskTcp(Box::new(ask)))
        }
    };
    Some([CustomFilter::Rbac(pick), ask])
}

fn denying(pair: &RulePair, protocol: Protocol) -> CustomFilter {
    CustomFilter::Rbac(match protocol {
        Protocol::Http => pair.denying(),
        Protocol::Tcp => pair.denying_network(),
    })
}

#[cfg(test)]
mod tests;
