//! The file of rules as it is written: serde and JSON Schema, nothing compiled.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

pub use crate::issuance::at::At;
use crate::issuance::rule::{Effect, Profile};
pub use crate::issuance::window::Weekday;

/// A file of issuance rules.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyFile {
    /// Always 1.
    pub schema_version: At<u32>,
    /// What becomes of the built-in rules (`countersign issuance builtin` prints them).
    #[serde(default)]
    pub builtin_rules: BuiltinRules,
    /// The rules. A deny rule that matches wins; of the allow rules the first that matches decides.
    pub rules: Vec<At<Rule>>,
}

/// What becomes of the built-in rules.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum BuiltinRules {
    /// They follow the rules of the file.
    #[default]
    Append,
    /// They are left out: what the file does not allow is refused, also to agents and the operator.
    None,
}

/// One rule.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Its name in refusals and in the record: lower-case letters, digits, `-`, `.` and `/`.
    pub id: At<String>,
    /// Whom it is for and why; for people.
    #[serde(default)]
    pub description: Option<String>,
    /// Whether it allows or denies.
    pub effect: Effect,
    /// When it applies. `{}` is always, and must be written.
    pub when: At<Condition>,
    /// The identity certified: `spiffe://{trustDomain}/ns/{k8s.ns}/sa/{k8s.sa}`, or `{caller}` for
    /// the one the proof gives, or `{requested}` for the one asked for. Required of allow rules.
    #[serde(default)]
    pub spiffe_id: Option<At<String>>,
    /// What the certificate is for; `workload` if not given.
    #[serde(default)]
    pub profile: Option<Profile>,
    /// DNS names beside the SPIFFE ID.
    #[serde(default)]
    pub dns_sans: Option<At<DnsSans>>,
    /// Lifetimes; where not given, those of the authority.
    #[serde(default)]
    pub ttl: Option<At<Ttl>>,
    /// Keys that may be certified: `ecdsa-p256`, `ecdsa-p384`, `rsa-2048`, `rsa-3072`, `rsa-4096`
    /// (each RSA one stands for that length or more) and `ed25519`. The first three if not given.
    #[serde(default)]
    pub key_algorithms: Option<Vec<At<String>>>,
    /// Where the certificate ends up. Ed25519 leaves are for `files` only: Envoy refuses them.
    #[serde(default)]
    pub output: Output,
    /// What the request must say about itself: key to pattern, in which `*` is any run of
    /// characters. The value is the caller's word and is not proven.
    #[serde(default)]
    pub require_metadata: BTreeMap<String, At<String>>,
}

/// Where a certificate ends up.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Output {
    /// In an Envoy.
    #[default]
    Envoy,
    /// In files, for programs that are known to take it.
    Files,
}

/// A condition: all that is given must hold.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Condition {
    /// How the caller proved who it is, one of these: `join_token`, `client_certificate`,
    /// `operator`, and the names of the other proofs.
    #[serde(default)]
    pub proof: Option<Vec<At<String>>>,
    /// What the proof says, all of these: `type:value` such as `k8s:ns:payments`; `*` is any run of
    /// characters.
    #[serde(default)]
    pub selectors: Option<Vec<At<String>>>,
    /// The identity the caller proved, one of these; `*` stays within a segment of the path, and
    /// `**` at the end stands for all that follows.
    #[serde(default)]
    pub caller_id: Option<Vec<At<String>>>,
    /// The identity asked for, one of these patterns. Holds for no request that names none.
    #[serde(default)]
    pub requested_id: Option<Vec<At<String>>>,
    /// When.
    #[serde(default)]
    pub time: Option<At<TimeWindow>>,
    /// All of these.
    #[serde(default)]
    pub all: Option<Vec<At<Self>>>,
    /// At least one of these.
    #[serde(default)]
    pub any: Option<Vec<At<Self>>>,
    /// Not this.
    #[serde(default)]
    pub not: Option<Box<At<Self>>>,
}

/// A span of time, in UTC.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TimeWindow {
    /// First second, RFC 3339.
    #[serde(default)]
    pub not_before: Option<At<String>>,
    /// Last second, RFC 3339.
    #[serde(default)]
    pub not_after: Option<At<String>>,
    /// Days of the week.
    #[serde(default)]
    pub weekdays: Vec<Weekday>,
    /// Time of the day it begins, `HH:MM`.
    #[serde(default)]
    pub from: Option<At<String>>,
    /// Time of the day it ends, `HH:MM`, not part of it.
    #[serde(default)]
    pub to: Option<At<String>>,
}

/// DNS names beside the SPIFFE ID.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DnsSans {
    /// Names that every certificate of the rule has: `{k8s.sa}.{k8s.ns}.svc.cluster.local`.
    #[serde(default)]
    pub names: Vec<At<String>>,
    /// Names that a request may ask for in its CSR: `shop.example.org`, or `*.example.org` for any
    /// one label. A request that asks for any other name is refused.
    #[serde(default)]
    pub allow: Vec<At<String>>,
    /// Whether certificates may have names with a wildcard, where `names` or `allow` has that very
    /// name.
    #[serde(default)]
    pub wildcard_names: bool,
}

/// Lifetimes, each as `90s`, `15m`, `24h` or `7d`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ttl {
    /// Given where nothing is asked for.
    #[serde(default)]
    pub default: Option<At<String>>,
    /// More than this is refused.
    #[serde(default)]
    pub max: Option<At<String>>,
    /// Less than this is refused.
    #[serde(default)]
    pub min: Option<At<String>>,
    /// Lifetimes are shortened by up to so many of a hundred, at random, so that certificates had
    /// at the same moment are not renewed at the same moment. At most 50.
    #[serde(default)]
    pub jitter_percent: Option<At<u32>>,
}

/// JSON Schema (draft 2020-12) of [`PolicyFile`].
#[must_use]
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(PolicyFile).to_value()
}
