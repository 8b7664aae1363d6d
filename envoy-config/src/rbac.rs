//! Istio's authorization policies as rules of Envoy's own RBAC filters, what istiod makes of them.
//!
//! The project enforces policies by its own filter; these rules are what that filter is measured against, what
//! decides which requests a CUSTOM policy sends to its provider, and a way to run the same policies without the
//! filter. Checked against Istio's own expected outputs.
//!
//! Envoy's rules are weaker than the filter where Envoy is: an identity is looked for in all URI SANs, then in all
//! DNS SANs, then in the subject of the certificate, and no path is refused for its form.

mod message;
mod rule;
mod trust_domain;
mod values;

use std::collections::BTreeMap;

use policy::{Action, AuthorizationPolicy, CompileError, PolicySet, Problem, Protocol, Scope};
use serde_json::{Value, json};

use self::message::{Effect, Policy, RuleSet};
use self::rule::{Context, Untranslatable};
use self::trust_domain::TrustDomains;

/// The rules of one workload, each an `envoy.config.rbac.v3.RBAC` in Envoy's JSON form with the field names of the
/// `.proto` files. `None` where no policy of that action applies.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rbac {
    /// CUSTOM policies by the name of their provider: which requests to ask it about.
    pub custom: BTreeMap<String, RulePair>,
    /// AUDIT policies.
    pub audit: RulePair,
    /// DENY policies.
    pub deny: RulePair,
    /// ALLOW policies.
    pub allow: RulePair,
}

/// Rules that are enforced, and rules on trial.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RulePair {
    /// Of policies that are in force.
    pub enforced: Option<Value>,
    /// Of policies with the annotation `istio.io/dry-run`.
    pub dry_run: Option<Value>,
}

/// Translates the policies that apply to the workload of `scope`, for the protocol of `scope`.
///
/// Of a rule that looks at requests, a network filter can hold only a part. As in Istio an ALLOW rule is then left
/// out and of any other rule the condition, so that less is allowed and more is denied.
///
/// # Errors
/// All problems the filter would refuse the policies for, else every condition that only the filter knows.
pub fn translate(
    policies: &[AuthorizationPolicy],
    scope: &Scope,
) -> Result<Rbac, Vec<CompileError>> {
    // The policies are checked by whoever enforces them; here they only have to be sound.
    PolicySet::compile(policies, scope)?;
    let aliases = scope.trust_domain_aliases.iter().map(AsRef::as_ref);
    let own = scope.trust_domain.as_str();
    let trust_domains = TrustDomains(std::iter::once(own).chain(aliases).collect());
    let mut sets = Sets::default();
    let mut errors = Vec::new();
    for (index, policy) in policies.iter().enumerate() {
        let namespace = policy.metadata.namespace.as_deref().unwrap_or_default();
        if !scope.applies(policy) {
            continue;
        }
        let translated = sets.add(
            policy,
            namespace,
            scope.protocol == Protocol::Tcp,
            &trust_domains,
        );
        errors.extend(
            translated
                .into_iter()
                .map(|problem| problem.of(policy, index)),
        );
    }
    if errors.is_empty() {
        Ok(sets.finish())
    } else {
        Err(errors)
    }
}

impl Rbac {
    /// The HTTP filters that enforce this, in Istio's order: AUDIT, DENY, ALLOW. CUSTOM is not among them, it needs
    /// its provider ([`RulePair::asking`]).
    #[must_use]
    pub fn http_filters(&self) -> Vec<Value> {
        self.filters(HTTP_FILTER, None)
    }

    /// The same as network filters.
    #[must_use]
    pub fn network_filters(&self) -> Vec<Value> {
        self.filters(NETWORK_FILTER, Some("tcp."))
    }

    fn filters(&self, filter: FilterName, stat_prefix: Option<&str>) -> Vec<Value> {
        [&self.audit, &self.deny, &self.allow]
            .into_iter()
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.filter(filter, stat_prefix))
            .collect()
    }
}

