//! Compiled rules.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::issuance::condition::Condition;
use crate::issuance::dns::Allowance;
use crate::issuance::glob::Glob;
use crate::issuance::template::Template;
use crate::issue::KeyType;

/// Rules that compiled.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Policy {
    pub(super) rules: Vec<Rule>,
}

impl Policy {
    /// The rules in their order, the built-in ones last.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }
}

/// One compiled rule.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    pub(super) id: String,
    pub(super) line: u64,
    pub(super) builtin: bool,
    pub(super) when: Condition,
    /// What an allow rule gives; none for a deny rule.
    pub(super) gives: Option<Gives>,
}

impl Rule {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its line in its file, from 1; 0 where it is not known.
    #[must_use]
    pub const fn line(&self) -> u64 {
        self.line
    }

    /// Whether it is one of the built-in rules.
    #[must_use]
    pub const fn is_builtin(&self) -> bool {
        self.builtin
    }

    /// Whether it allows or denies.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        match self.gives {
            Some(_) => Effect::Allow,
            None => Effect::Deny,
        }
    }
}

/// What a rule does.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// It lets the request have a certificate.
    Allow,
    /// It refuses the request.
    Deny,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// A workload of the mesh: client and server authentication, as X509-SVID §4.4 demands.
    #[default]
    Workload,
    /// The outer side of an ingress gateway: server authentication, with DNS names.
    Ingress,
    /// The outer side of an egress gateway: client authentication.
    Egress,
}

impl Profile {
    /// Its name in files and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Workload => "workload",
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an allow rule gives.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Gives {
    pub(super) id: IdSource,
    pub(super) profile: Profile,
    pub(super) dns: Option<Dns>,
    pub(super) ttl: Ttl,
    pub(super) keys: Vec<KeyType>,
    pub(super) metadata: Vec<(String, Glob)>,
}

/// Where an identity comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum IdSource {
    /// What is asked for.
    Requested,
    /// What the proof gives.
    Caller,
    /// Made of selectors.
    Template(Template),
}

/// DNS names beside the SPIFFE ID.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Dns {
    pub(super) names: Vec<Template>,
    pub(super) allow: Vec<Allowance>,
    pub(super) wildcards: bool,
}

/// Lifetimes in seconds; none for the authority's.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Ttl {
    pub(super) default: Option<i64>,
    pub(super) max: Option<i64>,
    pub(super) min: Option<i64>,
    pub(super) jitter_percent: u32,
}

/// Keys that a rule takes if it names none.
pub(super) const USUAL_KEYS: [KeyType; 3] = [
    KeyType::EcdsaP256,
    KeyType::EcdsaP384,
    KeyType::Rsa { bits: 2048 },
];

/// Whether a rule that lists `listed` takes `key`; an RSA length is the least.
pub(super) fn takes(listed: &[KeyType], key: KeyType) -> bool {
    listed.iter().any(|listed| match (listed, key) {
        (KeyType::Rsa { bits: least }, KeyType::Rsa { bits }) => bits >= *least,
        (listed, key) => *listed == key,
    })
}
