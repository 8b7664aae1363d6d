//! A set of policies, how Envoy itself is given them, and the requests they are tried with.

use envoy_config::rbac;
use policy::{AuthorizationPolicy, Protocol, Scope};
use serde_json::{Value, json};

use crate::explain::Explained;
use crate::request::Request;

pub(crate) struct Group {
    /// For reports: the case's file, or the number of the generated set.
    pub(crate) name: String,
    pub(crate) policies: Vec<AuthorizationPolicy>,
    pub(crate) mesh: Mesh,
    /// Envoy's own filters.
    pub(crate) native: Native,
    pub(crate) requests: Vec<Request>,
    /// A group whose every request Envoy's own rules let pass and the filter does not, for this reason.
    pub(crate) must_differ: Option<Explained>,
}

/// Settings around the policies.
#[derive(Clone, Debug)]
pub(crate) struct Mesh {
    pub(crate) namespace: &'static str,
    /// The mesh's trust domain, and its aliases.
    pub(crate) trust_domains: Vec<String>,
    /// `pathNormalization` in the plug-in configuration, and what HCM does.
    pub(crate) paths: &'static str,
    /// Whether the remote address is what `x-forwarded-for` says.
    pub(crate) believes_headers: bool,
    /// Whether the token's payload is only in dynamic metadata, as in Istio's own filter chain.
    pub(crate) only_metadata: bool,
}

/// What Envoy's own filters are.
pub(crate) struct Native {
    /// Filters that decide, in their order.
    pub(crate) filters: Vec<Value>,
    /// The same rules, enforced by nobody: they say which rule allowed. Where a filter denies, what its own rules
    /// on trial say is not told any more, so those are among them.
    pub(crate) observers: Vec<Value>,
}

/// Prefixes of what the observers leave.
pub(crate) const OBSERVED_DENY: &str = "observed_deny_";
pub(crate) const OBSERVED_ALLOW: &str = "observed_allow_";
pub(crate) const OBSERVED_AUDIT: &str = "observed_audit_";
pub(crate) const OBSERVED_DRY_DENY: &str = "observed_dry_deny_";
pub(crate) const OBSERVED_DRY_ALLOW: &str = "observed_dry_allow_";

impl Mesh {
    pub(crate) fn new(namespace: &'static str, trust_domains: &[&str]) -> Self {
        Self {
            namespace,
            trust_domains: trust_domains
                .iter()
                .map(|name| (*name).to_owned())
                .collect(),
            paths: "decodeAndMergeSlashes",
            believes_headers: false,
            only_metadata: false,
        }
    }

    pub(crate) fn scope(&self, protocol: Protocol) -> Scope {
        let mut names = self
            .trust_domains
            .iter()
            .map(|name| name.parse().expect("a trust domain"));
        let mut scope = Scope::new(names.next().expect("a trust domain"), self.namespace);
        scope.trust_domain_aliases = names.collect();
        for (name, value) in LABELS {
            scope.workload.labels.insert(name.into(), value.into());
        }
        scope.custom_providers = PROVIDERS.map(Into::into).into();
        scope.protocol = protocol;
        scope
    }
}

/// Labels of the workload.
pub(crate) const LABELS: [(&str, &str); 2] = [("app", "httpbin"), ("version", "v1")];
/// Providers that CUSTOM policies may name.
pub(crate) const PROVIDERS: [&str; 2] = ["default", "another"];

impl Native {
    /// Our translation of the policies.
    pub(crate) fn translated(rbac: &rbac::Rbac, protocol: Protocol) -> Self {
        let observed = [
            (&rbac.deny.enforced, OBSERVED_DENY),
            (&rbac.allow.enforced, OBSERVED_ALLOW),
            (&rbac.audit.enforced, OBSERVED_AUDIT),
            (&rbac.deny.dry_run, OBSERVED_DRY_DENY),
            (&rbac.allow.dry_run, OBSERVED_DRY_ALLOW),
        ];
        Self {
            filters: match protocol {
                Protocol::Http => rbac.http_filters(),
                Protocol::Tcp => rbac.network_filters(),
            },
            observers: observed
                .into_iter()
                .filter_map(|(rules, prefix)| {
                    let rules = rules.as_ref()?;
                    Some(observer(rules, prefix, protocol))
                })
                .collect(),
        }
    }
}

/// A filter that evaluates and does nothing else.
pub(crate) fn observer(rules: &Value, prefix: &str, protocol: Protocol) -> Value {
    let mut rules = rules.clone();
    // LOG never matches "against" a request; as ALLOW it says which rule would have been logged.
    if rules["action"] == "LOG" {
        rules.as_object_mut().expect("rules").remove("action");
    }
    let mut config = json!({"shadow_rules": rules, "shadow_rules_stat_prefix": prefix});
    config["@type"] = json!(match protocol {
        Protocol::Http => "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
        Protocol::Tcp => "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC",
    });
    if protocol == Protocol::Tcp {
        config["stat_prefix"] = json!("observer.");
    }
    json!({"name": format!("observer-{prefix}"), "typed_config": config})
}

pub(crate) fn policies(values: &[Value]) -> Vec<AuthorizationPolicy> {
    let one = |value: &Value| {
        policy::json::shape(value).unwrap_or_else(|error| panic!("{error}: {value:#}"))
    };
    values.iter().map(one).collect()
}
