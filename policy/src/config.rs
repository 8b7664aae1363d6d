//! The filter's plug-in configuration: one schema for who writes it and who reads it.
//!
//! [`PluginConfig`] is what is written, [`compile`] turns it into what is used, all or nothing. Everything in it is
//! public: keys here are public keys.

mod bundle;
mod check;
mod compiled;
mod error;
mod federation;
mod lean;

use std::collections::{BTreeMap, BTreeSet};

use identity::x509::SvidProfile;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    json,
    path::PathNormalization,
    scope::{DEFAULT_ROOT_NAMESPACE, Protocol, Target, WorkloadKind, WorkloadScope},
};

pub use self::{
    compiled::{
        CompiledConfig, CompiledDenyList, CompiledPolicyBundle, CompiledSecureNaming,
        MAX_CONFIG_BYTES, MAX_GRACE_SECONDS, MAX_HELD_REQUESTS, MAX_HOLD_MILLISECONDS,
        MAX_INLINE_BYTES, MAX_LIST_KEYS, MAX_LOGGED_HEADERS, MAX_ONE_IN, MAX_POLL_MILLISECONDS,
        MIN_POLL_MILLISECONDS, SCHEMA_VERSION, compile,
    },
    error::{ConfigError, ConfigProblem},
    federation::Federation,
    lean::{compile_json, compile_policies},
};
pub use identity::bundle::IssuerPem as TrustEntry;

/// The plug-in configuration, version 1.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PluginConfig {
    /// Version of this schema: 1.
    pub schema_version: u32,
    /// Which side of a connection the filter guards.
    pub direction: Direction,
    /// Whether the filter runs on requests or on TCP connections.
    #[serde(default)]
    pub protocol: Protocol,
    /// The workload beside the proxy.
    pub workload: WorkloadScope,
    /// What kind of proxy it is, which decides how `targetRefs` and selectors apply.
    #[serde(default)]
    pub workload_kind: WorkloadKind,
    /// The gateways and services the proxy serves, which `targetRefs` may name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Target>,
    /// Providers that the proxy asks for CUSTOM policies, in front of this filter.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub custom_providers: BTreeSet<String>,
    /// The mesh's own trust domain.
    pub trust_domain: String,
    /// Other names of the trust domain; a principal of one stands for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trust_domain_aliases: Vec<String>,
    /// Policies of this namespace apply in every namespace.
    #[serde(default = "default_root_namespace")]
    pub root_namespace: String,
    /// How strictly peer certificates are read.
    #[serde(default)]
    pub svid_profile: SvidProfile,
    /// Trust domain → the authorities that sign its leaves.
    pub trust: BTreeMap<String, TrustEntry>,
    /// Foreign trust domain → which of its identities may come in at all; inbound only. Without this field, policies
    /// alone decide about peers of every trust domain in `trust`; with it, a foreign one that is not named in it is
    /// refused. The mesh's own trust domain and its aliases always pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub federation: Option<BTreeMap<String, FederatedDomain>>,
    /// Who may speak for a client in `x-forwarded-client-cert`; none means the header is never read. Inbound HTTP only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarded_client_cert: Option<ForwardedClientCert>,
    /// `AuthorizationPolicy`, `PeerAuthentication` and `RequestAuthentication` resources as Istio writes them;
    /// inbound only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<Value>,
    /// A signed bundle with the policies, in place of `policies`; inbound only. It comes from where the deny list
    /// comes from, signed by whoever may sign that. Until there is one, everybody is denied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_bundle: Option<PolicyBundleConfig>,
    /// The form every path has when it reaches the filter; must be what the proxy is set to.
    #[serde(default)]
    pub path_normalization: PathNormalization,
    /// Where the deny list comes from; none means no certificate is ever on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deny_list: Option<DenyListConfig>,
    /// Which identities each upstream cluster may have; outbound only, and needed there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secure_naming: Option<SecureNaming>,
    /// What is told about decisions.
    #[serde(default)]
    pub decision_log: DecisionLog,
}

/// Which side of a connection the filter guards.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Direction {
    /// Requests to the workload: policies decide.
    Inbound,
    /// Requests of the workload: secure naming decides.
    Outbound,
}

/// Which identities of a foreign trust domain may come in.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FederatedDomain {
    /// Patterns of principals, as in a policy's `principals`: `td/ns/a/sa/b`, `td/ns/a/*`, `*/sa/b`. None lets nobody in.
    pub allow: Vec<String>,
}

/// Who may speak for a client in `x-forwarded-client-cert`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ForwardedClientCert {
    /// SPIFFE ID of the proxy that writes the header: only on connections of this peer is it read, and only the last
    /// element, which that proxy appended.
    pub hop: String,
}

