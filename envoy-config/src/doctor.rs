//! What in a configuration, ours or anybody's, takes the filter's checks away.
//!
//! Reads a bootstrap or a `/config_dump` as JSON, wherever in it a setting is; it knows messages by their
//! `@type` and fields by their protobuf names.

use std::fmt;

use serde_json::Value;

use crate::error::MIN_PER_TRY_TIMEOUT;

/// A setting that undoes a check.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Weakness {
    /// A filter is switched off, for a route or until something else switches it on.
    FilterDisabled,
    /// Upgraded connections (WebSocket, CONNECT) have a filter chain of their own.
    UpgradeFilters,
    /// A Wasm filter that cannot run lets everything through.
    FailOpen,
    /// Certificates that no root vouches for are accepted.
    AcceptUntrusted,
    /// There are no roots to verify the other side with.
    NoTrustedCa,
    /// Clients need no certificate.
    NoClientCertificate,
    /// TLS sessions can be resumed, which skips verification.
    Resumption,
    /// Hedged requests: the hold sees the newest attempt only.
    Hedging,
    /// A per-try timeout that races with the hold.
    ShortPerTryTimeout,
    /// QUIC, which the checks are not made for.
    Quic,
    /// A Wasm filter whose body callbacks can release held headers.
    StopIteration,
}

impl Weakness {
    /// Stable name for logs and JSON.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::FilterDisabled => "filter_disabled",
            Self::UpgradeFilters => "upgrade_filters",
            Self::FailOpen => "fail_open",
            Self::AcceptUntrusted => "accept_untrusted",
            Self::NoTrustedCa => "no_trusted_ca",
            Self::NoClientCertificate => "no_client_certificate",
            Self::Resumption => "resumption",
            Self::Hedging => "hedging",
            Self::ShortPerTryTimeout => "short_per_try_timeout",
            Self::Quic => "quic",
            Self::StopIteration => "stop_iteration",
        }
    }
}

impl fmt::Display for Weakness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FilterDisabled => "a filter is disabled here",
            Self::UpgradeFilters => "upgraded connections have filters of their own",
            Self::FailOpen => "a Wasm filter that fails lets requests through",
            Self::AcceptUntrusted => "certificates that no root vouches for are accepted",
            Self::NoTrustedCa => "no roots are given to verify certificates with",
            Self::NoClientCertificate => "clients need no certificate",
            Self::Resumption => "TLS sessions can be resumed, which skips verification",
            Self::Hedging => "requests are hedged, so the hold sees only the newest attempt",
            Self::ShortPerTryTimeout => {
                "the per-try timeout is below 20 ms and races with the hold"
            }
            Self::Quic => "QUIC is not covered by the checks",
            Self::StopIteration => "allow_on_headers_stop_iteration can release held requests",
        })
    }
}

/// A weakness and where it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// What.
    pub weakness: Weakness,
    /// JSON path, such as `static_resources.clusters[0].transport_socket.typed_config`.
    pub path: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.weakness)
    }
}

/// Every weakness in `config`, in the order they come.
///
/// Not seen: what extensions do that are configured by other names, and what a control plane sends later.
#[must_use]
pub fn inspect(config: &Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    walk("", config, &mut findings);
    findings
}

fn walk(path: &str, value: &Value, findings: &mut Vec<Finding>) {
    match value {
        Value::Object(fields) => {
            let found = weaknesses(value);
            let path_of = |weakness| Finding {
                weakness,
                path: path.to_owned(),
            };
            findings.extend(found.into_iter().map(path_of));
            for (name, field) in fields {
                let dot = if path.is_empty() { "" } else { "." };
                walk(&format!("{path}{dot}{name}"), field, findings);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                walk(&format!("{path}[{index}]"), item, findings);
            }
        }
        _ => {}
    }
}

/// Weaknesses of one message's own fields.
fn weaknesses(message: &Value) -> Vec<Weakness> {
    let is = |field: &str, wanted: &Value| message.get(field) == Some(wanted);
    let (yes, zero) = (&Value::Bool(true), &Value::from(0));
    let mut found = Vec::new();
    let mut note = |weak: bool, weakness| {
        if weak {
            found.push(weakness);
        }
    };
    let of_type = |name: &str| {
        let url = message.get("@type").and_then(Value::as_str);
        url.is_some_and(|url| url.rsplit('.').next() == Some(name))
    };
    // `HttpFilter.disabled`, and `FilterConfig.disabled` of a route.
    let filter = message.get("typed_config").is_some() || of_type("FilterConfig");
    note(filter && is("disabled", yes), Weakness::FilterDisabled);
    let upgrades = message.get("upgrade_configs").and_then(Value::as_array);
    let own_filters = |upgrade: &Value| {
        upgrade
            .get("filters")
            .and_then(Value::as_array)
            .is_some_and(|list| !list.is_empty())
    };
    note(
        upgrades.is_some_and(|list| list.iter().any(own_filters)),
        Weakness::UpgradeFilters,
    );
    let open = is("fail_open", yes) || is("failure_policy", &Value::from("FAIL_OPEN"));
    note(open, Weakness::FailOpen);
    let untrusted = is("trust_chain_verification", &Value::from("ACCEPT_UNTRUSTED"));
    note(untrusted, Weakness::AcceptUntrusted);
    note(is("hedge_on_per_try_timeout", yes), Weakness::Hedging);
    let per_try = message
        .get("per_try_timeout")
        .and_then(Value::as_str)
        .and_then(seconds);
    let least = MIN_PER_TRY_TIMEOUT.as_secs_f64();
    note(
        per_try.is_some_and(|limit| limit > 0.0 && limit < least),
        Weakness::ShortPerTryTimeout,
    );
    note(
        is("allow_on_headers_stop_iteration", yes),
        Weakness::StopIteration,
    );
    let quic = of_type("QuicDownstreamTransport") || of_type("QuicUpstreamTransport");
    note(quic, Weakness::Quic);
    if of_type("DownstreamTlsContext") {
        let off = is("disable_stateless_session_resumption", yes)
            && is("disable_stateful_session_resumption", yes);
        note(!off, Weakness::Resumption);
        note(
            !is("require_client_certificate", yes),
            Weakness::NoClientCertificate,
        );
        note(!has_roots(message), Weakness::NoTrustedCa);
    }
    if of_type("UpstreamTlsContext") {
        note(!is("max_session_keys", zero), Weakness::Resumption);
        note(!has_roots(message), Weakness::NoTrustedCa);
    }
    found
}

/// Whether a TLS context has roots: in place, over SDS, or in a validator of its own.
fn has_roots(context: &Value) -> bool {
    let Some(common) = context.get("common_tls_context") else {
        return false;
    };
    let combined = common.get("combined_validation_context");
    let over_sds = common.get("validation_context_sds_secret_config").is_some()
        || combined.is_some_and(|both| both.get("validation_context_sds_secret_config").is_some());
    let in_place = common
        .get("validation_context")
        .or_else(|| combined.and_then(|both| both.get("default_validation_context")));
    let sources = [
        "trusted_ca",
        "ca_certificate_provider_instance",
        "custom_validator_config",
    ];
    over_sds || in_place.is_some_and(|roots| sources.iter().any(|key| roots.get(key).is_some()))
}

/// A protobuf duration such as `0.250s`.
fn seconds(text: &str) -> Option<f64> {
    text.strip_suffix('s')?.parse().ok()
}
