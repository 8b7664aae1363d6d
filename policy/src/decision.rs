//! Outcomes and the reasons for them.

use std::{fmt, sync::Arc};

use crate::peer::PeerFault;

/// Outcome for one request. Evaluation order: Istio `AuthorizationPolicy`, DENY, then ALLOW.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use]
pub enum Decision {
    /// The request may pass.
    Allow(AllowReason),
    /// The request must be refused.
    Deny(DenyReason),
}

impl Decision {
    /// Whether the request may pass.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow(_))
    }

    /// The reason's stable name in `snake_case`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Allow(reason) => reason.code(),
            Self::Deny(reason) => reason.code(),
        }
    }

    /// The rule that decided, where one did.
    #[must_use]
    pub fn rule(&self) -> Option<&PolicyRule> {
        match self {
            Self::Allow(AllowReason::Matched(rule)) | Self::Deny(DenyReason::MatchedDeny(rule)) => {
                Some(rule)
            }
            _ => None,
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allow(reason) => write!(f, "allowed: {reason}"),
            Self::Deny(reason) => write!(f, "denied: {reason}"),
        }
    }
}

/// Why a request was allowed.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum AllowReason {
    /// No ALLOW policy applies to the workload and no DENY rule matched.
    NoPolicy,
    /// A rule of an ALLOW policy matched.
    Matched(PolicyRule),
}

impl AllowReason {
    /// The reason's stable name: `no_policy` or `matched_allow`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoPolicy => "no_policy",
            Self::Matched(_) => "matched_allow",
        }
    }
}

impl fmt::Display for AllowReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPolicy => f.write_str("no ALLOW policy applies to the workload"),
            Self::Matched(rule) => write!(f, "matched ALLOW rule {rule}"),
        }
    }
}

/// Why a request was denied.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DenyReason {
    /// A rule of a DENY policy matched.
    #[error("matched DENY rule {0}")]
    MatchedDeny(PolicyRule),
    /// ALLOW policies apply to the workload and none of their rules matched.
    #[error("no ALLOW rule matched")]
    NoAllowMatched,
    /// The peer's certificate does not prove an identity.
    #[error("peer rejected: {0}")]
    PeerRejected(PeerFault),
    /// `PeerAuthentication` demands mutual TLS on this port, and the connection has none.
    #[error("mutual TLS is required on this port")]
    MtlsRequired,
    /// A rule looks at paths, and this path is not in the declared normal form.
    #[error("the path is not in the declared normal form and a policy has path rules")]
    PathNotNormalized,
    /// The request could not be evaluated.
    #[error("not evaluable: {0}")]
    NotEvaluable(NotEvaluable),
}

impl DenyReason {
    /// The reason's stable name in `snake_case`, for logs, metrics and response headers; a rejected peer and
    /// an unevaluable request give the name of their fault.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::MatchedDeny(_) => "matched_deny",
            Self::NoAllowMatched => "no_allow_matched",
            Self::PeerRejected(fault) => fault.code(),
            Self::MtlsRequired => "mtls_required",
            Self::PathNotNormalized => "path_not_normalized",
            Self::NotEvaluable(fault) => fault.code(),
        }
    }
}

/// What the policies that never change a verdict say of a request.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Shadow {
    /// The first rule of an AUDIT policy that matches.
    pub audit: Option<PolicyRule>,
    /// What the policies annotated `istio.io/dry-run` say; `None` if there are none.
    pub dry_run: Option<DryRun>,
}

/// What the policies annotated `istio.io/dry-run` say of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DryRun {
    /// The first rule of a dry-run DENY policy that matches.
    pub deny: Option<PolicyRule>,
    /// The first rule of a dry-run ALLOW policy that matches.
    pub allow: Option<PolicyRule>,
    /// What the decision would be with the enforced policies and these together.
    pub combined: Decision,
}

/// Why a request could not be evaluated. The engine never says so; its callers do.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NotEvaluable {
    /// The host refused or garbled an attribute that a loaded policy looks at (see [`crate::Needs`]).
    #[error("the attribute {attribute} cannot be read")]
    AttributeUnreadable {
        /// The host's name of the attribute, e.g. `source.address`.
        attribute: &'static str,
    },
    /// No configuration was ever accepted.
    #[error("no configuration was accepted")]
    NoConfiguration,
    /// The policies come in a bundle, and none was accepted yet.
    #[error("no policy bundle was accepted yet")]
    NoPolicyBundle,
}

impl NotEvaluable {
    /// The fault's stable name in `snake_case`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::AttributeUnreadable { .. } => "attribute_unreadable",
            Self::NoConfiguration => "no_configuration",
            Self::NoPolicyBundle => "policy_bundle_missing",
        }
    }
}

/// One rule of one policy; displays as Istio's policy id, `ns[foo]-policy[bar]-rule[0]`.
///
/// Cheap to clone.
#[derive(Clone, Eq, PartialEq)]
pub struct PolicyRule(Arc<Named>);

#[derive(Eq, PartialEq)]
struct Named {
    id: Box<str>,
    /// Bytes of the namespace, and of the policy's name, within the id: there are as many of these as rules.
    namespace: usize,
    policy: usize,
    rule: usize,
}

impl PolicyRule {
    pub(crate) fn new(namespace: &str, policy: &str, rule: usize) -> Self {
        let id = format!("{BEFORE_NAMESPACE}{namespace}{BEFORE_POLICY}{policy}]-rule[{rule}]");
        Self(Arc::new(Named {
            id: id.into(),
            namespace: namespace.len(),
            policy: policy.len(),
            rule,
        }))
    }

    /// Istio's policy id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// The policy's namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.part(BEFORE_NAMESPACE.len(), self.0.namespace)
    }

    /// The policy's name.
    #[must_use]
    pub fn policy(&self) -> &str {
        let before = [
            BEFORE_NAMESPACE.len(),
            self.0.namespace,
            BEFORE_POLICY.len(),
        ];
        self.part(before.iter().sum(), self.0.policy)
    }

    fn part(&self, start: usize, length: usize) -> &str {
        let end = start.saturating_add(length);
        self.0.id.get(start..end).unwrap_or_default()
    }

    /// The rule's index in `spec.rules`, from 0.
    #[must_use]
    pub fn rule(&self) -> usize {
        self.0.rule
    }
}

const BEFORE_NAMESPACE: &str = "ns[";
const BEFORE_POLICY: &str = "]-policy[";

impl fmt::Display for PolicyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.id)
    }
}

impl fmt::Debug for PolicyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PolicyRule({})", self.0.id)
    }
}
