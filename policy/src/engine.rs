//! The compiled set and its decisions.

mod attribute;
mod hash;
mod index;
mod needs;

use crate::{
    authorization_policy::{Action, AuthorizationPolicy},
    compile::{self, Rules},
    decision::{AllowReason, Decision, DenyReason, DryRun, NotEvaluable, PolicyRule, Shadow},
    error::CompileError,
    explain::{self, Explanation, Kind},
    path::PathNormalization,
    peer::Peer,
    peer_authentication::{MtlsMode, MtlsModes},
    request::Request,
    resources::Resources,
    rule::{Rule, Test, View},
    scope::Scope,
};

use self::index::IndexedRules;
use self::needs::LookedAt;
pub use self::needs::Needs;

/// The policies of one workload, compiled.
///
/// The verdict and the reported rule do not depend on the order of the policies: of several matching rules of
/// one action the one whose id comes first in byte order is reported, as Envoy does (`rule[10]` before `rule[2]`).
///
/// Rules are found by what they ask for, so the time a decision takes does not grow with their number as long as
/// rules differ in a value, prefix, suffix or range of something they ask for. Rules that ask for nothing of
/// that kind, or that share all of it, are tested one by one.
#[derive(Debug)]
pub struct PolicySet {
    enforced: Verdicts,
    dry_run: Verdicts,
    audit: IndexedRules,
    mtls: MtlsModes,
    path_normalization: PathNormalization,
    looked_at: LookedAt,
    /// By what never changes a verdict: the needs besides, the names of both; nothing where nothing is of that kind.
    shadow_looked_at: LookedAt,
    /// Whether this stands for policies that are not there yet.
    awaited: bool,
}

/// DENY and ALLOW.
#[derive(Debug)]
struct Verdicts {
    deny: IndexedRules,
    allow: IndexedRules,
    deny_policies: Box<[Box<str>]>,
    allow_policies: Box<[Box<str>]>,
    /// Whether paths must be in normal form.
    looks_at_path: bool,
}

impl PolicySet {
    /// Compiles `policies` for the workload of `scope`. Policies that do not apply to it are checked, then left out.
    ///
    /// # Errors
    /// Every problem of every policy. A set is made of all policies or not at all.
    pub fn compile(
        policies: &[AuthorizationPolicy],
        scope: &Scope,
    ) -> Result<Self, Vec<CompileError>> {
        let rules = compile::compile(policies, scope)?;
        Ok(Self::new(rules, MtlsModes::default(), scope))
    }

    /// Compiles resources of every kind for the workload of `scope`, as [`Self::compile`] does policies;
    /// `PeerAuthentication` says on which ports a peer must have a certificate.
    ///
    /// # Errors
    /// Every problem of every resource.
    pub fn compile_resources(
        resources: &Resources,
        scope: &Scope,
    ) -> Result<Self, Vec<CompileError>> {
        let rules = compile::compile(&resources.authorization, scope);
        match (rules, resources.authentication(scope)) {
            (Ok(rules), Ok(mtls)) => Ok(Self::new(rules, mtls, scope)),
            (rules, mtls) => {
                let mut errors = rules.err().unwrap_or_default();
                errors.extend(mtls.err().unwrap_or_default());
                Err(errors)
            }
        }
    }

    /// Stands for policies that are not there yet: denies everybody, with [`NotEvaluable::NoPolicyBundle`] whose
    /// certificate is in order.
    #[must_use]
    pub fn awaited(scope: &Scope) -> Self {
        Self {
            awaited: true,
            ..Self::new(Rules::default(), MtlsModes::default(), scope)
        }
    }

    pub(crate) fn new(rules: Rules, mtls: MtlsModes, scope: &Scope) -> Self {
        let looked_at = LookedAt::by_enforced(&rules, &mtls);
        Self {
            shadow_looked_at: LookedAt::by_shadow(&rules, &looked_at),
            looked_at,
            enforced: Verdicts::new(rules.enforced),
            dry_run: Verdicts::new(rules.dry_run),
            audit: IndexedRules::new(rules.audit),
            mtls,
            path_normalization: scope.path_normalization,
            awaited: false,
        }
    }

    /// Decides one request.
    ///
    /// 1. A peer whose certificate does not prove an identity is denied.
    /// 2. So is one without a certificate on a port where `PeerAuthentication` is STRICT.
    /// 3. With a path rule loaded, a path that is not in the declared normal form is denied.
    /// 4. "If there are any DENY policies that match the request, deny the request."
    /// 5. "If there are no ALLOW policies for the workload, allow the request."
    /// 6. "If any of the ALLOW policies match the request, allow the request."
    /// 7. "Deny the request."
    pub fn decide(&self, request: &Request<'_>) -> Decision {
        let view = View::new(request);
        match self.precondition(&view, self.enforced.looks_at_path) {
            Some(reason) => Decision::Deny(reason),
            None => self.enforced.decide(&view),
        }
    }

