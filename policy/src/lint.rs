//! What compiles and yet is hardly meant: rules that never match, or never matter, or match more than they say.
//!
//! Lints look at resources as they are written, whatever workload they are for. They find what they are made to
//! find and prove nothing: a set without findings may still be wrong. What they call certain ([`Severity::Warning`]:
//! a rule never matches, a rule is covered) holds for every request; where that cannot be told (two patterns that
//! might or might not overlap), they say nothing. Resources that do not compile give findings too, if less useful
//! ones: run the compiler first.

mod contradiction;
mod cover;
mod model;
mod pattern;
mod resource;
mod rule;
mod value;

use std::{collections::BTreeSet, fmt};

use identity::TrustDomain;
use serde::{Serialize, Serializer};

use crate::{
    path::PathNormalization,
    resources::Resources,
    scope::{DEFAULT_ROOT_NAMESPACE, Protocol},
};

/// What is known of the mesh the resources are for. What is not known is not linted.
#[derive(Clone, Debug)]
pub struct LintContext {
    /// The mesh's trust domain, its aliases, and those it trusts; none if unknown.
    pub trust_domains: BTreeSet<TrustDomain>,
    /// What the proxies speak where the policies are enforced; `None` if it differs by port.
    pub protocol: Option<Protocol>,
    /// Ports that are known to speak something other than HTTP.
    pub tcp_ports: BTreeSet<u16>,
    /// Policies of this namespace apply in every namespace.
    pub root_namespace: String,
    /// The form every path has when it is looked at.
    pub path_normalization: PathNormalization,
}

impl Default for LintContext {
    /// Nothing known: no trust domains, no protocol; Istio's root namespace and default path form.
    fn default() -> Self {
        Self {
            trust_domains: BTreeSet::new(),
            protocol: None,
            tcp_ports: BTreeSet::new(),
            root_namespace: DEFAULT_ROOT_NAMESPACE.to_owned(),
            path_normalization: PathNormalization::default(),
        }
    }
}

/// Something that is hardly meant.
///
/// Serializes as an object in `camelCase`.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The resource it is in.
    pub resource: ResourceName,
    /// Where in the resource, e.g. `spec.rules[0].to[1].operation.hosts[0]`.
    pub path: String,
    /// What it is.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// What is the matter, with the values at fault.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

/// A resource by name.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceName {
    /// E.g. `AuthorizationPolicy`.
    pub kind: &'static str,
    /// Namespace; empty if it is missing.
    pub namespace: String,
    /// Name; empty if it is missing.
    pub name: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Likely a mistake: what is written has no effect, or lets pass what it seems to stop.
    Warning,
    /// Worth knowing; often meant.
    Note,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident $code:literal,)+) => {
        /// What a finding is. The names ([`Code::as_str`]) are stable; more may come.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[$doc])* $variant,)+
        }

        impl Code {
            /// Every code there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The stable name, in `kebab-case`.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)+
                }
            }
        }
    };
}

codes! {
    /// `never-matches`: conditions of a source, operation or rule exclude each other.
    NeverMatches "never-matches",
    /// `value-never-matches`: a value that no request can have, such as a path without a slash in front, or in a
    /// form that paths never have when they are looked at.
    ValueNeverMatches "value-never-matches",
    /// `literal-star`: a `*` that stands for itself, as it is not at an end (or there is one at both ends).
    LiteralStar "literal-star",
    /// `shadowed-rule`: another rule of the same action matches whatever this one does.
    ShadowedRule "shadowed-rule",
    /// `allow-under-deny`: a DENY rule matches whatever this ALLOW rule does.
    AllowUnderDeny "allow-under-deny",
    /// `http-field-on-tcp`: a field of HTTP where only TCP is spoken; an ALLOW rule is dropped whole, a DENY rule
    /// denies more than it says.
    HttpFieldOnTcp "http-field-on-tcp",
    /// `host-without-port`: a host without its form with a port. The client chooses which one it sends.
    HostWithoutPort "host-without-port",
    /// `path-template`: which segments `{*}` and `{**}` take differs between releases of Envoy.
    PathTemplate "path-template",
    /// `unknown-trust-domain`: a trust domain that the mesh does not know.
    UnknownTrustDomain "unknown-trust-domain",
    /// `any-trust-domain`: `namespaces` and `serviceAccounts` take peers of every trusted trust domain.
    AnyTrustDomain "any-trust-domain",
    /// `denies-without-identity`: a DENY rule for peers, or tokens, that are none.
    DeniesWithoutIdentity "denies-without-identity",
    /// `allows-without-identity`: an ALLOW rule whose sources are only named by who they are not: anyone without
    /// an identity is let in.
    AllowsWithoutIdentity "allows-without-identity",
    /// `no-request-authentication`: a rule looks at tokens, and nothing says which tokens are valid.
    NoRequestAuthentication "no-request-authentication",
    /// `allows-nothing`: an ALLOW policy without rules.
    AllowsNothing "allows-nothing",
    /// `ignored-peer-authentication`: another resource for the same workloads stands above this one.
    IgnoredPeerAuthentication "ignored-peer-authentication",
    /// `incomplete`: there are more pairs of rules than were compared; `shadowed-rule` and `allow-under-deny` may
    /// be missing.
    Incomplete "incomplete",
}

/// Lints `resources`; findings in the order of resources (by kind, namespace and name) and paths.
#[must_use]
pub fn lint(resources: &Resources, context: &LintContext) -> Vec<Finding> {
    let policies: Vec<_> = resources
        .authorization
        .iter()
        .map(model::Policy::new)
        .collect();
    let mut report = Report(Vec::new());
    for policy in &policies {
        resource::policy(policy, &mut report);
        for rule in &policy.rules {
            rule::check(policy, rule, context, resources, &mut report);
            contradiction::check(policy, rule, &mut report);
            for field in rule.fields() {
                value::check(policy, field, context, &mut report);
            }
        }
    }
    cover::check(&policies, context, cover::MAX_COMPARISONS, &mut report);
    resource::peer_authentication(&resources.peer_authentication, context, &mut report);
    report.0.sort();
    report.0
}

struct Report(Vec<Finding>);

impl Report {
    fn warn(
        &mut self,
        resource: &ResourceName,
        path: &str,
        code: Code,
        message: String,
        help: &str,
    ) {
        self.add(resource, path, code, Severity::Warning, message, help);
    }

    fn note(
        &mut self,
        resource: &ResourceName,
        path: &str,
        code: Code,
        message: String,
        help: &str,
    ) {
        self.add(resource, path, code, Severity::Note, message, help);
    }

    fn add(
        &mut self,
        resource: &ResourceName,
        path: &str,
        code: Code,
        severity: Severity,
        message: String,
        help: &str,
    ) {
        self.0.push(Finding {
            resource: resource.clone(),
            path: path.to_owned(),
            code,
            severity,
            message,
            help: help.to_owned(),
        });
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

/// `kind namespace/name`.
impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// `warning[code]: kind namespace/name: path: message`, and the help on a line of its own.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            resource,
            path,
            code,
            severity,
            message,
            help,
        } = self;
        write!(
            f,
            "{severity}[{code}]: {resource}: {path}: {message}\n  help: {help}"
        )
    }
}

#[cfg(test)]
mod tests;
