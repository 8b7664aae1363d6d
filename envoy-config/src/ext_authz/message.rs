//! `envoy.extensions.filters.http.ext_authz.v3.ExtAuthz`.

use serde::Serialize;

use crate::typed::{Seconds, Typed};

use super::provider::{ExternalAuthorizationHttp, RequestBody};
use super::service::Service;

pub(crate) const FILTER_TYPE: &str =
    "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz";

const NETWORK_FILTER_TYPE: &str =
    "type.googleapis.com/envoy.extensions.filters.network.ext_authz.v3.ExtAuthz";

#[derive(Clone, Debug, Serialize)]
pub(crate) struct ExtAuthz {
    transport_api_version: &'static str,
    failure_mode_allow: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_on_error: Option<HttpStatus>,
    filter_enabled_metadata: MetadataMatcher,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_headers: Option<Headers>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disallowed_headers: Option<Headers>,
    #[serde(skip_serializing_if = "Option::is_none")]
    with_request_body: Option<BufferSettings>,
    #[serde(flatten)]
    service: Asked,
}

impl ExtAuthz {
    pub(super) fn new(name: &str, service: &Service<'_>) -> Self {
        let (fail_open, body) = match service {
            Service::Http(http) => (http.fail_open, http.include_request_body_in_check),
            Service::Grpc(grpc) => (grpc.fail_open, grpc.include_request_body_in_check),
        };
        let status = service.status_on_error().and_then(|code| code.parse().ok());
        Self {
            transport_api_version: "V3",
            failure_mode_allow: fail_open,
            status_on_error: status.map(|code| HttpStatus { code }),
            filter_enabled_metadata: MetadataMatcher::asked_about(name, "envoy.filters.http.rbac"),
            allowed_headers: match service {
                Service::Http(http) => Headers::shown(http),
                Service::Grpc(_) => None,
            },
            disallowed_headers: None,
            with_request_body: body.map(BufferSettings::from),
            service: match service {
                Service::Http(http) => {
                    Asked::HttpService(Box::new(HttpService::new(http, service)))
                }
                Service::Grpc(_) => Asked::GrpcService(GrpcService::new(service)),
            },
        }
    }

    /// The provider does not get to see this header, whatever else it does.
    pub(crate) fn without(mut self, header: &str) -> Self {
        self.disallowed_headers = Headers::of(&[header.to_owned()]);
        self
    }

    pub(crate) const fn typed(self) -> Typed<Self> {
        Typed::new(FILTER_TYPE, self)
    }
}

/// `envoy.extensions.filters.network.ext_authz.v3.ExtAuthz`: asks once a connection, at the client's first bytes,
/// and closes it where the answer is no.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct NetworkExtAuthz {
    stat_prefix: &'static str,
    transport_api_version: &'static str,
    failure_mode_allow: bool,
    filter_enabled_metadata: MetadataMatcher,
    grpc_service: GrpcService,
}

impl NetworkExtAuthz {
    /// `None` for an HTTP provider, which Envoy asks about requests only.
    pub(super) fn new(name: &str, service: &Service<'_>) -> Option<Self> {
        let Service::Grpc(grpc) = service else {
            return None;
        };
        Some(Self {
            stat_prefix: "tcp.",
            transport_api_version: "V3",
            failure_mode_allow: grpc.fail_open,
            filter_enabled_metadata: MetadataMatcher::asked_about(
                name,
                "envoy.filters.network.rbac",
            ),
            grpc_service: GrpcService::new(service),
        })
    }

    pub(crate) const fn typed(self) -> Typed<Self> {
        Typed::new(NETWORK_FILTER_TYPE, self)
    }
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Asked {
    HttpService(Box<HttpService>),
    GrpcService(GrpcService),
}

#[derive(Clone, Debug, Serialize)]
struct HttpStatus {
    code: u16,
}

/// Holds for requests of which the RBAC filter in front says that a CUSTOM rule matched.
#[derive(Clone, Debug, Serialize)]
struct MetadataMatcher {
    filter: &'static str,
    path: [Segment; 1],
    value: ValueMatcher,
}

#[derive(Clone, Debug, Serialize)]
struct Segment {
    key: &'static str,
}

#[derive(Clone, Debug, Serialize)]
struct ValueMatcher {
    string_match: Pattern,
}

impl MetadataMatcher {
    /// With what follows the name in a rule's id: a name that another one begins with is not taken for it.
    fn asked_about(provider: &str, filter: &'static str) -> Self {
        Self {
            filter,
            path: [Segment {
                key: "istio_ext_authz_shadow_effective_policy_id",
            }],
            value: ValueMatcher {
                string_match: Pattern {
                    test: Test::Prefix(format!("istio-ext-authz-{provider}-ns[")),
                    ignore_case: false,
                },
            },
        }
    }
}

#[derive(Clone, Debug, Serialize)]
struct Headers {
    patterns: Vec<Pattern>,
}

impl Headers {
    fn of(names: &[String]) -> Option<Self> {
        (!names.is_empty()).then(|| Self {
            patterns: names.iter().map(|name| Pattern::header(name)).collect(),
        })
    }

