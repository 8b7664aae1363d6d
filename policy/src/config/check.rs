//! Every check of a configuration, each problem with its path.

use std::collections::{BTreeMap, BTreeSet};

use identity::{
    SpiffeId, TrustDomain,
    bundle::{BundleError, TrustBundle},
    deny_list::ListKey,
};

use crate::{
    compile::{Compiler, limits},
    engine::PolicySet,
    error::CompileError,
    json::ShapeError,
    peer_authentication::MtlsModes,
    resources::Resource,
    scope::{Protocol, Scope},
};

use super::{
    AllowedLog, ConfigError, ConfigProblem, DecisionLog, DenyListConfig, Direction, Federation,
    PluginConfig, SecureNaming, StaleList,
    compiled::{
        CompiledDenyList, CompiledSecureNaming, MAX_GRACE_SECONDS, MAX_HELD_REQUESTS,
        MAX_HOLD_MILLISECONDS, MAX_LIST_KEYS, MAX_LOGGED_HEADERS, MAX_ONE_IN,
        MAX_POLL_MILLISECONDS, MIN_POLL_MILLISECONDS,
    },
    federation,
};

/// Resources as they are read.
pub(super) type Written<'w> = &'w mut dyn Iterator<Item = Result<Option<Resource>, ShapeError>>;

/// The problems found so far.
#[derive(Default)]
pub(super) struct Errors(Vec<ConfigError>);

impl Errors {
    pub(super) fn add(&mut self, path: impl Into<String>, problem: ConfigProblem) {
        self.0.push(ConfigError::new(path, problem));
    }

