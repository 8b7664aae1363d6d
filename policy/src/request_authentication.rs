//! Istio's `RequestAuthentication`: which JSON Web Tokens (RFC 7519) count, and where they are looked for.
//!
//! The proxy verifies tokens (Envoy's `jwt_authn`); policies see the claims of those that passed.

mod jwks;
mod validate;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    authentication::check_set,
    authorization_policy::{Metadata, TargetReference, WorkloadSelector, present},
    error::CompileError,
    scope::Scope,
};

/// A `RequestAuthentication` resource, `security.istio.io/v1` and `v1beta1`, as it was written.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestAuthentication {
    /// `security.istio.io/v1` or `security.istio.io/v1beta1`.
    pub api_version: String,
    /// `RequestAuthentication`.
    pub kind: String,
    /// Name and namespace.
    pub metadata: Metadata,
    /// The rules.
    #[serde(default)]
    pub spec: RequestAuthenticationSpec,
    /// Written by the API server; not looked at.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub status: Option<Value>,
}

/// Istio `RequestAuthentication.spec`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RequestAuthenticationSpec {
    /// Workloads it is for; without labels all of the namespace (of the mesh, in the root namespace).
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub selector: Option<WorkloadSelector>,
    /// The same as one element of `targetRefs`.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetReference>,
    /// Gateways and services it is for, instead of a selector.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub target_refs: Option<Vec<TargetReference>>,
    /// One a token issuer. A request with a token that fits no rule is refused; one without a token is not.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub jwt_rules: Option<Vec<JwtRule>>,
}

/// Istio `JWTRule`: tokens of one issuer.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct JwtRule {
    /// The `iss` claim a token must have. Never empty: any issuer's name would do then.
    pub issuer: String,
    /// One of these must be in a token's `aud` claim; none: `aud` is not looked at.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub audiences: Option<Vec<String>>,
    /// Where the proxy fetches the public keys.
    #[serde(
        alias = "jwks_uri",
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub jwks_uri: Option<String>,
    /// The public keys themselves, a JSON Web Key Set (RFC 7517 §5).
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub jwks: Option<String>,
    /// Headers to look in; with none of the three places, `Authorization: Bearer` and the parameter
    /// `access_token`.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub from_headers: Option<Vec<JwtHeader>>,
    /// Query parameters to look in.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub from_params: Option<Vec<String>>,
    /// Cookies to look in.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub from_cookies: Option<Vec<String>>,
    /// A header in which the application gets the token's payload, base64url.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub output_payload_to_header: Option<String>,
    /// Whether the application gets the token itself, too.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub forward_original_token: Option<bool>,
    /// Headers in which the application gets single claims.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub output_claim_to_headers: Option<Vec<ClaimToHeader>>,
    /// How long fetching the keys may take, e.g. `5s`.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// Claims, beside `scope` and `permission`, that are lists written as words between spaces.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub space_delimited_claims: Option<Vec<String>>,
    /// OPTIONAL alone; whether a token must be there is for an `AuthorizationPolicy` to say.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub presence: Option<Presence>,
}

/// Istio `JWTHeader`: a header that may hold a token.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct JwtHeader {
    /// Its name.
    pub name: String,
    /// What stands before the token, `Bearer ` with its space for example.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
}

/// Istio `ClaimToHeader`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClaimToHeader {
    /// The header that is written; whatever the client sent in it is gone.
    pub header: String,
    /// The claim, with dots between the names of nested ones.
    pub claim: String,
}

/// Istio `JWTRule.Presence`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Presence {
    /// A request may come without a token.
    Optional,
    /// Refused, see [`JwtRule::presence`].
    Required,
}

impl RequestAuthentication {
    /// Everything wrong with the resource; `index` of the errors is 0.
    ///
    /// Stricter than Istio's admission: an issuer is needed, keys have to be given or have an address (nothing
    /// here asks the issuer for its discovery document), and keys that are secrets are refused.
    ///
    /// Not checked: whether the keys are good for anything.
    #[must_use]
    pub fn validate(&self) -> Vec<CompileError> {
        validate::resource(self)
    }

    /// Everything wrong with a set of resources; `index` of an error is the resource's place in it.
    #[must_use]
    pub fn validate_all(resources: &[Self]) -> Vec<CompileError> {
        let checked = resources
            .iter()
            .map(|resource| (&resource.metadata, resource.validate()));
        check_set(KIND, checked)
    }
}

impl JwtRule {
    /// How long fetching the keys may take; istiod's default of 5 s if it is not said.
    ///
    /// `None` for a text that [`RequestAuthentication::validate`] refuses.
    #[must_use]
    pub fn fetch_timeout(&self) -> Option<Duration> {
        match &self.timeout {
            None => Some(Duration::from_secs(5)),
            Some(text) => parse_duration(text),
        }
    }

    /// Whether the keys are fetched by TLS, and the host they are fetched from with its port, if one is written.
    ///
    /// `None` without `jwksUri`, and for one that [`RequestAuthentication::validate`] refuses.
    #[must_use]
    pub fn jwks_address(&self) -> Option<(bool, &str)> {
        self.jwks_uri.as_deref().and_then(validate::jwks_address)
    }
}

/// A duration as Istio's resources write it, in one unit and to the millisecond: `5s`, `0.5s`, `500ms`, `1m`.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    validate::milliseconds(text).map(Duration::from_millis)
}

/// The rules of those `resources` that apply to the workload of `scope`, by issuer as istiod orders them.
///
/// # Errors
/// All problems of all resources, also of those that do not apply; nothing is kept then.
pub fn rules(
    resources: &[RequestAuthentication],
    scope: &Scope,
) -> Result<Vec<JwtRule>, Vec<CompileError>> {
    let errors = RequestAuthentication::validate_all(resources);
    if !errors.is_empty() {
        return Err(errors);
    }
    let applies = |resource: &&RequestAuthentication| {
        let namespace = resource.metadata.namespace.as_deref().unwrap_or_default();
        let spec = &resource.spec;
        let targets = spec.target_refs.iter().flatten().chain(&spec.target_ref);
        scope.attaches(namespace, spec.selector.as_ref(), targets)
    };
    let mut rules: Vec<_> = resources
        .iter()
        .filter(applies)
        .flat_map(|resource| resource.spec.jwt_rules.iter().flatten().cloned())
        .collect();
    rules.sort_by(|one, other| one.issuer.cmp(&other.issuer));
    Ok(rules)
}

/// The kind, as it is written.
pub(crate) const KIND: &str = "RequestAuthentication";

#[cfg(test)]
mod tests;
