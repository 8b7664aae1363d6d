//! Sources and operations, field by field.

use crate::{
    authorization_policy::{Operation, Source},
    error::Problem,
    report::{Path, Report},
    rule::{Clause, Condition, Field},
    scope::Scope,
};

use super::{trust_domain::TrustDomains, values::Kind};

/// What values are compiled with.
pub(super) struct Fields<'s> {
    pub(super) trust_domains: TrustDomains<'s>,
    namespace: &'s str,
    /// Whether the policy is a CUSTOM one.
    custom: bool,
}

impl<'s> Fields<'s> {
    pub(super) fn new(scope: &'s Scope, policy_namespace: &'s str, custom: bool) -> Self {
        let aliases = scope.trust_domain_aliases.iter().map(AsRef::as_ref);
        let names = [scope.trust_domain.as_str()]
            .into_iter()
            .chain(aliases)
            .collect();
        Self {
            trust_domains: TrustDomains(names),
            namespace: policy_namespace,
            custom,
        }
    }

    /// The policy's namespace.
    pub(super) fn namespace(&self) -> &'s str {
        self.namespace
    }

    pub(super) fn source(
        &self,
        index: usize,
        source: &Source,
        path: &Path,
        report: &mut Report,
    ) -> Clause {
        let others = source.principals.is_some()
            || source.not_principals.is_some()
            || source.namespaces.is_some()
            || source.not_namespaces.is_some();
        let accounts = ["serviceAccounts", "notServiceAccounts"];
        for (name, _) in source
            .fields()
            .filter(|(name, _)| others && accounts.contains(name))
        {
            let other = "principals or namespaces";
            report.problem(&path.field(name), Problem::Conflict { other });
        }
        let fields = source.fields();
        let field = |name| Field::From(index, name);
        self.clause(fields, path, report, field, |field| match field {
            "principals" => Some(Kind::Principal),
            "requestPrincipals" => Some(Kind::RequestPrincipal),
            "namespaces" => Some(Kind::Namespace),
            "serviceAccounts" => Some(Kind::ServiceAccount),
            "trustDomains" => Some(Kind::TrustDomain),
            "ipBlocks" => Some(Kind::SourceIp),
            "remoteIpBlocks" => Some(Kind::RemoteIp),
            _ => None,
        })
    }

    pub(super) fn operation(
        &self,
        index: usize,
        operation: &Operation,
        path: &Path,
        report: &mut Report,
    ) -> Clause {
        let fields = operation.fields();
        let field = |name| Field::To(index, name);
        self.clause(fields, path, report, field, |field| match field {
            "hosts" => Some(Kind::Host),
            "ports" => Some(Kind::DestinationPort),
            "methods" => Some(Kind::Method),
            "paths" => Some(Kind::Path),
            _ => None,
        })
    }

    /// `kind` knows the positive name of every field there is.
    fn clause<'w>(
        &self,
        fields: impl Iterator<Item = (&'static str, &'w [String])>,
        path: &Path,
        report: &mut Report,
        field: impl Fn(&'static str) -> Field,
        kind: impl Fn(&str) -> Option<Kind>,
    ) -> Clause {
        let mut conditions = Vec::new();
        let mut written = false;
        for (name, values) in fields {
            written = true;
            let path = path.field(name);
            let negated = name.starts_with("not");
            let Some(kind) = kind(&positive(name)) else {
                let key = name.to_owned();
                report.problem(&path, Problem::UnknownKey { key });
                continue;
            };
            self.check_custom(&kind, &path, report);
            if let Some(test) = self.test(kind, values, &path, report) {
                conditions.push(Condition {
                    field: field(name),
                    negated,
                    test,
                });
            }
        }
        if !written {
            report.problem(path, Problem::Empty);
        }
        Clause(conditions)
    }

    /// The provider of a CUSTOM policy is asked before identities and tokens are established.
    pub(super) fn check_custom(&self, kind: &Kind, path: &Path, report: &mut Report) {
        if self.custom && kind.is_of_identity() {
            let other = "action CUSTOM, which looks at no identity and no token";
            report.problem(path, Problem::Conflict { other });
        }
    }
}

/// `notIpBlocks` is the negative of `ipBlocks`.
fn positive(name: &str) -> String {
    let Some(rest) = name.strip_prefix("not") else {
        return name.to_owned();
    };
    let mut letters = rest.chars();
    letters
        .next()
        .map(|first| first.to_ascii_lowercase())
        .into_iter()
        .chain(letters)
        .collect()
}
