//! From the written configuration to what the filter uses.

use std::collections::{BTreeMap, BTreeSet};

use identity::{
    SpiffeId, TrustDomain,
    bundle::{BundleError, TrustBundle},
    deny_list::ListKey,
    x509::SvidProfile,
};

use crate::{authorization_policy::AuthorizationPolicy, engine::PolicySet, json, scope::Scope};

use super::{
    ConfigError, ConfigProblem, DecisionLog, DenyListConfig, Direction, HoldLimits, ListFloor,
    PluginConfig, SecureNaming, StaleList,
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
    /// The policies of the workload; without any when outbound.
    pub policies: PolicySet,
    /// Where the deny list comes from, if there is one.
    pub deny_list: Option<CompiledDenyList>,
    /// Which identities each upstream cluster may have; always there when outbound.
    pub secure_naming: Option<CompiledSecureNaming>,
    /// What is told about decisions.
    pub decision_log: DecisionLog,
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
    /// The keys, one of which must have signed the list; at least one.
    pub keys: Vec<ListKey>,
    /// What happens while there is no list or the one in hand has expired.
    pub stale: StaleList,
    /// The oldest list that is accepted.
    pub floor: Option<ListFloor>,
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
    let mut errors = Errors::default();
    if config.schema_version != SCHEMA_VERSION {
        let (found, expected) = (config.schema_version, SCHEMA_VERSION);
        // The rest would be read by the wrong rules.
        return Err(vec![ConfigError::new(
            "schemaVersion",
            ConfigProblem::Version { found, expected },
        )]);
    }
    errors.check_direction(config);
    let scope = errors.scope(config);
    let trust = errors.trust(config);
    let policies = scope
        .as_ref()
        .and_then(|scope| errors.policies(config, scope));
    let deny_list = config.deny_list.as_ref().map(|list| errors.deny_list(list));
    let secure_naming = config
        .secure_naming
        .as_ref()
        .map(|naming| errors.secure_naming(naming));
    let (Some(scope), Some(policies), true) = (scope, policies, errors.0.is_empty()) else {
        return Err(errors.0);
    };
    Ok(CompiledConfig {
        direction: config.direction,
        scope,
        svid_profile: config.svid_profile,
        trust,
        policies,
        deny_list,
        secure_naming,
        decision_log: config.decision_log,
    })
}

/// The problems found so far.
#[derive(Default)]
struct Errors(Vec<ConfigError>);

impl Errors {
    fn add(&mut self, path: impl Into<String>, problem: ConfigProblem) {
        self.0.push(ConfigError::new(path, problem));
    }

    fn check_direction(&mut self, config: &PluginConfig) {
        let (path, expected) = match config.direction {
            Direction::Inbound if config.secure_naming.is_some() => {
                ("secureNaming", "secure naming is for direction outbound")
            }
            Direction::Outbound if config.secure_naming.is_none() => {
                ("secureNaming", "direction outbound needs secure naming")
            }
            Direction::Outbound if !config.policies.is_empty() => {
                ("policies", "policies are for direction inbound")
            }
            Direction::Inbound | Direction::Outbound => return,
        };
        self.add(path, ConfigProblem::Direction { expected });
    }

    fn scope(&mut self, config: &PluginConfig) -> Option<Scope> {
        self.not_empty(
            "workload.namespace",
            &config.workload.namespace,
            "a namespace",
        );
        self.not_empty("rootNamespace", &config.root_namespace, "a namespace");
        let trust_domain = self.trust_domain("trustDomain".to_owned(), &config.trust_domain);
        let mut trust_domain_aliases = Vec::new();
        for (index, alias) in config.trust_domain_aliases.iter().enumerate() {
            let path = format!("trustDomainAliases[{index}]");
            trust_domain_aliases.extend(self.trust_domain(path, alias));
        }
        Some(Scope {
            workload: config.workload.clone(),
            root_namespace: config.root_namespace.clone(),
            trust_domain: trust_domain?,
            trust_domain_aliases,
            path_normalization: config.path_normalization,
        })
    }

    fn trust(&mut self, config: &PluginConfig) -> TrustBundle {
        if config.trust.is_empty() {
            let expected = "no peer could be identified without a trust domain and its issuers";
            self.add("trust", ConfigProblem::Empty { expected });
        }
        TrustBundle::from_config(&config.trust).unwrap_or_else(|error| {
            let path = match &error {
                BundleError::BadIssuer {
                    trust_domain,
                    index,
                    ..
                } => {
                    format!("trust.{trust_domain}.issuers[{index}]")
                }
                _ => "trust".to_owned(),
            };
            self.add(path, ConfigProblem::Trust(error));
            TrustBundle::default()
        })
    }

