//! Policies as lints look at them: every field by the name of Istio's conditions.

use std::collections::BTreeMap;

use crate::{
    authorization_policy::{Action, AuthorizationPolicy, Condition, Metadata, Rule as Written},
    compile::is_dry_run,
};

use super::ResourceName;

pub(super) struct Policy<'r> {
    pub(super) name: ResourceName,
    pub(super) action: Action,
    pub(super) dry_run: bool,
    pub(super) rules: Vec<Rule<'r>>,
    pub(super) written: &'r AuthorizationPolicy,
}

pub(super) struct Rule<'r> {
    /// `spec.rules[0]`.
    pub(super) path: String,
    pub(super) from: Vec<Part<'r>>,
    pub(super) to: Vec<Part<'r>>,
    pub(super) when: Part<'r>,
}

/// Conditions that must all hold.
pub(super) struct Part<'r> {
    pub(super) path: String,
    pub(super) fields: Vec<Field<'r>>,
}

pub(super) struct Field<'r> {
    pub(super) path: String,
    pub(super) attribute: Attribute<'r>,
    pub(super) negated: bool,
    pub(super) values: &'r [String],
}

/// What a field looks at, by the key of a condition; a field of an operation that has no such key by its own name.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Attribute<'r>(pub(super) &'r str);

/// How the values of an attribute are written and compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Grammar {
    /// Exact, prefix, suffix or presence.
    Text,
    /// The same without case.
    Host,
    /// The same, or a template.
    Path,
    /// `*` anywhere.
    Namespace,
    /// Addresses and ranges.
    Range,
    /// Equal or not.
    Opaque,
}

impl<'r> Policy<'r> {
    pub(super) fn new(written: &'r AuthorizationPolicy) -> Self {
        let rules = written.spec.rules.as_deref().unwrap_or_default();
        Self {
            name: name("AuthorizationPolicy", &written.metadata),
            action: written.spec.action,
            dry_run: is_dry_run(written),
            rules: rules
                .iter()
                .enumerate()
                .map(|(index, rule)| Rule::new(index, rule))
                .collect(),
            written,
        }
    }

    pub(super) fn labels(&self) -> Option<&BTreeMap<String, String>> {
        let selector = self.written.spec.selector.as_ref();
        selector
            .and_then(|selector| selector.match_labels.as_ref())
            .filter(|labels| !labels.is_empty())
    }
}

pub(super) fn name(kind: &'static str, metadata: &Metadata) -> ResourceName {
    ResourceName {
        kind,
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: metadata.name.clone().unwrap_or_default(),
    }
}

impl<'r> Rule<'r> {
    fn new(index: usize, rule: &'r Written) -> Self {
        let path = format!("spec.rules[{index}]");
        let from = rule.from.as_deref().unwrap_or_default().iter().enumerate();
        let from = from.filter_map(|(index, from)| {
            let fields = from.source.as_ref()?.fields();
            Some(Part::new(format!("{path}.from[{index}].source"), fields))
        });
        let to = rule.to.as_deref().unwrap_or_default().iter().enumerate();
        let to = to.filter_map(|(index, to)| {
            let fields = to.operation.as_ref()?.fields();
            Some(Part::new(format!("{path}.to[{index}].operation"), fields))
        });
        Self {
            from: from.collect(),
            to: to.collect(),
            when: Part::of_conditions(&path, rule.when.as_deref().unwrap_or_default()),
            path,
        }
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = &Part<'r>> {
        self.from.iter().chain(&self.to).chain([&self.when])
    }

    pub(super) fn fields(&self) -> impl Iterator<Item = &Field<'r>> {
        self.parts().flat_map(|part| &part.fields)
    }
}

impl<'r> Part<'r> {
    fn new(path: String, fields: impl Iterator<Item = (&'static str, &'r [String])>) -> Self {
        let fields = fields.map(|(name, values)| {
            let (attribute, negated) = attribute(name);
            let path = format!("{path}.{name}");
            Field {
                path,
                attribute: Attribute(attribute),
                negated,
                values,
            }
        });
        Self {
            fields: fields.collect(),
            path,
        }
    }

