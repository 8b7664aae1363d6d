//! From the written configuration to what the filter uses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use identity::{
    SpiffeId, bundle::TrustBundle, deny_list::ListKey, policy_bundle::BundleName, x509::SvidProfile,
};

use crate::{
    engine::{Needs, PolicySet},
    peer::PeerFault,
    request_authentication::RequestAuthentication,
    resources::Resource,
    scope::Scope,
};

use super::{
    ConfigError, ConfigProblem, DecisionLog, Direction, Federation, HoldLimits, ListFloor,
    PluginConfig, StaleList,
    check::{Errors, Written},
};

/// A checked configuration.
#[derive(Debug)]
pub struct CompiledConfig {
    /// Which side of a connection the filter guards.
    pub direction: Direction,
    /// The workload and mesh the policies were compiled for.
    pub scope: Scope,
    /// How strictly peer certificates are read.
    pub svid_profile: SvidProfile,
    /// Which keys may sign the leaves of which trust domain; never empty.
    pub trust: TrustBundle,
    /// Who of foreign trust domains may come in; see [`CompiledConfig::check_federation`].
    pub federation: Option<Federation>,
    /// The peer whose `x-forwarded-client-cert` is read, if there is one.
    pub forwarded_client_cert: Option<SpiffeId>,
    /// The policies of the workload; without any when outbound, [`PolicySet::awaited`] where a bundle holds them.
    pub policies: Arc<PolicySet>,
    /// The bundle that holds the policies, if one does.
    pub policy_bundle: Option<CompiledPolicyBundle>,
    /// Where the deny list comes from, if there is one.
    pub deny_list: Option<CompiledDenyList>,
    /// Which identities each upstream cluster may have; always there when outbound.
    pub secure_naming: Option<CompiledSecureNaming>,
    /// What is told about decisions; names of headers are in lower case.
    pub decision_log: DecisionLog,
}

impl CompiledConfig {
    /// What has to be provided for the policies, those that never change a verdict included; everything where a
    /// bundle holds them.
    #[must_use]
    pub fn needs(&self) -> Needs {
        match &self.policy_bundle {
            Some(_) => Needs::everything(),
            None => self.policies.all_needs(),
        }
    }