    fn policies(&mut self, config: &PluginConfig, scope: &Scope) -> Option<PolicySet> {
        let mut policies: Vec<AuthorizationPolicy> = Vec::new();
        for (index, written) in config.policies.iter().enumerate() {
            match json::shape(written) {
                Ok(policy) => policies.push(policy),
                Err(error) => {
                    self.0
                        .push(ConfigError::from(error).within(&format!("policies[{index}]")));
                }
            }
        }
        // With one left out, the others' places in the list would be off.
        if policies.len() < config.policies.len() {
            return None;
        }
        PolicySet::compile(&policies, scope)
            .map_err(|errors| self.0.extend(errors.into_iter().map(ConfigError::from)))
            .ok()
    }

    fn deny_list(&mut self, config: &DenyListConfig) -> CompiledDenyList {
        self.not_empty("denyList.cluster", &config.cluster, "the name of a cluster");
        if !config.path.starts_with('/') || config.path.contains(['?', '#', ' ']) {
            let detail = format!("{:?} is not a path without query", config.path);
            self.add("denyList.path", ConfigProblem::Shape { detail });
        }
        let poll = (MIN_POLL_MILLISECONDS, MAX_POLL_MILLISECONDS);
        self.within("denyList.pollMilliseconds", config.poll_milliseconds, poll);
        let found = config.keys.len();
        if found == 0 {
            let expected = "no list could be verified without a key";
            self.add("denyList.keys", ConfigProblem::Empty { expected });
        } else if found > MAX_LIST_KEYS {
            let problem = ConfigProblem::TooMany {
                found,
                unit: "keys",
                limit: MAX_LIST_KEYS,
            };
            self.add("denyList.keys", problem);
        }
        let mut keys = Vec::new();
        for (index, pem) in config.keys.iter().take(MAX_LIST_KEYS).enumerate() {
            match ListKey::from_pem(pem) {
                Ok(key) => keys.push(key),
                Err(error) => {
                    self.add(
                        format!("denyList.keys[{index}]"),
                        ConfigProblem::ListKey(error),
                    );
                }
            }
        }
        CompiledDenyList {
            cluster: config.cluster.clone(),
            path: config.path.clone(),
            poll_milliseconds: config.poll_milliseconds,
            keys,
            stale: config.stale,
            floor: config.floor,
        }
    }

    fn secure_naming(&mut self, config: &SecureNaming) -> CompiledSecureNaming {
        let hold = config.hold;
        let milliseconds = "secureNaming.hold.milliseconds";
        self.within(milliseconds, hold.milliseconds, (1, MAX_HOLD_MILLISECONDS));
        self.within(
            "secureNaming.hold.maxHeld",
            hold.max_held,
            (1, MAX_HELD_REQUESTS),
        );
        let mut clusters = BTreeMap::new();
        for (cluster, written) in &config.clusters {
            let path = format!("secureNaming.clusters.{cluster}");
            let mut ids = BTreeSet::new();
            for (index, id) in written.iter().enumerate() {
                ids.extend(self.spiffe_id(format!("{path}[{index}]"), id));
            }
            clusters.insert(cluster.clone(), ids);
        }
        CompiledSecureNaming { clusters, hold }
    }

    fn spiffe_id(&mut self, path: String, value: &str) -> Option<SpiffeId> {
        let found = SpiffeId::new(value).map(|id| (id.to_string(), id));
        self.canonical(path, value, "SPIFFE ID", found)
    }

    fn trust_domain(&mut self, path: String, value: &str) -> Option<TrustDomain> {
        let found = TrustDomain::new(value).map(|domain| (domain.to_string(), domain));
        self.canonical(path, value, "trust domain", found)
    }

    fn canonical<T>(
        &mut self,
        path: String,
        value: &str,
        expected: &'static str,
        parsed: Result<(String, T), identity::SpiffeIdError>,
    ) -> Option<T> {
        let value = value.to_owned();
        let problem = match parsed {
            Ok((canonical, parsed)) if canonical == value => return Some(parsed),
            Ok((canonical, _)) => ConfigProblem::NotCanonical { value, canonical },
            Err(source) => ConfigProblem::Identity {
                value,
                expected,
                source,
            },
        };
        self.add(path, problem);
        None
    }

    fn not_empty(&mut self, path: &str, value: &str, expected: &'static str) {
        if value.is_empty() {
            self.add(path, ConfigProblem::Empty { expected });
        }
    }

    fn within(&mut self, path: &str, found: u32, (min, max): (u32, u32)) {
        if !(min..=max).contains(&found) {
            self.add(path, ConfigProblem::OutOfRange { found, min, max });
        }
    }
}

/// The version of the schema this build reads and writes.
pub const SCHEMA_VERSION: u32 = 1;
/// Bytes of a configuration: 10,000 policies of a kilobyte and more.
pub const MAX_CONFIG_BYTES: usize = 16 * 1024 * 1024;
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
