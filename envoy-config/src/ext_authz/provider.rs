//! `extensionProviders` of Istio's MeshConfig, as far as they authorize requests.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// An element of MeshConfig's `extensionProviders`: `envoyExtAuthzHttp` or `envoyExtAuthzGrpc`. Other kinds of
/// providers have nothing to do with authorization and are refused as unknown fields.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExtensionProvider {
    /// What CUSTOM policies name it by: a DNS label.
    pub name: String,
    /// It is asked over HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envoy_ext_authz_http: Option<ExternalAuthorizationHttp>,
    /// It is asked over gRPC (`envoy.service.auth.v3.Authorization`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envoy_ext_authz_grpc: Option<ExternalAuthorizationGrpc>,
}

/// MeshConfig `EnvoyExternalAuthorizationHttpProvider`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ExternalAuthorizationHttp {
    /// Its host, a name or an address; a namespace with `/` before it is for istiod and not looked at.
    pub service: String,
    /// Its port.
    pub port: u16,
    /// How long it may take to answer, e.g. `0.5s`; Istio's default is 10 minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// What stands before the path of the request that is asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_prefix: Option<String>,
    /// Whether requests pass while it cannot be asked.
    pub fail_open: bool,
    /// The status of answers while it cannot be asked, `403` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_on_error: Option<String>,
    /// Old name of `includeRequestHeadersInCheck`; not looked at beside it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub include_headers_in_check: Vec<String>,
    /// Headers of the request it gets to see, besides host, method, path and authorization: `x`, `x-*` or `*-x`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub include_request_headers_in_check: Vec<String>,
    /// Headers that are added to what it is asked.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub include_additional_headers_in_check: BTreeMap<String, String>,
    /// How much of the body it gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include_request_body_in_check: Option<RequestBody>,
    /// Headers of its answer that the application gets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers_to_upstream_on_allow: Vec<String>,
    /// Headers of its denial that the client gets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers_to_downstream_on_deny: Vec<String>,
    /// Headers of its consent that the client gets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers_to_downstream_on_allow: Vec<String>,
}

/// MeshConfig `EnvoyExternalAuthorizationGrpcProvider`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ExternalAuthorizationGrpc {
    /// Its host, a name or an address; a namespace with `/` before it is for istiod and not looked at.
    pub service: String,
    /// Its port.
    pub port: u16,
    /// How long it may take to answer, e.g. `0.5s`; Istio's default is 10 minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// Whether requests pass while it cannot be asked.
    pub fail_open: bool,
    /// The status of answers while it cannot be asked, `403` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_on_error: Option<String>,
    /// How much of the body it gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include_request_body_in_check: Option<RequestBody>,
}

/// MeshConfig `EnvoyExternalAuthorizationRequestBody`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RequestBody {
    /// Bytes that are sent along, at least 1. The request waits until they are there.
    pub max_request_bytes: u32,
    /// Whether a longer body is cut; otherwise it is refused with 413.
    pub allow_partial_message: bool,
    /// Whether it is sent as bytes and not as text.
    pub pack_as_bytes: bool,
}