/// Where the deny list comes from.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DenyListConfig {
    /// The proxy's cluster that leads to the agent.
    pub cluster: String,
    /// Path of the list there.
    #[serde(default = "default_list_path")]
    pub path: String,
    /// Milliseconds between two requests for the list.
    #[serde(default = "default_poll")]
    pub poll_milliseconds: u32,
    /// PEM public keys (`PUBLIC KEY`), one of which must have signed the list. Either these or `authority`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// SPIFFE ID of the signer, whose certificate comes with the list and is checked against `trust`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// What happens while there is no list or the one in hand has expired.
    #[serde(default)]
    pub stale: StaleList,
    /// The oldest list that is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<ListFloor>,
}

/// Which policy bundle holds the policies.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyBundleConfig {
    /// Its name: a DNS label.
    pub name: String,
    /// The lowest sequence that is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<u64>,
}

/// What happens while there is no deny list or the one in hand has expired.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum StaleList {
    /// Peers with a certificate are denied.
    #[default]
    Deny,
    /// Peers are decided on as if the list were empty (or by the expired list).
    Allow,
    /// For so many seconds after its expiry a list counts as before, then peers with a certificate are denied. Without
    /// any list they are denied at once.
    GraceSeconds(u32),
}

/// A place in the history of deny lists.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListFloor {
    /// The authority's epoch.
    pub epoch: u64,
    /// The sequence number in that epoch.
    pub sequence: u64,
}

/// Which identities each upstream cluster may have.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecureNaming {
    /// Cluster name → SPIFFE IDs its servers may have. An empty set, and a cluster that is not named, deny.
    pub clusters: BTreeMap<String, BTreeSet<String>>,
    /// How long and how many requests wait for the server's identity.
    #[serde(default)]
    pub hold: HoldLimits,
}

/// How long and how many requests wait for the server's identity.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HoldLimits {
    /// Milliseconds after which a waiting request is denied.
    pub milliseconds: u32,
    /// Requests that wait at a time; more are denied.
    pub max_held: u32,
}

impl Default for HoldLimits {
    fn default() -> Self {
        Self {
            milliseconds: 5_000,
            max_held: 1_024,
        }
    }
}

/// What is told about decisions.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DecisionLog {
    /// Which allowed requests are logged; denied ones always are.
    pub allowed: AllowedLog,
    /// Whether a denied client is told the reason in `x-countersign-decision`.
    pub response_header: bool,
    /// Request headers whose values are logged; no other's ever is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
}

/// Which allowed requests are logged.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum AllowedLog {
    /// None.
    #[default]
    None,
    /// All.
    All,
    /// One of so many.
    OneIn(u32),
}

impl PluginConfig {
    /// A configuration with every optional part left out: for a workload without labels in namespace `default`,
    /// without policies, trusting nobody yet.
    #[must_use]
    pub fn new(direction: Direction, trust_domain: &str) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            direction,
            protocol: Protocol::default(),
            workload: WorkloadScope {
                namespace: "default".to_owned(),
                labels: BTreeMap::new(),
            },
            workload_kind: WorkloadKind::default(),
            targets: Vec::new(),
            custom_providers: BTreeSet::new(),
            trust_domain: trust_domain.to_owned(),
            trust_domain_aliases: Vec::new(),
            root_namespace: default_root_namespace(),
            svid_profile: SvidProfile::default(),
            trust: BTreeMap::new(),
            federation: None,
            forwarded_client_cert: None,
            policies: Vec::new(),
            policy_bundle: None,
            path_normalization: PathNormalization::default(),
            deny_list: None,
            secure_naming: None,
            decision_log: DecisionLog::default(),
        }
    }

    /// Reads a configuration as the host hands it over. Values are checked by [`compile`].
    ///
    /// # Errors
    /// Too long, not JSON, a key twice, an unknown field, a wrong type; with the path.
    pub fn from_json(text: &[u8]) -> Result<Self, ConfigError> {
        if text.len() > MAX_CONFIG_BYTES {
            let (found, unit) = (text.len(), "bytes");
            let problem = ConfigProblem::TooMany {
                found,
                unit,
                limit: MAX_CONFIG_BYTES,
            };
            return Err(ConfigError::new("", problem));
        }
        Ok(json::shape(&json::parse(text)?)?)
    }

    /// Writes the configuration; [`PluginConfig::from_json`] reads it back unchanged.
    ///
    /// # Errors
    /// None that a value of this type can cause; the signature is `serde_json`'s.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

/// The JSON Schema of [`PluginConfig`] (2020-12). `policies` holds Istio's resources, whose schema is Istio's.
#[cfg(feature = "schema")]
#[must_use]
pub fn json_schema() -> Value {
    schemars::schema_for!(PluginConfig).to_value()
}

fn default_root_namespace() -> String {
    DEFAULT_ROOT_NAMESPACE.to_owned()
}

fn default_list_path() -> String {
    "/v1/denylist".to_owned()
}

fn default_poll() -> u32 {
    500
}

#[cfg(test)]
mod tests;
