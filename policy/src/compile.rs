//! From resources to rules: every check of a policy, and which of them apply to the workload.

mod certificate;
mod condition;
mod fields;
pub mod limits;
pub(crate) mod resource;
mod trust_domain;
mod values;

use std::collections::BTreeSet;

use crate::{
    authorization_policy::{self as schema, Action, AuthorizationPolicy},
    decision::PolicyRule,
    error::{CompileError, Problem},
    report::{Path, Report},
    rule::{Clause, Condition, Rule},
    scope::{Protocol, Scope},
};

use self::fields::Fields;
pub(crate) use self::resource::is_dry_run;

/// The rules of the policies that apply to the workload, by what they do.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    pub(crate) enforced: Verdicts,
    /// Of policies annotated `istio.io/dry-run`.
    pub(crate) dry_run: Verdicts,
    pub(crate) audit: Vec<Rule>,
    /// `namespace/name` of each AUDIT policy.
    pub(crate) audit_policies: Vec<String>,
}

/// The rules that decide.
#[derive(Debug, Default)]
pub(crate) struct Verdicts {
    pub(crate) deny: Vec<Rule>,
    pub(crate) allow: Vec<Rule>,
    /// `namespace/name` of each ALLOW policy, including those without rules.
    pub(crate) allow_policies: Vec<String>,
    /// `namespace/name` of each DENY policy.
    pub(crate) deny_policies: Vec<String>,
}

/// Compiles all of `policies`, also those that do not apply to the workload, and keeps those that do.
///
/// # Errors
/// All problems of all policies; nothing is kept then.
pub(crate) fn compile(
    policies: &[AuthorizationPolicy],
    scope: &Scope,
) -> Result<Rules, Vec<CompileError>> {
    let mut compiler = Compiler::new(scope, policies.len());
    for policy in policies {
        compiler.add(policy);
    }
    compiler.finish()
}

/// Compiles policies one after another.
pub(crate) struct Compiler<'s> {
    scope: &'s Scope,
    /// How many there will be.
    total: usize,
    index: usize,
    rules: Rules,
    errors: Vec<CompileError>,
    seen: BTreeSet<(Option<String>, Option<String>)>,
}

impl<'s> Compiler<'s> {
    pub(crate) fn new(scope: &'s Scope, total: usize) -> Self {
        Self {
            scope,
            total,
            index: 0,
            rules: Rules::default(),
            errors: Vec::new(),
            seen: BTreeSet::new(),
        }
    }

    pub(crate) fn add(&mut self, policy: &AuthorizationPolicy) {
        let index = self.index;
        self.index = index.saturating_add(1);
        let mut report = Report::new(resource::KIND, index, &policy.metadata);
        if index >= limits::MAX_POLICIES {
            // Once is enough.
            if index == limits::MAX_POLICIES {
                report.too_many(&Path::root("metadata"), self.total, "policies", index);
                self.errors.extend(report.finish());
            }
            return;
        }
        let metadata = &policy.metadata;
        let name = (metadata.namespace.clone(), metadata.name.clone());
        if !self.seen.insert(name) {
            report.problem(&Path::root("metadata.name"), Problem::Duplicate);
        }
        let compiled = one(policy, self.scope, &mut report);
        if self.scope.applies(policy) {
            check_provider_is_asked(policy, self.scope, &mut report);
            let name = report.policy().to_owned();
            self.rules.add(policy, name, compiled, self.scope.protocol);
        }
        self.errors.extend(report.finish());
    }

    /// # Errors
    /// All problems of all policies.
    pub(crate) fn finish(self) -> Result<Rules, Vec<CompileError>> {
        if self.errors.is_empty() {
            Ok(self.rules)
        } else {
            Err(self.errors)
        }
    }
}

impl Rules {
    fn add(
        &mut self,
        policy: &AuthorizationPolicy,
        name: String,
        mut compiled: Vec<Rule>,
        protocol: Protocol,
    ) {
        let action = policy.spec.action;
        if protocol == Protocol::Tcp {
            without_http(action, &mut compiled);
        }
        let verdicts = if is_dry_run(policy) {
            &mut self.dry_run
        } else {
            &mut self.enforced
        };
        match action {
            Action::Allow => {
                verdicts.allow_policies.push(name);
                verdicts.allow.extend(compiled);
            }
            Action::Deny => {
                verdicts.deny_policies.push(name);
                verdicts.deny.extend(compiled);
            }
            // On trial it would only say that it would say something: in Istio, too, it does nothing.
            Action::Audit if is_dry_run(policy) => {}
            Action::Audit => {
                self.audit_policies.push(name);
                self.audit.extend(compiled);
            }
            // The proxy has asked the provider before the filter runs.
            Action::Custom => {}
        }
    }
}

