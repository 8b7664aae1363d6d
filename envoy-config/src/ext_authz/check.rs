//! The checks istiod makes of its providers, and a few that are stricter.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use policy::request_authentication::parse_duration;

use crate::address::is_host_name;
use crate::error::{Checks, Problem};

use super::provider::{ExternalAuthorizationHttp, RequestBody};
use super::service::{Providers, Service};

/// Most of a body that is kept in memory for a provider.
const MAX_REQUEST_BYTES: u32 = 16 * 1024 * 1024;

impl Providers<'_> {
    /// Everything wrong with the providers, also with those that no policy names.
    pub(crate) fn check(&self, path: &str, checks: &mut Checks) {
        let mut names = BTreeSet::new();
        for (index, provider) in self.list.iter().enumerate() {
            let path = format!("{path}.extensionProviders[{index}]");
            if !is_label(&provider.name) {
                let expected = "a DNS label of a-z, 0-9 and inner hyphens (RFC 1123)";
                text(&format!("{path}.name"), &provider.name, expected, checks);
            }
            if !names.insert(provider.name.as_str()) {
                let problem = Problem::Duplicate {
                    value: provider.name.clone(),
                    by: "another provider".to_owned(),
                };
                checks.refuse(format!("{path}.name"), problem);
            }
            let Some(service) = Service::of(provider) else {
                let expected = "one of envoyExtAuthzHttp and envoyExtAuthzGrpc";
                text(&path, &provider.name, expected, checks);
                continue;
            };
            let kind = match service {
                Service::Http(_) => "envoyExtAuthzHttp",
                Service::Grpc(_) => "envoyExtAuthzGrpc",
            };
            self.check_service(&provider.name, service, &format!("{path}.{kind}"), checks);
        }
        for (name, allowed) in self.identities {
            let path = format!("{path}.providerIdentities.{name}");
            if !names.contains(name.as_str()) {
                text(&path, name, "the name of a provider", checks);
            }
            if allowed.is_empty() {
                checks.refuse(path, Problem::NoIdentity);
            }
        }
    }

    fn check_service(&self, name: &str, service: Service<'_>, path: &str, checks: &mut Checks) {
        let at = |field: &str| format!("{path}.{field}");
        let host = service.host();
        if !is_host_name(host) && host.parse::<IpAddr>().is_err() {
            text(&at("service"), host, "a host name or an IP address", checks);
        } else if !service.is_loopback() && !self.identities.contains_key(name) {
            let expected = "a provider on loopback, or one whose SPIFFE IDs are in providerIdentities: \
                            over the network anybody could answer in its place";
            text(&at("service"), host, expected, checks);
        }
        if service.port() == 0 {
            checks.refuse(at("port"), Problem::NoPort);
        }
        if let Some(timeout) = service.written_timeout() {
            let found = parse_duration(timeout);
            let range = Duration::from_millis(1)..=Duration::from_secs(600);
            if !found.is_some_and(|found| range.contains(&found)) {
                let expected = "a duration from 1ms to 10m, such as 0.5s";
                text(&at("timeout"), timeout, expected, checks);
            }
        }
        if let Some(status) = service.status_on_error()
            && !is_error_status(status)
        {
            let expected = "a status from 400 on that Envoy knows";
            text(&at("statusOnError"), status, expected, checks);
        }
        let body = match service {
            Service::Http(http) => {
                check_http(http, path, checks);
                http.include_request_body_in_check
            }
            Service::Grpc(grpc) => grpc.include_request_body_in_check,
        };
        if let Some(body) = body {
            check_body(
                body,
                &at("includeRequestBodyInCheck.maxRequestBytes"),
                checks,
            );
        }
    }
}

fn check_http(http: &ExternalAuthorizationHttp, path: &str, checks: &mut Checks) {
    if let Some(prefix) = &http.path_prefix {
        let plain =
            prefix.bytes().all(|byte| byte.is_ascii_graphic()) && !prefix.contains(['?', '#']);
        if !prefix.starts_with('/') || !plain {
            let expected = "a path that begins with /";
            text(&format!("{path}.pathPrefix"), prefix, expected, checks);
        }
    }
    let lists = [
        ("includeHeadersInCheck", &http.include_headers_in_check),
        (
            "includeRequestHeadersInCheck",
            &http.include_request_headers_in_check,
        ),
        (
            "headersToUpstreamOnAllow",
            &http.headers_to_upstream_on_allow,
        ),
        (
            "headersToDownstreamOnDeny",
            &http.headers_to_downstream_on_deny,
        ),
        (
            "headersToDownstreamOnAllow",
            &http.headers_to_downstream_on_allow,
        ),
    ];
    for (field, names) in lists {
        for (index, name) in names.iter().enumerate() {
            let bare = name.strip_prefix('*').or_else(|| name.strip_suffix('*'));
            if !is_header(bare.unwrap_or(name)) {
                let expected = "a header name, with * at its begin or end but not alone";
                text(&format!("{path}.{field}[{index}]"), name, expected, checks);
            }
        }
    }
    for (name, value) in &http.include_additional_headers_in_check {
        let path = format!("{path}.includeAdditionalHeadersInCheck.{name}");
        // What stands between percent signs, Envoy would replace.
        if !is_header(name) || value.contains(['\r', '\n', '\0', '%']) {
            let expected = "a header name with a value without line breaks and percent signs";
            text(&path, value, expected, checks);
        }
    }
}

fn check_body(body: RequestBody, path: &str, checks: &mut Checks) {
    if body.max_request_bytes == 0 || body.max_request_bytes > MAX_REQUEST_BYTES {
        let found = body.max_request_bytes.to_string();
        text(path, &found, "a number from 1 to 16777216", checks);
    }
}

fn text(path: &str, value: &str, expected: &'static str, checks: &mut Checks) {
    let value = value.to_owned();
    checks.refuse(path, Problem::BadText { value, expected });
}

fn is_label(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len())
        && name.bytes().all(plain)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

fn is_header(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    !name.is_empty() && name.bytes().all(plain)
}

/// The error codes of `envoy.type.v3.StatusCode`. A denial must not look like a success.
fn is_error_status(text: &str) -> bool {
    let known = |code: u16| matches!(code, 400..=417 | 421..=424 | 426 | 428 | 429 | 431 | 500..=508 | 510 | 511);
    text.parse().is_ok_and(known)
}
