//! Istio's `AuthorizationPolicy` resource, `security.istio.io/v1` and `v1beta1`, field for field.
//!
//! These types only hold what was written. A field may be left out, but not be null. Meaning and limits are
//! the compiler's business.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// An `AuthorizationPolicy` resource.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthorizationPolicy {
    /// `security.istio.io/v1` or `security.istio.io/v1beta1`.
    pub api_version: String,
    /// `AuthorizationPolicy`.
    pub kind: String,
    /// Name, namespace and annotations.
    pub metadata: Metadata,
    /// The policy; left out means an ALLOW policy without rules, which allows nothing.
    #[serde(default)]
    pub spec: AuthorizationPolicySpec,
    /// Written by the API server; not looked at.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub status: Option<Value>,
}

/// Kubernetes object metadata. Only name, namespace and annotations are looked at; the other fields are those
/// an API server writes.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Metadata {
    /// The policy's name.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The policy's namespace; the compiler demands one.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// `istio.io/dry-run` has a meaning.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Not looked at.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<Value>,
    /// Not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_grace_period_seconds: Option<Value>,
    /// Not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<Value>,
    /// Not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finalizers: Option<Value>,
    /// Not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generate_name: Option<Value>,
    /// Not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<Value>,
    /// Not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub managed_fields: Option<Value>,
    /// Not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner_references: Option<Value>,
    /// Not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<Value>,
    /// Not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub self_link: Option<Value>,
    /// Not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<Value>,
}

/// Istio `AuthorizationPolicy.spec`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AuthorizationPolicySpec {
    /// Workloads the policy applies to; none means all of the namespace (of the mesh, in the root namespace).
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub selector: Option<WorkloadSelector>,
    /// The same as one element of `targetRefs`.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetReference>,
    /// Gateways and services the policy applies to, instead of a selector.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub target_refs: Option<Vec<TargetReference>>,
    /// What a match means; ALLOW if left out.
    #[serde(skip_serializing_if = "Action::is_default")]
    pub action: Action,
    /// Who is asked about a match, by the proxy itself; CUSTOM only, and needed there.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub provider: Option<ExtensionProvider>,
    /// The rules; a request matches the policy if one of them matches. None matches nothing.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub rules: Option<Vec<Rule>>,
}

/// Istio `PolicyTargetReference`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TargetReference {
    /// API group; the core group if left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Refused: a target is always in the policy's namespace.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// Istio `AuthorizationPolicy.ExtensionProvider`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ExtensionProvider {
    /// A name in the mesh's list of providers.
    pub name: String,
}

/// Istio `AuthorizationPolicy.Action`.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "UPPERCASE")]
pub enum Action {
    /// A match allows.
    #[default]
    Allow,
    /// A match denies.
    Deny,
    /// A match is told of, and changes nothing.
    Audit,
    /// A match asks the provider, before all other policies. The proxy does that, not this engine.
    Custom,
}

impl Action {
    /// The action as Istio writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "ALLOW",
            Self::Deny => "DENY",
            Self::Audit => "AUDIT",
            Self::Custom => "CUSTOM",
        }
    }

    fn is_default(&self) -> bool {
        *self == Self::Allow
    }
}

/// Istio `WorkloadSelector`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WorkloadSelector {
    /// Labels a workload must have; none means every workload.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub match_labels: Option<BTreeMap<String, String>>,
}

/// Istio `Rule`: one of `from` and one of `to` and all of `when`; what is left out holds.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rule {
    /// Sources, of which one must match.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub from: Option<Vec<From>>,
    /// Operations, of which one must match.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<To>>,
    /// Conditions, all of which must hold.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub when: Option<Vec<Condition>>,
}

/// Istio `Rule.From`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct From {
    /// The source.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
}

/// Istio `Rule.To`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct To {
    /// The operation.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
}

macro_rules! lists {
    ($(#[$outer:meta])* $name:ident { $($(#[$doc:meta])* $field:ident $wire:literal,)+ }) => {
        $(#[$outer])*
        #[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $(
                $(#[$doc])*
                #[serde(rename = $wire, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
                pub $field: Option<Vec<String>>,
            )+
        }

        impl $name {
            /// Every field that was written, by its name.
            pub(crate) fn fields(&self) -> impl Iterator<Item = (&'static str, &[String])> {
                [$(($wire, self.$field.as_deref()),)+]
                    .into_iter()
                    .filter_map(|(name, list)| list.map(|list| (name, list)))
            }
        }
    };
}

lists! {
    /// Istio `Source`: all written fields must hold, each by one of its values (`not…`: by none).
    Source {
        /// Identities, `<trust domain>/ns/<namespace>/sa/<service account>`; `a*`, `*a` and `*` as elsewhere.
        principals "principals",
        /// None of these identities.
        not_principals "notPrincipals",
        /// Issuer and subject of the token, `<issuer>/<subject>`; `*` at an end.
        request_principals "requestPrincipals",
        /// None of these issuers and subjects.
        not_request_principals "notRequestPrincipals",
        /// Namespaces of the peer; `*` anywhere.
        namespaces "namespaces",
        /// None of these namespaces.
        not_namespaces "notNamespaces",
        /// Service accounts of the peer, `sa` (of the policy's namespace) or `ns/sa`, in any trust domain.
        service_accounts "serviceAccounts",
        /// None of these service accounts.
        not_service_accounts "notServiceAccounts",
        /// Trust domains of the peer; one `*`, at an end.
        trust_domains "trustDomains",
        /// None of these trust domains.
        not_trust_domains "notTrustDomains",
        /// Addresses or CIDR ranges of the TCP peer.
        ip_blocks "ipBlocks",
        /// None of these addresses.
        not_ip_blocks "notIpBlocks",
        /// Addresses or CIDR ranges of the client behind trusted proxies.
        remote_ip_blocks "remoteIpBlocks",
        /// None of these addresses.
        not_remote_ip_blocks "notRemoteIpBlocks",
    }
}

lists! {
    /// Istio `Operation`: all written fields must hold, each by one of its values (`not…`: by none).
    Operation {
        /// Hosts with their port as the client wrote them, compared without case.
        hosts "hosts",
        /// None of these hosts.
        not_hosts "notHosts",
        /// Local ports, as strings.
        ports "ports",
        /// None of these ports.
        not_ports "notPorts",
        /// HTTP methods.
        methods "methods",
        /// None of these methods.
        not_methods "notMethods",
        /// Paths without query and fragment; templates with `{*}` (one segment) and `{**}` (any text).
        paths "paths",
        /// None of these paths.
        not_paths "notPaths",
    }
}

/// Istio `Condition`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Condition {
    /// Name of the attribute, e.g. `request.headers[x-role]`.
    ///
    /// Beyond Istio's there are those of the peer's checked certificate: `source.certificate.issuer` (the name as
    /// RFC 4514 writes it), `.serial`, `.sha256` and `.spki` (hexadecimal digits), `.keyType` (`RSA`, `EC`,
    /// `Ed25519`, `other`), `.keyBits` (`2048`, or `2048+` for no less), `.eku` and `.policyOid` (OIDs, also
    /// `serverAuth` and `clientAuth`), `.notAfterWithin` and `.ageLessThan` (one duration, `90s`, `30m`, `12h`, `7d`).
    pub key: String,
    /// Values, of which one must match.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<String>>,
    /// Values, of which none may match.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub not_values: Option<Vec<String>>,
}

/// Left out is `None`; null is an error, since a reader could take it for either "any" or "none".
pub(crate) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}