    fn shown(http: &ExternalAuthorizationHttp) -> Option<Self> {
        Self::of(&http.include_request_headers_in_check)
            .or_else(|| Self::of(&http.include_headers_in_check))
    }
}

#[derive(Clone, Debug, Serialize)]
struct Pattern {
    #[serde(flatten)]
    test: Test,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    ignore_case: bool,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Test {
    Exact(String),
    Prefix(String),
    Suffix(String),
}

impl Pattern {
    fn header(name: &str) -> Self {
        let test = match (name.strip_prefix('*'), name.strip_suffix('*')) {
            (Some(suffix), _) => Test::Suffix(suffix.to_owned()),
            (None, Some(prefix)) => Test::Prefix(prefix.to_owned()),
            (None, None) => Test::Exact(name.to_owned()),
        };
        Self {
            test,
            ignore_case: true,
        }
    }
}

#[derive(Clone, Debug, Serialize)]
struct BufferSettings {
    max_request_bytes: u32,
    allow_partial_message: bool,
    pack_as_bytes: bool,
}

impl From<RequestBody> for BufferSettings {
    fn from(body: RequestBody) -> Self {
        Self {
            max_request_bytes: body.max_request_bytes,
            allow_partial_message: body.allow_partial_message,
            pack_as_bytes: body.pack_as_bytes,
        }
    }
}

#[derive(Clone, Debug, Serialize)]
struct GrpcService {
    envoy_grpc: EnvoyGrpc,
    timeout: Seconds,
}

#[derive(Clone, Debug, Serialize)]
struct EnvoyGrpc {
    cluster_name: String,
    authority: String,
}

impl GrpcService {
    fn new(service: &Service<'_>) -> Self {
        Self {
            envoy_grpc: EnvoyGrpc {
                cluster_name: service.cluster_name(),
                authority: service.host().to_owned(),
            },
            timeout: Seconds(service.timeout()),
        }
    }
}

#[derive(Clone, Debug, Serialize)]
struct HttpService {
    server_uri: ServerUri,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_prefix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization_request: Option<AuthorizationRequest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization_response: Option<AuthorizationResponse>,
}

impl HttpService {
    fn new(http: &ExternalAuthorizationHttp, service: &Service<'_>) -> Self {
        let added = &http.include_additional_headers_in_check;
        let headers = added.iter().map(|(key, value)| HeaderValue {
            key: key.clone(),
            value: value.clone(),
        });
        let response = AuthorizationResponse {
            allowed_upstream_headers: Headers::of(&http.headers_to_upstream_on_allow),
            allowed_client_headers: Headers::of(&http.headers_to_downstream_on_deny),
            allowed_client_headers_on_success: Headers::of(&http.headers_to_downstream_on_allow),
        };
        Self {
            server_uri: ServerUri {
                uri: format!("http://{}", service.host()),
                cluster: service.cluster_name(),
                timeout: Seconds(service.timeout()),
            },
            path_prefix: http.path_prefix.clone(),
            authorization_request: (!added.is_empty()).then(|| AuthorizationRequest {
                headers_to_add: headers.collect(),
            }),
            authorization_response: response.says_something().then_some(response),
        }
    }
}

#[derive(Clone, Debug, Serialize)]
struct ServerUri {
    uri: String,
    cluster: String,
    timeout: Seconds,
}

#[derive(Clone, Debug, Serialize)]
struct AuthorizationRequest {
    headers_to_add: Vec<HeaderValue>,
}

#[derive(Clone, Debug, Serialize)]
struct HeaderValue {
    key: String,
    value: String,
}

#[derive(Clone, Debug, Serialize)]
struct AuthorizationResponse {
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_upstream_headers: Option<Headers>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_client_headers: Option<Headers>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_client_headers_on_success: Option<Headers>,
}

impl AuthorizationResponse {
    fn says_something(&self) -> bool {
        self.allowed_upstream_headers.is_some()
            || self.allowed_client_headers.is_some()
            || self.allowed_client_headers_on_success.is_some()
    }
}
