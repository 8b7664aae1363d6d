//! The HTTP connection manager of either side.

mod filter;
mod route;

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::access_log::{self, FileAccessLog, Side};
use crate::age::ConnectionAge;
use crate::sidecar::PathSettings;
use crate::typed::{Extension, Percent, Seconds, Typed};
use crate::version::EnvoyVersion;

pub use filter::{DIRECT_ADDRESS_KEY, JWT_PAYLOAD_KEY, PEER_CERTIFICATE_KEY, REMOTE_ADDRESS_KEY};
pub(crate) use filter::{FilterStateValue, HttpFilter};
pub(crate) use route::{HedgePolicy, RouteAction, RouteConfig, RouteRetry, VirtualHost};

/// HTTP/2 streams a peer may have open on one connection.
const MAX_CONCURRENT_STREAMS: u32 = 100;
/// Flow-control windows: what one stream, and one connection, may make Envoy buffer, in bytes.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// The header in which a proxy forwards its client's certificate.
pub(crate) const FORWARDED_CERTIFICATE: &str = "x-forwarded-client-cert";

#[derive(Clone, Debug, Serialize)]
pub(crate) struct ConnectionManager {
    stat_prefix: &'static str,
    codec_type: &'static str,
    common_http_protocol_options: CommonOptions,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    http1_safe_max_connection_duration: bool,
    http2_protocol_options: Http2Options,
    request_headers_timeout: Seconds,
    stream_idle_timeout: Seconds,
    #[serde(skip_serializing_if = "Option::is_none")]
    drain_timeout: Option<Seconds>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    access_log: Vec<Extension<FileAccessLog>>,
    early_header_mutation_extensions: Vec<Extension<HeaderMutation>>,
    /// The peer's address is the connection's, whatever `x-forwarded-for` says.
    use_remote_address: bool,
    /// `a.example.` is `a.example` to DNS and to applications, so it has to be to routes and policies.
    strip_trailing_host_dot: bool,
    skip_xff_append: bool,
    /// One id for a request from the client's log to the server's.
    preserve_external_request_id: bool,
    forward_client_cert_details: &'static str,
    normalize_path: bool,
    merge_slashes: bool,
    path_with_escaped_slashes_action: &'static str,
    route_config: RouteConfig,
    http_filters: Vec<HttpFilter>,
}

#[derive(Clone, Debug, Serialize)]
struct CommonOptions {
    idle_timeout: Seconds,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_connection_duration: Option<Seconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_connection_duration_jitter: Option<Percent>,
    headers_with_underscores_action: &'static str,
}

#[derive(Clone, Debug, Serialize)]
struct Http2Options {
    max_concurrent_streams: u32,
    initial_stream_window_size: u32,
    initial_connection_window_size: u32,
}

impl ConnectionManager {
    /// The server side: connections age, request headers of dubious form are refused.
    pub(crate) fn server(
        age: ConnectionAge,
        envoy: EnvoyVersion,
        paths: PathSettings,
        access_log: Option<&Path>,
        routes: RouteConfig,
        filters: Vec<HttpFilter>,
    ) -> Self {
        let jittered = envoy.has_connection_jitter();
        let mut manager = Self::new("inbound", access_log, Side::Server, routes, filters);
        manager.common_http_protocol_options = CommonOptions {
            idle_timeout: Seconds::whole(300),
            max_connection_duration: Some(Seconds(age.server(jittered))),
            max_connection_duration_jitter: jittered.then_some(Percent {
                value: ConnectionAge::JITTER_PERCENT,
            }),
            // `a_b` and `a-b` are one header to CGI-like applications and two to a policy.
            headers_with_underscores_action: "REJECT_REQUEST",
        };
        // HTTP/1 has no GOAWAY: say `connection: close` on the next answer, never between two requests.
        manager.http1_safe_max_connection_duration = true;
        manager.drain_timeout = Some(Seconds(age.drain()));
        manager.normalize_path = paths.normalize_path;
        manager.merge_slashes = paths.merge_slashes;
        manager.path_with_escaped_slashes_action = paths.path_with_escaped_slashes_action;
        manager
    }

    /// Leaves what the proxy in front forwards of its client's certificate to our filter, which believes it of that
    /// proxy alone. Behind the filter it is taken away: other peers could have written it, and the application has
    /// no way to tell. Only for chains where every client shows a certificate.
    pub(crate) fn with_forwarded_certificate(mut self) -> Self {
        self.forward_client_cert_details = "FORWARD_ONLY";
        self.route_config = self.route_config.without(FORWARDED_CERTIFICATE);
        self
    }

    /// The client side: takes the application's requests as they are.
    pub(crate) fn client(
        access_log: Option<&Path>,
        routes: RouteConfig,
        filters: Vec<HttpFilter>,
    ) -> Self {
        Self::new("outbound", access_log, Side::Client, routes, filters)
    }

    fn new(
        stat_prefix: &'static str,
        access_log: Option<&Path>,
        side: Side,
        route_config: RouteConfig,
        http_filters: Vec<HttpFilter>,
    ) -> Self {
        Self {
            stat_prefix,
            codec_type: "AUTO",
            common_http_protocol_options: CommonOptions {
                idle_timeout: Seconds::whole(300),
                max_connection_duration: None,
                max_connection_duration_jitter: None,
                headers_with_underscores_action: "ALLOW",
            },
            http1_safe_max_connection_duration: false,
            http2_protocol_options: Http2Options {
                max_concurrent_streams: MAX_CONCURRENT_STREAMS,
                initial_stream_window_size: STREAM_WINDOW,
                initial_connection_window_size: CONNECTION_WINDOW,
            },
            request_headers_timeout: Seconds(Duration::from_secs(10)),
            stream_idle_timeout: Seconds::whole(300),
            drain_timeout: None,
            access_log: access_log
                .into_iter()
                .map(|path| access_log::file(path, side))
                .collect(),
            early_header_mutation_extensions: vec![without_envoy_headers()],
            use_remote_address: true,
            strip_trailing_host_dot: true,
            skip_xff_append: matches!(side, Side::Client),
            preserve_external_request_id: true,
            forward_client_cert_details: "SANITIZE",
            normalize_path: false,
            merge_slashes: false,
            path_with_escaped_slashes_action: "KEEP_UNCHANGED",
            route_config,
            http_filters,
        }
    }
}

#[derive(Clone, Debug, Serialize)]
struct HeaderMutation {
    mutations: Vec<Mutation>,
}

#[derive(Clone, Debug, Serialize)]
struct Mutation {
    remove_on_match: RemoveOnMatch,
}

#[derive(Clone, Debug, Serialize)]
struct RemoveOnMatch {
    key_matcher: Prefix,
}

#[derive(Clone, Debug, Serialize)]
struct Prefix {
    prefix: &'static str,
}

/// Envoy's router obeys request headers that set timeouts, retries and hedging, none of which may come from
/// outside to a cluster with the hold. Envoy itself drops them only from callers it takes for external, and
/// an older Envoy takes loopback and every private address for internal.
fn without_envoy_headers() -> Extension<HeaderMutation> {
    let remove_on_match = RemoveOnMatch {
        key_matcher: Prefix { prefix: "x-envoy-" },
    };
    Extension {
        name: "envoy.http.early_header_mutation.header_mutation",
        typed_config: Typed::new(
            "type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
            HeaderMutation {
                mutations: vec![Mutation { remove_on_match }],
            },
        ),
    }
}