    /// Whether a peer with this checked identity may come in at all, whatever policies say.
    ///
    /// # Errors
    /// [`PeerFault::NotFederated`]: it is of a foreign trust domain, and not on that one's allow list.
    pub fn check_federation(&self, peer: &SpiffeId) -> Result<(), PeerFault> {
        let own = self.scope.trust_domain.as_str();
        let aliases = &self.scope.trust_domain_aliases;
        let name = peer.trust_domain_name();
        let is_own = name == own || aliases.iter().any(|alias| alias.as_str() == name);
        match &self.federation {
            Some(federation) if !is_own && !federation.permits(peer) => {
                Err(PeerFault::NotFederated { id: peer.clone() })
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Where the deny list comes from, checked.
#[derive(Clone, Debug)]
pub struct CompiledDenyList {
    /// The proxy's cluster that leads to the agent.
    pub cluster: String,
    /// Path of the list there, without a query.
    pub path: String,
    /// Milliseconds between two requests for the list.
    pub poll_milliseconds: u32,
    /// The keys, one of which must have signed the list; none if there is an authority.
    pub keys: Vec<ListKey>,
    /// The signer's SPIFFE ID, if its certificate is to be checked against the trust bundle instead.
    pub authority: Option<SpiffeId>,
    /// What happens while there is no list or the one in hand has expired.
    pub stale: StaleList,
    /// The oldest list that is accepted.
    pub floor: Option<ListFloor>,
}

/// Which policy bundle holds the policies, checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CompiledPolicyBundle {
    /// Its name.
    pub name: BundleName,
    /// The lowest sequence that is accepted.
    pub at_least: u64,
}

/// Which identities each upstream cluster may have, checked.
#[derive(Clone, Debug)]
pub struct CompiledSecureNaming {
    /// Cluster name → SPIFFE IDs its servers may have.
    pub clusters: BTreeMap<String, BTreeSet<SpiffeId>>,
    /// How long and how many requests wait for the server's identity.
    pub hold: HoldLimits,
}

impl CompiledSecureNaming {
    /// Whether a server of `cluster` may be `server`. An empty set, and a cluster that is not named, deny.
    #[must_use]
    pub fn permits(&self, cluster: &str, server: &SpiffeId) -> bool {
        self.clusters
            .get(cluster)
            .is_some_and(|ids| ids.contains(server))
    }
}

/// Checks a configuration and compiles its parts.
///
/// # Errors
/// Every problem, each with its path; nothing is used then.
pub fn compile(config: &PluginConfig) -> Result<CompiledConfig, Vec<ConfigError>> {
    // Kept for their own problems: the filter does not look at them.
    let mut tokens = Vec::new();
    let mut places = Vec::new();
    let mut read = config.policies.iter().enumerate().map(|(place, written)| {
        let resource = Resource::from_value(written)?;
        if let Resource::RequestAuthentication(one) = resource {
            tokens.push(one);
            places.push(place);
            return Ok(None);
        }
        Ok(Some(resource))
    });
    let compiled = compile_with(config, config.policies.len(), &mut read);
    let problems = RequestAuthentication::validate_all(&tokens);
    if problems.is_empty() {
        return compiled;
    }
    let mut errors = Errors::of(compiled.err().unwrap_or_default());
    errors.located(Some(problems), &places);
    Err(errors.finish())
}

/// The same with `total` policies from elsewhere; those in `config` are not looked at.
pub(super) fn compile_with(
    config: &PluginConfig,
    total: usize,
    written: Written<'_>,
) -> Result<CompiledConfig, Vec<ConfigError>> {
    let mut errors = Errors::default();
    if config.schema_version != SCHEMA_VERSION {
        let (found, expected) = (config.schema_version, SCHEMA_VERSION);
        // The rest would be read by the wrong rules.
        return Err(vec![ConfigError::new(
            "schemaVersion",
            ConfigProblem::Version { found, expected },
        )]);
    }
    errors.check_direction(config, total);
    let scope = errors.scope(config);
    let trust = errors.trust(config);
    let federation = errors.federation(config);
    let forwarded_client_cert = config
        .forwarded_client_cert
        .as_ref()
        .and_then(|header| errors.spiffe_id("forwardedClientCert.hop".to_owned(), &header.hop));
    let decision_log = errors.decision_log(&config.decision_log);
    let policy_bundle = config
        .policy_bundle
        .as_ref()
        .and_then(|bundle| errors.policy_bundle(bundle, config, total));
    let policies = scope
        .as_ref()
        .and_then(|scope| match &config.policy_bundle {
            None => errors.policies(total, written, scope),
            Some(_) => Some(PolicySet::awaited(scope)),
        });
    let deny_list = config
        .deny_list
        .as_ref()
        .map(|list| errors.deny_list(list, config));
    let secure_naming = config
        .secure_naming
        .as_ref()
        .map(|naming| errors.secure_naming(naming));
    let (Some(scope), Some(policies), true) = (scope, policies, errors.is_empty()) else {
        return Err(errors.finish());
    };
    let policies = Arc::new(policies);
    Ok(CompiledConfig {
        direction: config.direction,
        scope,
        svid_profile: config.svid_profile,
        trust,
        federation,
        forwarded_client_cert,
        policies,
        policy_bundle,
        deny_list,
        secure_naming,
        decision_log,
    })
}

/// The version of the schema this build reads and writes.
pub const SCHEMA_VERSION: u32 = 1;
/// Bytes of a configuration: 10,000 policies of a kilobyte and more.
pub const MAX_CONFIG_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of a configuration up to which its policies belong in it: what is longer a Kubernetes API server does not
/// take with everything around it, and each proxy would hold it in its bootstrap besides. Beyond it, a policy bundle.
pub const MAX_INLINE_BYTES: usize = 256 * 1024;
/// The shortest time between two requests for the deny list, in milliseconds.
pub const MIN_POLL_MILLISECONDS: u32 = 50;
/// The longest: a list lives 60 s, and two missed requests must not make it stale.
pub const MAX_POLL_MILLISECONDS: u32 = 20_000;
/// Keys of the deny list's signer; a rotation needs two.
pub const MAX_LIST_KEYS: usize = 16;
/// The longest a request is held, in milliseconds.
pub const MAX_HOLD_MILLISECONDS: u32 = 60_000;
/// The most requests held at a time.
pub const MAX_HELD_REQUESTS: u32 = 65_536;
/// The longest a deny list counts after its expiry, in seconds: a day.
pub const MAX_GRACE_SECONDS: u32 = 86_400;
/// Request headers whose values are logged.
pub const MAX_LOGGED_HEADERS: usize = 16;
/// The thinnest sample of allowed requests: one in a million.
pub const MAX_ONE_IN: u32 = 1_000_000;
