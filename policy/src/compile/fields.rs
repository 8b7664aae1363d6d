//! Sources and operations, field by field, and the value lists they share with conditions.

use crate::{
    authorization_policy::{Operation, Source},
    error::Problem,
    matcher::{CidrSet, NamespacePattern, Presence, ServiceAccountPattern, TextSet, parse_cidr},
    rule::{Clause, Condition, Field, Test},
    scope::Scope,
};

use super::{
    limits,
    report::{Path, Report},
    trust_domain::TrustDomains,
};

/// What values are compiled with.
pub(super) struct Fields<'s> {
    trust_domains: TrustDomains<'s>,
    namespace: &'s str,
}

impl<'s> Fields<'s> {
    pub(super) fn new(scope: &'s Scope, policy_namespace: &'s str) -> Self {
        let aliases = scope.trust_domain_aliases.iter().map(AsRef::as_ref);
        let names = [scope.trust_domain.as_str()]
            .into_iter()
            .chain(aliases)
            .collect();
        Self {
            trust_domains: TrustDomains(names),
            namespace: policy_namespace,
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
        self.clause(
            fields,
            path,
            report,
            |name| Field::From(index, name),
            |field| match field {
                "principals" => Some(Kind::Principal),
                "namespaces" => Some(Kind::Namespace),
                "serviceAccounts" => Some(Kind::ServiceAccount),
                "ipBlocks" => Some(Kind::SourceIp),
                _ => None,
            },
        )
    }

    pub(super) fn operation(
        &self,
        index: usize,
        operation: &Operation,
        path: &Path,
        report: &mut Report,
    ) -> Clause {
        let fields = operation.fields();
        self.clause(
            fields,
            path,
            report,
            |name| Field::To(index, name),
            |field| match field {
                "hosts" => Some(Kind::Host),
                "ports" => Some(Kind::DestinationPort),
                "methods" => Some(Kind::Method),
                "paths" => Some(Kind::Path),
                _ => None,
            },
        )
    }

    /// A field is supported if `kind` knows its positive name.
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
                report.not_supported(&path, name);
                continue;
            };
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

    /// The values of one list, compiled; `None` if one of them was reported.
    pub(super) fn test(
        &self,
        kind: Kind,
        values: &[String],
        path: &Path,
        report: &mut Report,
    ) -> Option<Test> {
        if !check_list(&kind, values, path, report) {
            return None;
        }
        Some(match kind {
            Kind::Principal => {
                let expanded: Vec<_> = values
                    .iter()
                    .flat_map(|value| self.trust_domains.expand(value))
                    .collect();
                Test::Principal(TextSet::new(&expanded, Presence::NonEmpty))
            }
            Kind::Namespace => Test::Namespace(
                values
                    .iter()
                    .map(|value| NamespacePattern::new(value))
                    .collect(),
            ),
            Kind::ServiceAccount => {
                let pattern = |value: &String| ServiceAccountPattern::new(value, self.namespace);
                Test::ServiceAccount(values.iter().map(pattern).collect())
            }
            Kind::SourceIp => Test::SourceIp(addresses(values, path, report)?),
            Kind::DestinationIp => Test::DestinationIp(addresses(values, path, report)?),
            Kind::DestinationPort => Test::DestinationPort(ports(values, path, report)?),
            Kind::Sni => Test::Sni(TextSet::new(values, Presence::NonEmpty)),
            Kind::Host => Test::Host(TextSet::without_case(values, Presence::MayBeEmpty)),
            Kind::Method => Test::Method(TextSet::new(values, Presence::MayBeEmpty)),
            Kind::Path => Test::Path(TextSet::new(values, Presence::NonEmpty)),
            Kind::Header(name) => Test::Header(name, TextSet::new(values, Presence::MayBeEmpty)),
        })
    }
}

/// What a list of values is compared with.
pub(super) enum Kind {
    Principal,
    Namespace,
    ServiceAccount,
    SourceIp,
    DestinationIp,
    DestinationPort,
    Sni,
    Host,
    Method,
    Path,
    /// The name in lower case.
    Header(Box<str>),
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

/// Checks what all lists of a kind share; whether nothing was reported.
fn check_list(kind: &Kind, values: &[String], path: &Path, report: &mut Report) -> bool {
    let (most, longest) = match kind {
        Kind::ServiceAccount => (
            limits::MAX_SERVICE_ACCOUNTS,
            limits::MAX_SERVICE_ACCOUNT_BYTES,
        ),
        _ => (limits::MAX_VALUES, limits::MAX_VALUE_BYTES),
    };
    report.list(path, values.len(), "values", most);
    let mut sound = !values.is_empty() && values.len() <= most;
    for (index, value) in values.iter().take(most).enumerate() {
        let path = path.index(index);
        if value.is_empty() {
            report.problem(&path, Problem::Empty);
        } else if value.len() > longest {
            report.too_many(&path, value.len(), "bytes", longest);
        } else if matches!(kind, Kind::ServiceAccount) && !is_service_account(value) {
            report.invalid(
                &path,
                value,
                "SERVICE_ACCOUNT or NAMESPACE/SERVICE_ACCOUNT without wildcard",
            );
        } else if matches!(kind, Kind::Path) && value.contains(['{', '}']) {
            report.not_supported(&path, "path template");
        } else {
            continue;
        }
        sound = false;
    }
    sound
}

fn is_service_account(value: &str) -> bool {
    let parts = value.split('/').count();
    parts <= 2 && !value.contains('*') && value.split('/').all(|part| !part.is_empty())
}

fn addresses(values: &[String], path: &Path, report: &mut Report) -> Option<CidrSet> {
    let mut set = CidrSet::default();
    let mut sound = true;
    for (index, value) in values.iter().enumerate() {
        match parse_cidr(value) {
            Ok(range) => set.push(range),
            Err(source) => {
                let problem = Problem::BadAddress {
                    value: value.clone(),
                    source,
                };
                report.problem(&path.index(index), problem);
                sound = false;
            }
        }
    }
    sound.then_some(set)
}

fn ports(values: &[String], path: &Path, report: &mut Report) -> Option<Vec<u16>> {
    let mut ports = Vec::new();
    for (index, value) in values.iter().enumerate() {
        // `parse` alone would take a sign.
        let digits = value.bytes().all(|byte| byte.is_ascii_digit());
        match value.parse() {
            Ok(port) if digits => ports.push(port),
            _ => report.invalid(&path.index(index), value, "a port, 0 to 65535"),
        }
    }
    (ports.len() == values.len()).then_some(ports)
}
