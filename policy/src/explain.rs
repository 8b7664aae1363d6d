//! Why each rule does or does not match.

use std::fmt;

use serde::{Serialize, Serializer, ser::SerializeStruct};

use crate::{
    authorization_policy::Action,
    decision::{Decision, DryRun, PolicyRule, Shadow},
    rule::{Clause, Condition, Rule, Test, View},
};

/// A decision with what each rule had to say.
///
/// Serializes as an object in `camelCase`. Shows values of the request, headers and claims among them, as far as
/// whoever asked for it let them be shown.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// What [`crate::PolicySet::decide`] says.
    #[serde(serialize_with = "decision")]
    pub decision: Decision,
    /// What [`crate::PolicySet::shadow`] says.
    #[serde(serialize_with = "shadow")]
    pub shadow: Shadow,
    /// Every loaded rule: DENY, ALLOW, AUDIT, then dry-run DENY and ALLOW, each in the order of their ids. They
    /// are tested even if the decision fell before any rule.
    pub rules: Vec<RuleExplanation>,
    /// The DENY policies that apply to the workload, as `namespace/name`.
    pub deny_policies: Vec<String>,
    /// The ALLOW policies that apply to the workload, as `namespace/name`; one without rules allows nothing,
    /// but its being there means that what is not allowed is denied.
    pub allow_policies: Vec<String>,
}

/// What one rule says of a request.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleExplanation {
    /// The rule.
    #[serde(serialize_with = "policy_rule")]
    pub rule: PolicyRule,
    /// What a match of it means.
    pub action: Action,
    /// Whether its policy is annotated `istio.io/dry-run` and changes no verdict.
    pub dry_run: bool,
    /// Whether it matches, and why not.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// Whether a rule matches.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It does.
    Matched,
    /// It does not: the first failing condition of each alternative of the first part (`from`, `to`, `when`)
    /// that fails. Never empty.
    Failed(Vec<FailedCondition>),
}

/// A condition that does not hold.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FailedCondition {
    /// Where it was written, e.g. `spec.rules[0].from[1].source.notPrincipals`.
    pub path: String,
    /// What it looks at, by the name of Istio's conditions, e.g. `source.principal` or `request.headers[x-role]`.
    pub attribute: String,
    /// The attribute's values in the request; none if it is absent, [`REDACTED`] for each that may not be shown.
    pub seen: Vec<String>,
}

/// What is shown in place of a value that may not be.
pub const REDACTED: &str = "[redacted]";

/// Which attributes' values an explanation may show, by the name of Istio's conditions.
pub(crate) type Show<'s> = &'s dyn Fn(&str) -> bool;

/// What a rule is when it is not just a rule of its action.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) action: Action,
    pub(crate) dry_run: bool,
}

pub(crate) fn rule(kind: Kind, rule: &Rule, view: &View<'_>, show: Show<'_>) -> RuleExplanation {
    let part = |clauses: &[Clause]| -> Option<Vec<FailedCondition>> {
        let failing: Option<Vec<_>> = clauses
            .iter()
            .map(|clause| {
                clause
                    .first_failing(view)
                    .map(|condition| failed(rule, condition, view, show))
            })
            .collect();
        failing.filter(|failing| !failing.is_empty())
    };
    let outcome = part(&rule.from)
        .or_else(|| part(&rule.to))
        .or_else(|| part(std::slice::from_ref(&rule.when)))
        .map_or(Outcome::Matched, Outcome::Failed);
    RuleExplanation {
        rule: rule.id.clone(),
        action: kind.action,
        dry_run: kind.dry_run,
        outcome,
    }
}

/// Where a condition of the rule is written.
pub(crate) fn path(rule: &Rule, condition: &Condition) -> String {
    format!("spec.rules[{}].{}", rule.id.rule(), condition.field)
}

fn failed(rule: &Rule, condition: &Condition, view: &View<'_>, show: Show<'_>) -> FailedCondition {
    let attribute = condition.test.attribute();
    let mut seen = condition.test.seen(view);
    if !show(&attribute) {
        seen.iter_mut().for_each(|value| REDACTED.clone_into(value));
    }
    FailedCondition {
        path: path(rule, condition),
        attribute,
        seen,
    }
}