    /// Whether there are policies that never change a verdict: AUDIT, and those annotated `istio.io/dry-run`.
    #[must_use]
    pub fn has_shadow(&self) -> bool {
        !self.audit.all().is_empty() || self.dry_run.is_any()
    }

    /// What the policies that never change a verdict say of a request. They say nothing of one that is denied
    /// before any rule is looked at.
    #[must_use]
    pub fn shadow(&self, request: &Request<'_>) -> Shadow {
        let view = View::new(request);
        let dry_run = |(deny, allow, combined)| DryRun {
            deny,
            allow,
            combined,
        };
        if let Some(reason) = self.precondition(&view, self.enforced.looks_at_path) {
            let nothing = (None, None, Decision::Deny(reason));
            return Shadow {
                audit: None,
                dry_run: self.dry_run.is_any().then(|| dry_run(nothing)),
            };
        }
        Shadow {
            audit: id(self.audit.first_match(&view)),
            dry_run: self
                .dry_run
                .is_any()
                .then(|| dry_run(self.dry_run_of(&view))),
        }
    }

    /// The dry-run rules that match, and the decision that all policies together would make.
    fn dry_run_of(&self, view: &View<'_>) -> (Option<PolicyRule>, Option<PolicyRule>, Decision) {
        let candidate = &self.dry_run;
        let (deny, allow) = (
            candidate.deny.first_match(view),
            candidate.allow.first_match(view),
        );
        let looks_at_path = self.enforced.looks_at_path || candidate.looks_at_path;
        let combined = match self.precondition(view, looks_at_path) {
            Some(reason) => Decision::Deny(reason),
            None => self.enforced.decide_with(candidate, deny, allow, view),
        };
        (id(deny), id(allow), combined)
    }

    /// Decides one request and says of each rule why it does or does not match. Slow: tests every rule.
    #[must_use]
    pub fn explain(&self, request: &Request<'_>) -> Explanation {
        self.explain_showing(request, &|_| true)
    }

    /// [`Self::explain`] with the values of only those attributes for which `show` is true;
    /// [`crate::REDACTED`] stands for the others.
    ///
    /// `show` gets [`crate::FailedCondition::attribute`]: what may be secret is in `request.headers[…]` (cookies,
    /// tokens, and the query in `[:path]`), `request.auth.…` and `experimental.…`.
    #[must_use]
    pub fn explain_showing(
        &self,
        request: &Request<'_>,
        show: &dyn Fn(&str) -> bool,
    ) -> Explanation {
        let view = View::new(request);
        let rules = self.indexes().into_iter().flat_map(|(kind, index)| {
            let view = &view;
            index
                .all()
                .iter()
                .map(move |rule| explain::rule(kind, rule, view, show))
        });
        let strings = |names: &[Box<str>]| names.iter().map(ToString::to_string).collect();
        Explanation {
            decision: self.decide(request),
            shadow: self.shadow(request),
            rules: rules.collect(),
            deny_policies: strings(&self.enforced.deny_policies),
            allow_policies: strings(&self.enforced.allow_policies),
        }
    }

    /// Of each ALLOW rule that decides and does not match, in the order of their ids, where its first failing
    /// condition is written, e.g. `spec.rules[0].to[0].operation.paths`. Tests every ALLOW rule, and shows no value
    /// of the request.
    pub fn failed_allow_rules(
        &self,
        request: &Request<'_>,
    ) -> impl Iterator<Item = (&PolicyRule, String)> {
        let view = View::new(request);
        let rules = self.enforced.allow.all().iter();
        rules.filter_map(move |rule| {
            let condition = rule.first_failing(&view)?;
            Some((&rule.id, explain::path(rule, condition)))
        })
    }

    /// What the decision looks at.
    #[must_use]
    pub fn needs(&self) -> Needs {
        self.looked_at.needs
    }

    /// What policies that never change a verdict look at besides.
    #[must_use]
    pub fn shadow_needs(&self) -> Needs {
        self.shadow_looked_at.needs
    }

    /// What all of the policies look at.
    #[must_use]
    pub fn all_needs(&self) -> Needs {
        self.needs().or(self.shadow_needs())
    }

    /// The claims of a token that the decision looks at, each as a path of names (`["iss"]`).
    pub fn claim_paths(&self) -> impl Iterator<Item = &[Box<str>]> {
        self.looked_at.claim_paths()
    }

    /// The same with those that policies look at which never change a verdict.
    pub fn shadow_claim_paths(&self) -> impl Iterator<Item = &[Box<str>]> {
        self.shadow_looked_at.claim_paths()
    }

    /// The namespaces of dynamic metadata that the decision looks at, each with a path of names in it.
    pub fn metadata_keys(&self) -> impl Iterator<Item = (&str, &[Box<str>])> {
        self.looked_at.metadata_keys()
    }

    /// The same with those that policies look at which never change a verdict.
    pub fn shadow_metadata_keys(&self) -> impl Iterator<Item = (&str, &[Box<str>])> {
        self.shadow_looked_at.metadata_keys()
    }

