//! The filter's plug-in configuration: one schema for who writes it and who reads it.
//!
//! [`PluginConfig`] is what is written, [`compile`] turns it into what is used, all or nothing. Everything in it is
//! public: keys here are public keys.

mod compiled;
mod error;

use std::collections::{BTreeMap, BTreeSet};

use identity::x509::SvidProfile;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    json,
    path::PathNormalization,
    scope::{DEFAULT_ROOT_NAMESPACE, WorkloadScope},
};

pub use self::{
    compiled::{
        CompiledConfig, CompiledDenyList, CompiledSecureNaming, MAX_CONFIG_BYTES,
        MAX_HELD_REQUESTS, MAX_HOLD_MILLISECONDS, MAX_LIST_KEYS, MAX_POLL_MILLISECONDS,
        MIN_POLL_MILLISECONDS, SCHEMA_VERSION, compile,
    },
    error::{ConfigError, ConfigProblem},
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
    /// The workload beside the proxy.
    pub workload: WorkloadScope,
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
    /// `AuthorizationPolicy` resources as Istio writes them; inbound only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<Value>,
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
    /// PEM public keys (`PUBLIC KEY`), one of which must have signed the list.
    pub keys: Vec<String>,
    /// What happens while there is no list or the one in hand has expired.
    #[serde(default)]
    pub stale: StaleList,
    /// The oldest list that is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<ListFloor>,
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
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DecisionLog {
    /// Which allowed requests are logged; denied ones always are.
    pub allowed: AllowedLog,
    /// Whether a denied client is told the reason in `x-countersign-decision`.
    pub response_header: bool,
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
}

impl PluginConfig {
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