impl Test {
    /// What it looks at, by the name of Istio's conditions; operations by that of Envoy's attributes.
    pub(crate) fn attribute(&self) -> String {
        let name = match self {
            Self::Principal(_) => "source.principal",
            Self::Namespace(_) => "source.namespace",
            Self::ServiceAccount(_) => "source.serviceAccount",
            Self::TrustDomain(_) => "source.trustDomain",
            Self::SourceIp(_) => "source.ip",
            Self::RemoteIp(_) => "remote.ip",
            Self::DestinationIp(_) => "destination.ip",
            Self::DestinationPort(_) => "destination.port",
            Self::Sni(_) => "connection.sni",
            Self::Host(_) => "request.host",
            Self::Method(_) => "request.method",
            Self::Path(_) => "request.path",
            Self::RequestPrincipal(..) => "request.auth.principal",
            Self::Header(name, _) => return format!("request.headers[{name}]"),
            Self::Claim(path, _) => return claim(path),
            Self::Metadata(test) => {
                let [key] = &test.path;
                return format!("experimental.envoy.filters.{}[{key}]", test.namespace);
            }
            Self::Certificate(test) => return format!("source.certificate.{}", test.name()),
        };
        name.to_owned()
    }
}

/// Istio has names of their own for two claims.
fn claim(path: &[Box<str>]) -> String {
    match path
        .iter()
        .map(AsRef::as_ref)
        .collect::<Vec<_>>()
        .as_slice()
    {
        ["aud"] => "request.auth.audiences".to_owned(),
        ["azp"] => "request.auth.presenter".to_owned(),
        names => format!("request.auth.claims[{}]", names.join("][")),
    }
}

impl Serialize for Outcome {
    /// `{"matched": true}`, or `{"matched": false, "failed": […]}`.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let failed: &[FailedCondition] = match self {
            Self::Matched => &[],
            Self::Failed(conditions) => conditions,
        };
        let mut object = to.serialize_struct("Outcome", 2)?;
        object.serialize_field("matched", &(*self == Self::Matched))?;
        object.serialize_field("failed", failed)?;
        object.end()
    }
}

/// `{"allowed", "code", "message", "rule"}`.
fn decision<S: Serializer>(decision: &Decision, to: S) -> Result<S::Ok, S::Error> {
    let mut object = to.serialize_struct("Decision", 4)?;
    object.serialize_field("allowed", &decision.is_allowed())?;
    object.serialize_field("code", decision.code())?;
    object.serialize_field("message", &decision.to_string())?;
    object.serialize_field("rule", &decision.rule().map(AsObject))?;
    object.end()
}

/// `{"audit", "dryRun": {"deny", "allow", "combined"}}`, both null where there is nothing to say.
fn shadow<S: Serializer>(shadow: &Shadow, to: S) -> Result<S::Ok, S::Error> {
    let mut object = to.serialize_struct("Shadow", 2)?;
    object.serialize_field("audit", &shadow.audit.as_ref().map(AsObject))?;
    object.serialize_field("dryRun", &shadow.dry_run.as_ref().map(AsObject))?;
    object.end()
}

/// `{"id", "namespace", "policy", "rule"}`.
fn policy_rule<S: Serializer>(rule: &PolicyRule, to: S) -> Result<S::Ok, S::Error> {
    AsObject(rule).serialize(to)
}

/// One of the outcome types as an object.
struct AsObject<T>(T);

impl Serialize for AsObject<&PolicyRule> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut object = to.serialize_struct("PolicyRule", 4)?;
        object.serialize_field("id", self.0.id())?;
        object.serialize_field("namespace", self.0.namespace())?;
        object.serialize_field("policy", self.0.policy())?;
        object.serialize_field("rule", &self.0.rule())?;
        object.end()
    }
}

impl Serialize for AsObject<&Decision> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        decision(self.0, to)
    }
}

impl Serialize for AsObject<&DryRun> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut object = to.serialize_struct("DryRun", 3)?;
        object.serialize_field("deny", &self.0.deny.as_ref().map(AsObject))?;
        object.serialize_field("allow", &self.0.allow.as_ref().map(AsObject))?;
        object.serialize_field("combined", &AsObject(&self.0.combined))?;
        object.end()
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.decision)?;
        if let Some(rule) = &self.shadow.audit {
            writeln!(f, "matched AUDIT rule {rule}")?;
        }
        if let Some(dry_run) = &self.shadow.dry_run {
            writeln!(
                f,
                "with the dry-run policies enforced: {}",
                dry_run.combined
            )?;
        }
        self.rules.iter().try_for_each(|rule| writeln!(f, "{rule}"))
    }
}

impl fmt::Display for RuleExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dry_run = if self.dry_run { " (dry run)" } else { "" };
        write!(f, "{}{dry_run} {}: ", self.action.as_str(), self.rule)?;
        match &self.outcome {
            Outcome::Matched => f.write_str("matches"),
            Outcome::Failed(conditions) => {
                f.write_str("does not match")?;
                conditions
                    .iter()
                    .try_for_each(|condition| write!(f, "; {condition}"))
            }
        }
    }
}

impl fmt::Display for FailedCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} fails on ", self.path)?;
        match self.seen.as_slice() {
            [] => f.write_str("an absent attribute"),
            seen => write!(f, "{seen:?}"),
        }
    }
}