    fn of_conditions(rule: &str, conditions: &'r [Condition]) -> Self {
        let path = format!("{rule}.when");
        let mut fields = Vec::new();
        for (index, condition) in conditions.iter().enumerate() {
            for (name, values, negated) in [
                ("values", &condition.values, false),
                ("notValues", &condition.not_values, true),
            ] {
                let Some(values) = values else { continue };
                let path = format!("{path}[{index}].{name}");
                fields.push(Field {
                    path,
                    attribute: Attribute(&condition.key),
                    negated,
                    values,
                });
            }
        }
        Self { fields, path }
    }
}

/// The key of the condition that a field of a source or operation stands for, and whether it is a negative one.
fn attribute(field: &'static str) -> (&'static str, bool) {
    match field {
        "principals" => ("source.principal", false),
        "notPrincipals" => ("source.principal", true),
        "namespaces" => ("source.namespace", false),
        "notNamespaces" => ("source.namespace", true),
        "serviceAccounts" => ("source.serviceAccount", false),
        "notServiceAccounts" => ("source.serviceAccount", true),
        "trustDomains" => ("source.trustDomain", false),
        "notTrustDomains" => ("source.trustDomain", true),
        "requestPrincipals" => ("request.auth.principal", false),
        "notRequestPrincipals" => ("request.auth.principal", true),
        "ipBlocks" => ("source.ip", false),
        "notIpBlocks" => ("source.ip", true),
        "remoteIpBlocks" => ("remote.ip", false),
        "notRemoteIpBlocks" => ("remote.ip", true),
        "ports" => ("destination.port", false),
        "notPorts" => ("destination.port", true),
        "hosts" => (HOST, false),
        "notHosts" => (HOST, true),
        "methods" => (METHOD, false),
        "notMethods" => (METHOD, true),
        "paths" => (PATH, false),
        "notPaths" => (PATH, true),
        // None is left; a new one is compared with itself only.
        other => (other, other.starts_with("not")),
    }
}

pub(super) const HOST: &str = "hosts";
pub(super) const METHOD: &str = "methods";
pub(super) const PATH: &str = "paths";

impl Attribute<'_> {
    pub(super) fn grammar(self) -> Grammar {
        match self.0 {
            HOST => Grammar::Host,
            PATH => Grammar::Path,
            "source.namespace" => Grammar::Namespace,
            "source.ip" | "remote.ip" | "destination.ip" => Grammar::Range,
            "source.serviceAccount" | "destination.port" | "request.auth.principal" => {
                Grammar::Opaque
            }
            key if key.starts_with("experimental.") => Grammar::Opaque,
            key if key.starts_with("source.certificate.") => Grammar::Opaque,
            _ => Grammar::Text,
        }
    }

    /// Whether a request has at most one value of it, so that two conditions look at the same one.
    pub(super) fn is_single(self) -> bool {
        matches!(
            self.0,
            "source.principal"
                | "source.trustDomain"
                | "source.ip"
                | "remote.ip"
                | "destination.ip"
                | "destination.port"
                | "connection.sni"
                | HOST
                | METHOD
                | PATH
        )
    }

    /// Whether it is about the peer's identity.
    pub(super) fn is_of_peer(self) -> bool {
        matches!(
            self.0,
            "source.principal"
                | "source.namespace"
                | "source.serviceAccount"
                | "source.trustDomain"
        ) || self.0.starts_with("source.certificate.")
    }

    /// Whether it is about a token.
    pub(super) fn is_of_token(self) -> bool {
        self.0.starts_with("request.auth.")
    }

    pub(super) fn is_http(self) -> bool {
        matches!(self.0, HOST | METHOD | PATH) || self.0.starts_with("request.")
    }
}