/// What Istio makes of rules on a TCP listener: an ALLOW rule with a condition on a request is dropped whole, even
/// if only one of its sources or operations has it; of other rules, such conditions are left out, and a source or
/// operation without any other matches everything.
fn without_http(action: Action, rules: &mut Vec<Rule>) {
    let is_http = |condition: &Condition| condition.test.is_http_only();
    if action == Action::Allow {
        rules.retain(|rule| !rule.conditions().any(is_http));
        return;
    }
    for rule in rules {
        let when = std::iter::once(&mut rule.when);
        for clause in rule.from.iter_mut().chain(&mut rule.to).chain(when) {
            clause.0.retain(|condition| !is_http(condition));
        }
    }
}

/// A CUSTOM policy whose provider nobody asks would be no policy at all.
fn check_provider_is_asked(policy: &AuthorizationPolicy, scope: &Scope, report: &mut Report) {
    let provider = policy.spec.provider.as_ref();
    let Some(name) = provider
        .map(|provider| &provider.name)
        .filter(|name| !name.is_empty())
    else {
        return;
    };
    if policy.spec.action == Action::Custom && !scope.custom_providers.contains(name) {
        let path = Path::root("spec.provider.name");
        report.invalid(
            &path,
            name,
            "one of the providers that the proxy is set up to ask",
        );
    }
}

fn one(policy: &AuthorizationPolicy, scope: &Scope, report: &mut Report) -> Vec<Rule> {
    resource::check(policy, report);
    let written = policy.spec.rules.as_deref().unwrap_or_default();
    let rules = Path::root("spec.rules");
    report.limit(&rules, written.len(), "rules", limits::MAX_RULES);
    let metadata = &policy.metadata;
    let name = metadata.name.as_deref().unwrap_or_default();
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let fields = Fields::new(scope, namespace, policy.spec.action == Action::Custom);
    written
        .iter()
        .take(limits::MAX_RULES)
        .enumerate()
        .map(|(index, rule)| {
            let path = rules.index(index);
            Rule {
                id: PolicyRule::new(fields.namespace(), name, index),
                from: sources(rule, &fields, &path, report),
                to: operations(rule, &fields, &path, report),
                when: conditions(rule, &fields, &path, report),
            }
        })
        .collect()
}

fn sources(
    rule: &schema::Rule,
    fields: &Fields<'_>,
    path: &Path,
    report: &mut Report,
) -> Vec<Clause> {
    let Some(from) = &rule.from else {
        return Vec::new();
    };
    let path = path.field("from");
    report.list(&path, from.len(), "sources", limits::MAX_SOURCES);
    let mut clauses = Vec::new();
    for (index, from) in from.iter().enumerate() {
        let path = path.index(index).field("source");
        match &from.source {
            Some(source) => clauses.push(fields.source(index, source, &path, report)),
            None => report.problem(
                &path,
                Problem::Missing {
                    expected: "a source",
                },
            ),
        }
    }
    clauses
}

fn operations(
    rule: &schema::Rule,
    fields: &Fields<'_>,
    path: &Path,
    report: &mut Report,
) -> Vec<Clause> {
    let Some(to) = &rule.to else {
        return Vec::new();
    };
    let path = path.field("to");
    report.list(&path, to.len(), "operations", limits::MAX_OPERATIONS);
    let mut clauses = Vec::new();
    for (index, to) in to.iter().enumerate() {
        let path = path.index(index).field("operation");
        match &to.operation {
            Some(operation) => clauses.push(fields.operation(index, operation, &path, report)),
            None => report.problem(
                &path,
                Problem::Missing {
                    expected: "an operation",
                },
            ),
        }
    }
    clauses
}

fn conditions(
    rule: &schema::Rule,
    fields: &Fields<'_>,
    path: &Path,
    report: &mut Report,
) -> Clause {
    let Some(when) = &rule.when else {
        return Clause::default();
    };
    let path = path.field("when");
    report.list(&path, when.len(), "conditions", limits::MAX_CONDITIONS);
    let mut all = Vec::new();
    for (index, written) in when.iter().enumerate() {
        condition::compile(index, written, fields, &path.index(index), report, &mut all);
    }
    Clause(all)
}
