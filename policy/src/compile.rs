//! From resources to rules: every check of a policy, and which of them apply to the workload.

mod condition;
mod fields;
pub mod limits;
mod report;
mod resource;
mod trust_domain;

use std::collections::BTreeSet;

use crate::{
    authorization_policy::{self as schema, Action, AuthorizationPolicy},
    decision::PolicyRule,
    error::{CompileError, Problem},
    rule::{Clause, Rule},
    scope::Scope,
};

use self::{
    fields::Fields,
    report::{Path, Report},
};

/// The rules of the policies that apply to the workload, by action.
#[derive(Debug, Default)]
pub(crate) struct Rules {
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
    let mut rules = Rules::default();
    let mut errors = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, policy) in policies.iter().enumerate() {
        let mut report = Report::new(index, policy);
        if index == limits::MAX_POLICIES {
            report.too_many(&Path::root("metadata"), policies.len(), "policies", index);
            errors.extend(report.finish());
            break;
        }
        if !seen.insert((&policy.metadata.namespace, &policy.metadata.name)) {
            report.problem(&Path::root("metadata.name"), Problem::Duplicate);
        }
        let compiled = one(policy, scope, &mut report);
        if scope.includes(report.namespace(), policy.spec.selector.as_ref()) {
            rules.add(policy.spec.action, report.policy().to_owned(), compiled);
        }
        errors.extend(report.finish());
    }
    if errors.is_empty() {
        Ok(rules)
    } else {
        Err(errors)
    }
}

impl Rules {
    fn add(&mut self, action: Action, policy: String, compiled: Vec<Rule>) {
        match action {
            Action::Allow => {
                self.allow_policies.push(policy);
                self.allow.extend(compiled);
            }
            Action::Deny => {
                self.deny_policies.push(policy);
                self.deny.extend(compiled);
            }
            // Reported as not supported, so these rules are never used.
            Action::Audit | Action::Custom => {}
        }
    }
}

fn one(policy: &AuthorizationPolicy, scope: &Scope, report: &mut Report) -> Vec<Rule> {
    resource::check(policy, report);
    let written = policy.spec.rules.as_deref().unwrap_or_default();
    let rules = Path::root("spec.rules");
    report.limit(&rules, written.len(), "rules", limits::MAX_RULES);
    let metadata = &policy.metadata;
    let name = metadata.name.as_deref().unwrap_or_default();
    let fields = Fields::new(scope, metadata.namespace.as_deref().unwrap_or_default());
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
