//! Weaknesses of one message's own fields.

use policy::config::MAX_INLINE_BYTES;
use serde_json::Value;

use crate::error::MIN_PER_TRY_TIMEOUT;

use super::plugin::is_ours;
use super::{Weakness, is_type};

pub(super) fn weaknesses(message: &Value) -> Vec<Weakness> {
    let mut found = Vec::new();
    let mut note = |weak: bool, weakness| {
        if weak {
            found.push(weakness);
        }
    };
    // `HttpFilter.disabled`, and `FilterConfig.disabled` of a route.
    let filter = message.get("typed_config").is_some() || is_type(message, "FilterConfig");
    note(filter && yes(message, "disabled"), Weakness::FilterDisabled);
    note(has_upgrade_filters(message), Weakness::UpgradeFilters);
    let open = yes(message, "fail_open")
        || says(message, "failure_policy", "FAIL_OPEN")
        || yes(message, "failure_mode_allow");
    note(open, Weakness::FailOpen);
    let untrusted = says(message, "trust_chain_verification", "ACCEPT_UNTRUSTED");
    note(untrusted, Weakness::AcceptUntrusted);
    note(yes(message, "hedge_on_per_try_timeout"), Weakness::Hedging);
    note(has_short_try(message), Weakness::ShortPerTryTimeout);
    note(
        yes(message, "allow_on_headers_stop_iteration"),
        Weakness::StopIteration,
    );
    let quic = ["QuicDownstreamTransport", "QuicUpstreamTransport"];
    note(
        quic.iter().any(|name| is_type(message, name)),
        Weakness::Quic,
    );
    note(has_many_policies(message), Weakness::LargePluginConfig);
    if is_type(message, "DownstreamTlsContext") {
        let off = yes(message, "disable_stateless_session_resumption")
            && yes(message, "disable_stateful_session_resumption");
        note(!off, Weakness::Resumption);
        note(
            !yes(message, "require_client_certificate"),
            Weakness::NoClientCertificate,
        );
        note(!has_roots(message), Weakness::NoTrustedCa);
    }
    if is_type(message, "UpstreamTlsContext") {
        let no_keys = message.get("max_session_keys") == Some(&Value::from(0));
        note(!no_keys, Weakness::Resumption);
        note(!has_roots(message), Weakness::NoTrustedCa);
    }
    found
}

fn has_many_policies(message: &Value) -> bool {
    let text = message.pointer("/config/configuration/value");
    let text = text.and_then(Value::as_str).unwrap_or_default();
    // Counted without the blanks that make it readable.
    let dense = || serde_json::from_str::<Value>(text).map(|config| config.to_string().len());
    is_ours(message)
        && text.len() > MAX_INLINE_BYTES
        && dense().unwrap_or(usize::MAX) > MAX_INLINE_BYTES
}

fn yes(message: &Value, field: &str) -> bool {
    message.get(field) == Some(&Value::Bool(true))
}

fn says(message: &Value, field: &str, value: &str) -> bool {
    message.get(field).and_then(Value::as_str) == Some(value)
}

fn has_upgrade_filters(message: &Value) -> bool {
    let own_filters = |upgrade: &Value| {
        upgrade
            .get("filters")
            .and_then(Value::as_array)
            .is_some_and(|list| !list.is_empty())
    };
    let upgrades = message.get("upgrade_configs").and_then(Value::as_array);
    upgrades.is_some_and(|list| list.iter().any(own_filters))
}

fn has_short_try(message: &Value) -> bool {
    let written = message.get("per_try_timeout").and_then(Value::as_str);
    let least = MIN_PER_TRY_TIMEOUT.as_secs_f64();
    written
        .and_then(seconds)
        .is_some_and(|limit| limit > 0.0 && limit < least)
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