    pub(super) const fn of(found: Vec<ConfigError>) -> Self {
        Self(found)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn finish(self) -> Vec<ConfigError> {
        self.0
    }

    pub(super) fn check_direction(&mut self, config: &PluginConfig, policies: usize) {
        let (path, expected) = match config.direction {
            Direction::Inbound if config.secure_naming.is_some() => {
                ("secureNaming", "secure naming is for direction outbound")
            }
            Direction::Outbound if config.secure_naming.is_none() => {
                ("secureNaming", "direction outbound needs secure naming")
            }
            Direction::Outbound if policies > 0 => {
                ("policies", "policies are for direction inbound")
            }
            Direction::Outbound if config.policy_bundle.is_some() => {
                ("policyBundle", "policies are for direction inbound")
            }
            Direction::Outbound if config.federation.is_some() => {
                ("federation", "federation is for direction inbound")
            }
            Direction::Outbound if config.forwarded_client_cert.is_some() => (
                "forwardedClientCert",
                "a forwarded certificate is for direction inbound",
            ),
            Direction::Inbound
                if config.protocol == Protocol::Tcp && config.forwarded_client_cert.is_some() =>
            {
                (
                    "forwardedClientCert",
                    "a forwarded certificate is for protocol http",
                )
            }
            Direction::Inbound | Direction::Outbound => return,
        };
        self.add(path, ConfigProblem::Direction { expected });
    }

    pub(super) fn scope(&mut self, config: &PluginConfig) -> Option<Scope> {
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
            protocol: config.protocol,
            kind: config.workload_kind,
            targets: config.targets.clone(),
            custom_providers: config.custom_providers.clone(),
        })
    }

    pub(super) fn trust(&mut self, config: &PluginConfig) -> TrustBundle {
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

    /// Compiles `total` resources, each let go before the next is read; `None` is one that decides nothing.
    pub(super) fn policies(
        &mut self,
        total: usize,
        written: Written<'_>,
        scope: &Scope,
    ) -> Option<PolicySet> {
        let mut compiler = Compiler::new(scope, total);
        let mut peer_authentication = Vec::new();
        // Place in the list of the kind → place in the configuration.
        let (mut policies, mut modes) = (Vec::new(), Vec::new());
        for (index, resource) in written.enumerate() {
            match resource {
                Ok(Some(Resource::AuthorizationPolicy(policy))) => {
                    compiler.add(&policy);
                    policies.push(index);
                }
                Ok(Some(Resource::PeerAuthentication(one))) => {
                    peer_authentication.push(one);
                    modes.push(index);
                }
                Ok(Some(Resource::RequestAuthentication(_)) | None) => {}
                Err(error) => {
                    let error = ConfigError::from(error).within(&format!("policies[{index}]"));
                    self.0.push(error);
                }
            }
        }
        let rules = compiler.finish();
        let mtls = MtlsModes::compile(&peer_authentication, scope);
        match (rules, mtls) {
            (Ok(rules), Ok(mtls)) => Some(PolicySet::new(rules, mtls, scope)),
            (rules, mtls) => {
                self.located(rules.err(), &policies);
                self.located(mtls.err(), &modes);
                None
            }
        }
    }

    /// Problems of resources, with their places in the configuration.
    pub(super) fn located(&mut self, errors: Option<Vec<CompileError>>, places: &[usize]) {
        for error in errors.unwrap_or_default() {
            let place = places.get(error.index).copied().unwrap_or(error.index);
            self.0.push(ConfigError::of_resource(place, error));
        }
    }

    pub(super) fn deny_list(
        &mut self,
        config: &DenyListConfig,
        whole: &PluginConfig,
    ) -> CompiledDenyList {
        self.not_empty("denyList.cluster", &config.cluster, "the name of a cluster");
        if !config.path.starts_with('/') || config.path.contains(['?', '#', ' ']) {
            let detail = format!("{:?} is not a path without query", config.path);
            self.add("denyList.path", ConfigProblem::Shape { detail });
        }
        let poll = (MIN_POLL_MILLISECONDS, MAX_POLL_MILLISECONDS);
        self.within("denyList.pollMilliseconds", config.poll_milliseconds, poll);
        if let StaleList::GraceSeconds(seconds) = config.stale {
            self.within(
                "denyList.stale.graceSeconds",
                seconds,
                (1, MAX_GRACE_SECONDS),
            );
        }
        let authority = self.list_authority(config, whole);
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
            authority,
            stale: config.stale,
            floor: config.floor,
        }
    }

    /// Either keys or an authority, since a list that either may sign is no better than the weaker of both.
    fn list_authority(
        &mut self,
        config: &DenyListConfig,
        whole: &PluginConfig,
    ) -> Option<SpiffeId> {
        let found = config.keys.len();
        if found > MAX_LIST_KEYS {
            let (unit, limit) = ("keys", MAX_LIST_KEYS);
            self.add(
                "denyList.keys",
                ConfigProblem::TooMany { found, unit, limit },
            );
        }
        let Some(written) = &config.authority else {
            if found == 0 {
                let expected = "no list could be verified without a key or an authority";
                self.add("denyList.keys", ConfigProblem::Empty { expected });
            }
            return None;
        };
        if found > 0 {
            let expected = "either keys or an authority signs the list";
            self.add("denyList.authority", ConfigProblem::Direction { expected });
        }
        let path = "denyList.authority";
        let authority = self.spiffe_id(path.to_owned(), written)?;
        if !whole.trust.contains_key(authority.trust_domain_name()) {
            let expected = "trust has no issuers of the authority's trust domain";
            self.add(path, ConfigProblem::Direction { expected });
        }
        Some(authority)
    }

    pub(super) fn federation(&mut self, config: &PluginConfig) -> Option<Federation> {
        let written = config.federation.as_ref()?;
        let mut domains = BTreeMap::new();
        for (name, domain) in written {
            let path = format!("federation.{name}");
            let is_own = *name == config.trust_domain || config.trust_domain_aliases.contains(name);
            let expected = if is_own {
                Some("is the mesh's own trust domain, whose peers always pass")
            } else if !config.trust.contains_key(name) {
                Some("is not a trust domain in trust, so none of its peers could ever come in")
            } else {
                None
            };
            if let Some(expected) = expected {
                self.add(path.as_str(), ConfigProblem::Direction { expected });
            }
            let found = domain.allow.len();
            if found > limits::MAX_VALUES {
                let (unit, limit) = ("principals", limits::MAX_VALUES);
                let problem = ConfigProblem::TooMany { found, unit, limit };
                self.add(format!("{path}.allow"), problem);
            }
            for (index, pattern) in domain.allow.iter().enumerate() {
                if !federation::fits(name, pattern) {
                    let detail = format!("{pattern:?} matches no principal of {name}");
                    let path = format!("{path}.allow[{index}]");
                    self.add(path, ConfigProblem::Shape { detail });
                }
            }
            domains.insert(name.as_str(), domain.allow.as_slice());
        }
        Some(Federation::new(domains))
    }

    /// The same with names of headers in lower case.
    pub(super) fn decision_log(&mut self, config: &DecisionLog) -> DecisionLog {
        if let AllowedLog::OneIn(count) = config.allowed {
            self.within("decisionLog.allowed.oneIn", count, (1, MAX_ONE_IN));
        }
        let found = config.headers.len();
        if found > MAX_LOGGED_HEADERS {
            let (unit, limit) = ("headers", MAX_LOGGED_HEADERS);
            let problem = ConfigProblem::TooMany { found, unit, limit };
            self.add("decisionLog.headers", problem);
        }
        let mut headers = Vec::new();
        for (index, name) in config.headers.iter().enumerate() {
            let lower = name.to_ascii_lowercase();
            let detail = if !is_header_name(&lower) {
                format!("{name:?} is not a header's name")
            } else if SECRET_HEADERS.contains(&lower.as_str()) {
                format!("{name:?} holds credentials, which are never logged")
            } else {
                headers.push(lower);
                continue;
            };
            let path = format!("decisionLog.headers[{index}]");
            self.add(path, ConfigProblem::Shape { detail });
        }
        DecisionLog {
            headers,
            ..config.clone()
        }
    }

    pub(super) fn secure_naming(&mut self, config: &SecureNaming) -> CompiledSecureNaming {
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

    pub(super) fn spiffe_id(&mut self, path: String, value: &str) -> Option<SpiffeId> {
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

/// RFC 9110 §5.1 token.
fn is_header_name(name: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_token)
}

const SECRET_HEADERS: [&str; 4] = [
    "authorization",
    "cookie",
    "proxy-authorization",
    "set-cookie",
];