impl RulePair {
    /// Whether no policy is behind it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.enforced.is_none() && self.dry_run.is_none()
    }

    /// For the rules of a CUSTOM policy: the HTTP filter that decides, without enforcing anything, whether to ask
    /// the provider. `ext_authz` behind it looks at the metadata `istio_ext_authz_shadow_effective_policy_id`.
    #[must_use]
    pub fn asking(&self) -> Value {
        self.asking_by(HTTP_FILTER, None)
    }

    /// The same as a network filter.
    #[must_use]
    pub fn asking_network(&self) -> Value {
        self.asking_by(NETWORK_FILTER, Some("tcp."))
    }

    /// For the rules of a CUSTOM policy whose provider cannot be asked: the HTTP filter that denies what it would
    /// have been asked about.
    #[must_use]
    pub fn denying(&self) -> Value {
        self.denying_by(HTTP_FILTER, None)
    }

    /// The same as a network filter.
    #[must_use]
    pub fn denying_network(&self) -> Value {
        self.denying_by(NETWORK_FILTER, Some("tcp."))
    }

    fn denying_by(&self, filter: FilterName, stat_prefix: Option<&str>) -> Value {
        let mut rules = self.enforced.clone().unwrap_or_default();
        if let Some(Value::Object(policies)) = rules.get_mut("policies") {
            *policies = std::mem::take(policies)
                .into_iter()
                .map(|(id, policy)| (format!("{id}-deny-due-to-bad-CUSTOM-action"), policy))
                .collect();
        }
        let mut config = json!({"@type": filter.type_url, "rules": rules});
        set(&mut config, "stat_prefix", stat_prefix.map(Value::from));
        json!({"name": filter.name, "typed_config": config})
    }

    fn asking_by(&self, filter: FilterName, stat_prefix: Option<&str>) -> Value {
        let mut config = json!({"@type": filter.type_url});
        set(&mut config, "shadow_rules", self.enforced.clone());
        set(
            &mut config,
            "shadow_rules_stat_prefix",
            Some(json!("istio_ext_authz_")),
        );
        set(&mut config, "stat_prefix", stat_prefix.map(Value::from));
        json!({"name": filter.name, "typed_config": config})
    }

    fn filter(&self, filter: FilterName, stat_prefix: Option<&str>) -> Value {
        let action = self
            .dry_run
            .as_ref()
            .and_then(|rules| rules.get("action")?.as_str());
        let shadow = match action {
            // What is not written is ALLOW, also where nothing is on trial.
            None | Some("ALLOW") => Some("istio_dry_run_allow_"),
            Some("DENY") => Some("istio_dry_run_deny_"),
            Some(_) => None,
        };
        let mut config = json!({"@type": filter.type_url});
        set(&mut config, "rules", self.enforced.clone());
        set(&mut config, "shadow_rules", self.dry_run.clone());
        set(
            &mut config,
            "shadow_rules_stat_prefix",
            shadow.map(Value::from),
        );
        set(&mut config, "stat_prefix", stat_prefix.map(Value::from));
        json!({"name": filter.name, "typed_config": config})
    }
}

fn set(config: &mut Value, field: &str, value: Option<Value>) {
    if let (Some(config), Some(value)) = (config.as_object_mut(), value) {
        config.insert(field.to_owned(), value);
    }
}

#[derive(Clone, Copy)]
struct FilterName {
    name: &'static str,
    type_url: &'static str,
}

const HTTP_FILTER: FilterName = FilterName {
    name: "envoy.filters.http.rbac",
    type_url: "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
};
const NETWORK_FILTER: FilterName = FilterName {
    name: "envoy.filters.network.rbac",
    type_url: "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC",
};

/// Rule sets while they are filled: by action, provider, and whether on trial.
#[derive(Default)]
struct Sets(BTreeMap<(Action, String, bool), RuleSet>);