    /// Every rule that is enforced or audited, with its action: DENY, ALLOW, AUDIT, each in the order of ids.
    pub fn rules(&self) -> impl Iterator<Item = (Action, &PolicyRule)> {
        self.rules_where(|kind| !kind.dry_run)
    }

    /// Every rule of a policy annotated `istio.io/dry-run`, with its action: DENY, ALLOW, each in the order of ids.
    pub fn dry_run_rules(&self) -> impl Iterator<Item = (Action, &PolicyRule)> {
        self.rules_where(|kind| kind.dry_run)
    }

    fn rules_where(&self, wanted: fn(Kind) -> bool) -> impl Iterator<Item = (Action, &PolicyRule)> {
        let indexes = self
            .indexes()
            .into_iter()
            .filter(move |(kind, _)| wanted(*kind));
        indexes
            .flat_map(|(kind, index)| index.all().iter().map(move |rule| (kind.action, &rule.id)))
    }

    fn indexes(&self) -> [(Kind, &IndexedRules); 5] {
        let dry = |kind| Kind {
            dry_run: true,
            ..kind
        };
        [
            (DENY, &self.enforced.deny),
            (ALLOW, &self.enforced.allow),
            (AUDIT, &self.audit),
            (dry(DENY), &self.dry_run.deny),
            (dry(ALLOW), &self.dry_run.allow),
        ]
    }

    fn precondition(&self, view: &View<'_>, looks_at_path: bool) -> Option<DenyReason> {
        let request = view.request;
        match request.peer {
            Peer::Unidentified(fault) => return Some(DenyReason::PeerRejected(fault.clone())),
            Peer::Plaintext if self.mtls.mode(request.destination_port) == MtlsMode::Strict => {
                return Some(DenyReason::MtlsRequired);
            }
            Peer::Plaintext | Peer::Workload(_) => {}
        }
        if self.awaited {
            return Some(DenyReason::NotEvaluable(NotEvaluable::NoPolicyBundle));
        }
        let path = view.path.filter(|_| looks_at_path)?;
        // `OPTIONS *` asks about the server as a whole (RFC 9110 §9.3.7); it is no path to normalise.
        let whole_server = path == b"*" && request.method == Some(b"OPTIONS".as_slice());
        let normal = whole_server || self.path_normalization.is_fixed_point(path);
        (!normal).then_some(DenyReason::PathNotNormalized)
    }
}

impl Verdicts {
    fn new(rules: compile::Verdicts) -> Self {
        let names = |policies: Vec<String>| policies.into_iter().map(Into::into).collect();
        let mut tests = rules
            .deny
            .iter()
            .chain(&rules.allow)
            .flat_map(Rule::conditions)
            .map(|condition| &condition.test);
        let looks_at_path = tests.any(Test::looks_at_path);
        drop(tests);
        Self {
            looks_at_path,
            deny: IndexedRules::new(rules.deny),
            allow: IndexedRules::new(rules.allow),
            deny_policies: names(rules.deny_policies),
            allow_policies: names(rules.allow_policies),
        }
    }

    fn is_any(&self) -> bool {
        !self.deny_policies.is_empty() || !self.allow_policies.is_empty()
    }

    fn decide(&self, view: &View<'_>) -> Decision {
        if let Some(rule) = self.deny.first_match(view) {
            return Decision::Deny(DenyReason::MatchedDeny(rule.id.clone()));
        }
        if self.allow_policies.is_empty() {
            return Decision::Allow(AllowReason::NoPolicy);
        }
        match self.allow.first_match(view) {
            Some(rule) => Decision::Allow(AllowReason::Matched(rule.id.clone())),
            None => Decision::Deny(DenyReason::NoAllowMatched),
        }
    }

    /// What both together decide; `deny` and `allow` are the first rules of `others` that match.
    fn decide_with(
        &self,
        others: &Self,
        deny: Option<&Rule>,
        allow: Option<&Rule>,
        view: &View<'_>,
    ) -> Decision {
        let first = |a: Option<&Rule>, b: Option<&Rule>| {
            id(a.into_iter().chain(b).min_by_key(|rule| rule.id.id()))
        };
        if let Some(rule) = first(self.deny.first_match(view), deny) {
            return Decision::Deny(DenyReason::MatchedDeny(rule));
        }
        if self.allow_policies.is_empty() && others.allow_policies.is_empty() {
            return Decision::Allow(AllowReason::NoPolicy);
        }
        match first(self.allow.first_match(view), allow) {
            Some(rule) => Decision::Allow(AllowReason::Matched(rule)),
            None => Decision::Deny(DenyReason::NoAllowMatched),
        }
    }
}

fn id(rule: Option<&Rule>) -> Option<PolicyRule> {
    rule.map(|rule| rule.id.clone())
}

const fn enforced(action: Action) -> Kind {
    Kind {
        action,
        dry_run: false,
    }
}

const DENY: Kind = enforced(Action::Deny);
const ALLOW: Kind = enforced(Action::Allow);
const AUDIT: Kind = enforced(Action::Audit);

#[cfg(test)]
mod tests;
