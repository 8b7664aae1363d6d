//! Where the deny list comes from and which lists are accepted.

use identity::bundle::TrustBundle;
use identity::deny_list::ListSigners;
use policy::config::{CompiledDenyList, StaleList};

use crate::deny_list::Freshness;
use crate::deny_list::floor::Floor;
use crate::deny_list::shared::Keys;

/// Where the deny list comes from and which lists are accepted.
#[derive(Clone, Debug)]
pub struct DenyListSettings {
    /// Envoy cluster of the agent.
    pub cluster: String,
    /// Path there, without a query.
    pub path: String,
    /// Milliseconds between two polls.
    pub poll_milliseconds: u32,
    /// Who may sign it.
    pub signers: ListSigners,
    /// What happens without a list or with a stale one.
    pub stale: StaleList,
    /// Oldest list accepted.
    pub floor: Option<Floor>,
    /// Names of what the proxy's threads share.
    pub keys: Keys,
    /// The mesh's own trust domain, whose list it is.
    pub trust_domain: String,
}

impl DenyListSettings {
    /// The settings of a configuration whose own trust domain is `trust_domain`, and whose issuers
    /// are those of `trust`.
    #[must_use]
    pub fn new(list: CompiledDenyList, trust_domain: &str, trust: &TrustBundle) -> Self {
        let signers = match list.authority {
            Some(id) => {
                let issuers = trust.issuers(id.trust_domain()).to_vec();
                ListSigners::Authority { id, issuers }
            }
            None => ListSigners::Keys(list.keys),
        };
        Self {
            keys: Keys::of(trust_domain, &signers),
            cluster: list.cluster,
            path: list.path,
            poll_milliseconds: list.poll_milliseconds,
            signers,
            stale: list.stale,
            floor: list.floor.map(|floor| (floor.epoch, floor.sequence)),
            trust_domain: trust_domain.to_owned(),
        }
    }

    /// Whether peers with a certificate are denied with a list in this state.
    #[must_use]
    pub fn denies_with(&self, freshness: Freshness) -> bool {
        match (self.stale, freshness) {
            (_, Freshness::Fresh) | (StaleList::Allow, _) => false,
            (StaleList::Deny, _) | (StaleList::GraceSeconds(_), Freshness::Missing) => true,
            (StaleList::GraceSeconds(grace), Freshness::Stale { seconds }) => {
                seconds >= u64::from(grace)
            }
        }
    }

    /// Whether every list that was verified with these settings would be with `other`: the same trust
    /// domain, and all of the signers.
    #[must_use]
    pub fn is_covered_by(&self, other: &Self) -> bool {
        self.trust_domain == other.trust_domain && self.signers.are_covered_by(&other.signers)
    }
}