/// A condition without counterpart, by its places in the policy.
struct Unknown {
    rule: usize,
    condition: usize,
    key: String,
}

impl Sets {
    /// Adds a policy's rules; what has no counterpart is returned.
    fn add(
        &mut self,
        policy: &AuthorizationPolicy,
        namespace: &str,
        tcp: bool,
        trust_domains: &TrustDomains<'_>,
    ) -> Vec<Unknown> {
        let name = policy.metadata.name.as_deref().unwrap_or_default();
        let provider = provider(policy);
        let prefix = provider
            .map(|name| format!("istio-ext-authz-{name}-"))
            .unwrap_or_default();
        let id = |rule: usize| format!("{prefix}ns[{namespace}]-policy[{name}]-rule[{rule}]");
        let effect = effect(policy.spec.action);
        let context = Context {
            trust_domains,
            namespace,
            tcp,
            effect,
        };
        let key = (
            policy.spec.action,
            provider.unwrap_or_default().to_owned(),
            is_dry_run(policy),
        );
        let set = self.0.entry(key).or_default();
        set.action = effect;
        let rules = policy.spec.rules.as_deref().unwrap_or_default();
        if rules.is_empty() {
            set.policies.insert(id(0), Policy::never());
        }
        let mut unknown = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            match Policy::of(rule, &context) {
                Ok(translated) => {
                    set.policies.insert(id(index), translated);
                }
                Err(Untranslatable::HttpOnly) => {}
                Err(Untranslatable::Condition(condition)) => {
                    let written = rule.when.as_ref().and_then(|when| when.get(condition));
                    let key = written
                        .map(|written| written.key.clone())
                        .unwrap_or_default();
                    unknown.push(Unknown {
                        rule: index,
                        condition,
                        key,
                    });
                }
            }
        }
        unknown
    }

    fn finish(self) -> Rbac {
        let mut rbac = Rbac::default();
        for ((action, provider, dry_run), set) in self.0 {
            let pair = match action {
                Action::Custom => rbac.custom.entry(provider).or_default(),
                Action::Audit => &mut rbac.audit,
                Action::Deny => &mut rbac.deny,
                Action::Allow => &mut rbac.allow,
            };
            // Texts, numbers and flags under text keys always serialize.
            let rules = serde_json::to_value(set).ok();
            if dry_run {
                pair.dry_run = rules;
            } else {
                pair.enforced = rules;
            }
        }
        rbac
    }
}

impl Unknown {
    fn of(self, policy: &AuthorizationPolicy, index: usize) -> CompileError {
        let metadata = &policy.metadata;
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        CompileError {
            kind: "AuthorizationPolicy",
            policy: format!("{}/{}", part(&metadata.namespace), part(&metadata.name)),
            index,
            path: format!("spec.rules[{}].when[{}].key", self.rule, self.condition),
            problem: Problem::Invalid {
                value: self.key,
                expected: "an attribute that Envoy's own RBAC knows",
            },
        }
    }
}

fn effect(action: Action) -> Effect {
    match action {
        Action::Allow => Effect::Allow,
        // A CUSTOM rule "denies" in shadow: a match is what sends the request to the provider.
        Action::Deny | Action::Custom => Effect::Deny,
        Action::Audit => Effect::Log,
    }
}

/// Name of the provider of a CUSTOM policy.
fn provider(policy: &AuthorizationPolicy) -> Option<&str> {
    let provider = policy.spec.provider.as_ref()?;
    (policy.spec.action == Action::Custom).then_some(provider.name.as_str())
}

/// Whether a policy is on trial.
pub(crate) fn is_dry_run(policy: &AuthorizationPolicy) -> bool {
    let annotation = policy.metadata.annotations.get("istio.io/dry-run");
    // The spellings of Go's `ParseBool`; others do not compile.
    annotation
        .is_some_and(|text| matches!(text.as_str(), "1" | "t" | "T" | "true" | "TRUE" | "True"))
}
