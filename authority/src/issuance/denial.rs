//! Why rules refuse.

use identity::SpiffeId;

use crate::issuance::rule::Profile;
use crate::issue::KeyType;

/// Why nothing is issued, with the id of the rule that says so.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Denial {
    /// A deny rule matched.
    #[error("rule {rule} denies it")]
    Denied {
        /// The rule.
        rule: String,
    },
    /// No allow rule matched.
    #[error("no rule allows it")]
    NoRule,
    /// A name cannot be made.
    #[error("rule {rule}: {{{variable}}} {fault}")]
    Variable {
        /// The rule.
        rule: String,
        /// The variable of its template.
        variable: String,
        /// Why it cannot be put in.
        fault: VariableFault,
    },
    /// What the template gives is no SPIFFE ID.
    #[error("rule {rule}: {found:?} is not a SPIFFE ID of this trust domain")]
    NotAnId {
        /// The rule.
        rule: String,
        /// What the template gives; empty where there is nothing to give.
        found: String,
    },
    /// Another identity was asked for than the rule gives.
    #[error("rule {rule} gives {granted}, and {wanted} was asked for")]
    OtherId {
        /// The rule.
        rule: String,
        /// What it gives.
        granted: SpiffeId,
        /// What was asked for.
        wanted: SpiffeId,
    },
    /// A key of a kind the rule does not take.
    #[error("rule {rule} takes no {key} key")]
    Key {
        /// The rule.
        rule: String,
        /// The kind.
        key: KeyType,
    },
    /// A lifetime beyond the rule's.
    #[error("rule {rule}: lifetime of {asked} s asked for, limit is {max} s")]
    TtlTooLong {
        /// The rule.
        rule: String,
        /// Seconds asked for.
        asked: i64,
        /// The limit in seconds.
        max: i64,
    },
    /// A lifetime below the rule's.
    #[error("rule {rule}: lifetime of {asked} s asked for, at least {min} s are given")]
    TtlTooShort {
        /// The rule.
        rule: String,
        /// Seconds asked for.
        asked: i64,
        /// The limit in seconds.
        min: i64,
    },
    /// A DNS name that may not be asked for, or that the template gives and is none.
    #[error("rule {rule} does not allow the DNS name {name:?}")]
    DnsName {
        /// The rule.
        rule: String,
        /// The name.
        name: String,
    },
    /// A profile that needs a DNS name, and none was asked for.
    #[error("rule {rule}: its profile needs a DNS name, and the CSR asks for none")]
    NoDnsName {
        /// The rule.
        rule: String,
    },
    /// A renewal that would be good for more than the certificate it renews.
    #[error("rule {rule}: the certificate shown is not good for all that the profile {profile} is")]
    OtherPurpose {
        /// The rule.
        rule: String,
        /// Its profile.
        profile: Profile,
    },
    /// Metadata that the rule requires.
    #[error("rule {rule} requires metadata {key} like {pattern:?}, found {}", found.as_deref().unwrap_or("none"))]
    Metadata {
        /// The rule.
        rule: String,
        /// Its key.
        key: String,
        /// What its value must be like.
        pattern: String,
        /// Its value, if there is one.
        found: Option<String>,
    },
}

/// Why a variable cannot be put in.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum VariableFault {
    /// The proof does not say it.
    #[error("is not said by the proof")]
    Missing,
    /// The proof says two things.
    #[error("has several values")]
    Ambiguous,
    /// It is no single segment of a path, or no DNS label.
    #[error("is {found:?}, which cannot stand in a name")]
    NotAName {
        /// Its value, or the beginning of it.
        found: String,
    },
}

impl Denial {
    /// Stable name of what failed.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Denied { .. } => "denied_by_rule",
            Self::NoRule => "no_rule",
            Self::Variable {
                fault: VariableFault::Missing,
                ..
            } => "variable_missing",
            Self::Variable {
                fault: VariableFault::Ambiguous,
                ..
            } => "variable_ambiguous",
            Self::Variable { .. } => "variable_not_a_name",
            Self::NotAnId { .. } => "not_an_identity",
            Self::OtherId { .. } => "other_identity",
            Self::Key { .. } => "key_not_allowed",
            Self::TtlTooLong { .. } => "rule_ttl_too_long",
            Self::TtlTooShort { .. } => "rule_ttl_too_short",
            Self::DnsName { .. } => "dns_name_not_allowed",
            Self::NoDnsName { .. } => "dns_name_missing",
            Self::OtherPurpose { .. } => "other_purpose",
            Self::Metadata { .. } => "metadata_required",
        }
    }

    /// The rule that refuses; none where no rule matched.
    #[must_use]
    pub fn rule(&self) -> Option<&str> {
        match self {
            Self::NoRule => None,
            Self::Denied { rule }
            | Self::Variable { rule, .. }
            | Self::NotAnId { rule, .. }
            | Self::OtherId { rule, .. }
            | Self::Key { rule, .. }
            | Self::TtlTooLong { rule, .. }
            | Self::TtlTooShort { rule, .. }
            | Self::DnsName { rule, .. }
            | Self::NoDnsName { rule }
            | Self::OtherPurpose { rule, .. }
            | Self::Metadata { rule, .. } => Some(rule),
        }
    }

    /// Whether the request could be made right by its author, beside asking for something else.
    #[must_use]
    pub const fn is_mistake(&self) -> bool {
        matches!(
            self,
            Self::Key { .. }
                | Self::TtlTooLong { .. }
                | Self::TtlTooShort { .. }
                | Self::DnsName { .. }
                | Self::NoDnsName { .. }
                | Self::Metadata { .. }
        )
    }
}
