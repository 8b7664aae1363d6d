//! Policies that come in a signed bundle, in place of those in the configuration.
//!
//! The bundle comes the way the deny list comes, by the same agent and the same signers. One thread of the proxy
//! fetches for all, and each verifies and compiles what it takes. Policies are replaced as a whole or not at all:
//! whatever does not verify or compile leaves those in force that are.

pub mod held;
pub mod subscription;

use std::rc::Rc;

use identity::policy_bundle::BundleName;
use policy::config::CompiledPolicyBundle;

use crate::deny_list::settings::DenyListSettings;

/// Which bundle, and where it comes from.
#[derive(Debug)]
pub struct BundleSettings {
    /// Its name.
    pub name: BundleName,
    /// The lowest sequence accepted.
    pub at_least: u64,
    /// Where it comes from, and who may sign it.
    pub list: Rc<DenyListSettings>,
    /// Names of what the proxy's threads share.
    pub keys: Keys,
}

/// Names of the shared values; see [`deny_list::shared`](crate::deny_list::shared::Keys).
#[derive(Debug)]
pub struct Keys {
    /// Oldest bundle accepted.
    pub floor: String,
    /// Who fetches, and until when.
    pub lease: String,
    /// The newest signed head.
    pub head: String,
    /// The policies it stands for.
    pub body: String,
}

impl BundleSettings {
    /// The settings of a configuration with this deny list.
    #[must_use]
    pub fn new(bundle: CompiledPolicyBundle, list: &Rc<DenyListSettings>) -> Self {
        let CompiledPolicyBundle { name, at_least } = bundle;
        let signers = &list.keys.signers;
        let key = |what: &str| format!("countersign.policy_bundle.{what}/{signers}/{name}");
        Self {
            keys: Keys {
                floor: key("floor"),
                lease: key("lease"),
                head: key("head"),
                body: key("body"),
            },
            name,
            at_least,
            list: Rc::clone(list),
        }
    }

    /// Whether a bundle of this sequence that was verified with these settings would be with `other`.
    #[must_use]
    pub fn is_covered_by(&self, other: &Self, sequence: u64) -> bool {
        self.name == other.name
            && sequence >= other.at_least
            && self.list.is_covered_by(&other.list)
    }

    /// What to ask the agent for by who has the bundle of this epoch and sequence: a path with its query.
    #[must_use]
    pub fn path(&self, (epoch, sequence): (u64, u64)) -> String {
        let name = &self.name;
        format!("/v1/policy-bundles/{name}?epoch={epoch}&since={sequence}")
    }
}
