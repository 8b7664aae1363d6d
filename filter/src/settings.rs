//! The configuration in force.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Deref;
use std::rc::Rc;

use identity::SpiffeId;
use identity::deny_list::ListKey;
use identity::x509::Sha256Digest;
use policy::config::{self, CompiledConfig, CompiledDenyList, PluginConfig, StaleList};

use crate::certificates::{Certificates, Known};
use crate::deny_list::floor::{self, Floor};

pub use policy::config::{Direction, HoldLimits, MAX_CONFIG_BYTES};

/// A configuration, compiled.
#[derive(Debug)]
pub struct Plugin {
    compiled: CompiledConfig,
    deny_list: Option<Rc<DenyListSettings>>,
    certificates: RefCell<Certificates>,
}

/// Where the deny list comes from and which lists are accepted.
#[derive(Clone, Debug)]
pub struct DenyListSettings {
    /// Envoy cluster of the agent.
    pub cluster: String,
    /// Path there, without a query.
    pub path: String,
    /// Milliseconds between two polls.
    pub poll_milliseconds: u32,
    /// The keys that may sign it.
    pub keys: Vec<ListKey>,
    /// Whether a certificate is denied without a list or with a stale one.
    pub stale_denies: bool,
    /// Oldest list accepted.
    pub floor: Option<Floor>,
    /// Name of the floor shared between the proxy's threads.
    pub floor_key: String,
    /// The mesh's own trust domain, whose list it is.
    pub trust_domain: String,
}

impl Plugin {
    /// Reads and compiles a configuration.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its path.
    pub fn parse(bytes: &[u8]) -> Result<Self, Vec<String>> {
        let written = PluginConfig::from_json(bytes).map_err(|error| vec![error.to_string()])?;
        let mut compiled = config::compile(&written)
            .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let trust_domain = compiled.scope.trust_domain.to_string();
        let deny_list = compiled.deny_list.take();
        let deny_list = deny_list.map(|list| Rc::new(DenyListSettings::new(list, &trust_domain)));
        Ok(Self {
            compiled,
            deny_list,
            certificates: RefCell::default(),
        })
    }

    /// Where the deny list comes from, if there is one.
    #[must_use]
    pub const fn deny_list(&self) -> Option<&Rc<DenyListSettings>> {
        self.deny_list.as_ref()
    }

    /// What is known of a certificate.
    pub fn find_certificate(&self, digest: &Sha256Digest) -> Option<Known> {
        self.certificates.try_borrow_mut().ok()?.find(digest)
    }

    /// Remembers what was found out about one.
    pub fn keep_certificate(&self, digest: Sha256Digest, known: Known) {
        if let Ok(mut certificates) = self.certificates.try_borrow_mut() {
            certificates.keep(digest, known);
        }
    }

    /// Who the servers of a cluster may be; `None` for a cluster that is not named.
    #[must_use]
    pub fn servers(&self, cluster: &str) -> Option<&BTreeSet<SpiffeId>> {
        self.compiled.secure_naming.as_ref()?.clusters.get(cluster)
    }

    /// How long and how many requests are held.
    #[must_use]
    pub fn hold(&self) -> HoldLimits {
        self.compiled
            .secure_naming
            .as_ref()
            .map(|naming| naming.hold)
            .unwrap_or_default()
    }
}

impl Deref for Plugin {
    type Target = CompiledConfig;

    fn deref(&self) -> &CompiledConfig {
        &self.compiled
    }
}

impl DenyListSettings {
    fn new(list: CompiledDenyList, trust_domain: &str) -> Self {
        let floor_key = floor::key(trust_domain, &list.keys);
        Self {
            cluster: list.cluster,
            path: list.path,
            poll_milliseconds: list.poll_milliseconds,
            keys: list.keys,
            stale_denies: list.stale == StaleList::Deny,
            floor: list.floor.map(|floor| (floor.epoch, floor.sequence)),
            floor_key,
            trust_domain: trust_domain.to_owned(),
        }
    }

    /// Whether every list that was verified with these settings would be with `other`: the same trust
    /// domain, and all of the keys.
    #[must_use]
    pub fn is_covered_by(&self, other: &Self) -> bool {
        self.trust_domain == other.trust_domain
            && self.keys.iter().all(|key| other.keys.contains(key))
    }
}
