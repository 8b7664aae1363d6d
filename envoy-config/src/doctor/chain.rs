//! Weaknesses of a filter chain that our filter is in: what stands in front of it and what behind.

use policy::config::Direction;
use serde_json::Value;

use crate::sidecar::{PathSettings, TCP_HOLD_KEY};

use super::plugin::{Ours, Plugins};
use super::{Weakness, is_type};

/// Weaknesses with the path below the message.
type Found = Vec<(Weakness, String)>;

pub(super) fn weaknesses(message: &Value, plugins: &Plugins<'_>) -> Found {
    if is_type(message, "HttpConnectionManager") {
        return connection_manager(message, plugins);
    }
    match message.get("filters").and_then(Value::as_array) {
        Some(filters) => filter_chain(message, filters, plugins),
        None => Vec::new(),
    }
}

fn connection_manager(manager: &Value, plugins: &Plugins<'_>) -> Found {
    let filters = manager.get("http_filters").and_then(Value::as_array);
    let filters = filters.map(Vec::as_slice).unwrap_or_default();
    let here = String::new;
    let Some((place, ours)) = plugins.ours(filters) else {
        // What comes in here may go out through a hold.
        let steered = plugins.hold && !strips_envoy_headers(manager);
        let found = steered.then(|| (Weakness::EnvoyHeaders, here()));
        return found.into_iter().collect();
    };
    let mut found = order(filters, place, ours.as_ref(), plugins);
    if !strips_envoy_headers(manager) {
        found.push((Weakness::EnvoyHeaders, here()));
    }
    if let Some(ours) = ours
        && ours.config.direction == Direction::Inbound
    {
        let action =
            manager.pointer("/common_http_protocol_options/headers_with_underscores_action");
        let action = action.and_then(Value::as_str);
        if !matches!(action, Some("REJECT_REQUEST" | "DROP_HEADER")) {
            found.push((Weakness::HeadersWithUnderscores, here()));
        }
        if !normalizes_as_declared(manager, &ours) {
            found.push((Weakness::PathNormalization, here()));
        }
    }
    found
}

/// What stands on the wrong side of our filter.
fn order(filters: &[Value], place: usize, ours: Option<&Ours>, plugins: &Plugins<'_>) -> Found {
    let at = |index: usize| format!(".http_filters[{index}]");
    let mut found = Vec::new();
    for (index, filter) in filters.iter().enumerate().skip(place.saturating_add(1)) {
        let Some(config) = plugins.typed_config(filter) else {
            continue;
        };
        let late = if is_type(config, "JwtAuthentication") {
            Weakness::JwtAfterFilter
        } else if is_type(config, "ExtAuthz") {
            Weakness::AskedAfterFilter
        } else if sets_our_state(config) {
            Weakness::StateAfterFilter
        } else {
            continue;
        };
        found.push((late, at(index)));
    }
    let before: Vec<_> = filters
        .iter()
        .take(place)
        .filter_map(|filter| plugins.typed_config(filter))
        .collect();
    let not_asked = |provider: &str| !before.iter().any(|config| handles(config, provider));
    if ours.is_some_and(|ours| ours.asked_providers().any(not_asked)) {
        found.push((Weakness::CustomNotAsked, at(place)));
    }
    found
}

/// Whether a filter in front asks this provider, or denies what it would be asked about.
fn handles(config: &Value, provider: &str) -> bool {
    let id = format!("istio-ext-authz-{provider}-ns[");
    if is_type(config, "ExtAuthz") {
        let matcher = "/filter_enabled_metadata/value/string_match/prefix";
        let prefix = config.pointer(matcher).and_then(Value::as_str);
        // Without a condition it is asked about every request.
        return prefix.is_none_or(|prefix| id.starts_with(prefix));
    }
    let denied = config.pointer("/rules/policies").and_then(Value::as_object);
    is_type(config, "RBAC") && denied.is_some_and(|all| all.keys().any(|key| key.starts_with(&id)))
}

fn sets_our_state(config: &Value) -> bool {
    let values = config.get("on_request_headers").and_then(Value::as_array);
    let ours = |value: &Value| {
        let key = value.get("object_key").and_then(Value::as_str);
        key.is_some_and(|key| key.starts_with("countersign."))
    };
    values.is_some_and(|values| values.iter().any(ours))
}

fn strips_envoy_headers(manager: &Value) -> bool {
    let extensions = manager.get("early_header_mutation_extensions");
    let extensions = extensions.and_then(Value::as_array).into_iter().flatten();
    let mutations = extensions
        .filter_map(|extension| extension.pointer("/typed_config/mutations")?.as_array())
        .flatten();
    let mut prefixes = mutations.filter_map(|mutation| {
        mutation
            .pointer("/remove_on_match/key_matcher/prefix")?
            .as_str()
    });
    prefixes.any(|prefix| "x-envoy-".starts_with(prefix))
}

fn normalizes_as_declared(manager: &Value, ours: &Ours) -> bool {
    let declared = PathSettings::from(ours.config.path_normalization);
    let yes = |field| manager.get(field) == Some(&Value::Bool(true));
    let field = "path_with_escaped_slashes_action";
    let action = manager.get(field).and_then(Value::as_str);
    let action = match action {
        None | Some("IMPLEMENTATION_SPECIFIC_DEFAULT") => "KEEP_UNCHANGED",
        Some(action) => action,
    };
    yes("normalize_path") == declared.normalize_path
        && yes("merge_slashes") == declared.merge_slashes
        && action == declared.path_with_escaped_slashes_action
}

/// A chain of network filters: TLS in front of our filter, and how the application is connected to.
fn filter_chain(chain: &Value, filters: &[Value], plugins: &Plugins<'_>) -> Found {
    let mut found = Vec::new();
    let network = plugins.ours(filters);
    let managers = filters.iter().filter_map(|filter| {
        let manager = plugins.typed_config(filter)?;
        plugins.ours(manager.get("http_filters")?.as_array()?)
    });
    // On the way out the server's certificate is what is waited for, so there has to be a connection.
    let inbound = |ours: &Option<Ours>| {
        ours.as_ref()
            .is_none_or(|ours| ours.config.direction == Direction::Inbound)
    };
    let place = network
        .as_ref()
        .filter(|(_, ours)| inbound(ours))
        .map(|(place, _)| *place);
    let mut told = managers.chain(network).filter_map(|(_, ours)| ours);
    let refuses_plaintext =
        |ours: Ours| ours.config.direction == Direction::Inbound && !ours.takes_plaintext();
    if chain.get("transport_socket").is_none() && told.any(refuses_plaintext) {
        found.push((Weakness::PlaintextChain, String::new()));
    }
    if let Some((place, Some(ours))) = plugins.ours(filters)
        && ours.config.direction == Direction::Inbound
    {
        let configs: Vec<_> = filters
            .iter()
            .filter_map(|filter| plugins.typed_config(filter))
            .collect();
        let not_asked = |provider: &str| !configs.iter().any(|config| handles(config, provider));
        if ours.asked_providers().any(not_asked) {
            found.push((Weakness::CustomNotAsked, format!(".filters[{place}]")));
        }
    }
    // Without TLS nobody is known as the proxy that forwards, and no header of its is read.
    if chain.get("transport_socket").is_some() {
        for (index, filter) in filters.iter().enumerate() {
            let config = plugins.typed_config(filter);
            if config.is_some_and(|manager| removes_forwarded(manager, plugins)) {
                let path = format!(".filters[{index}]");
                found.push((Weakness::ForwardedCertificateRemoved, path));
            }
        }
    }
    if let Some(place) = place {
        let marks = |filter| plugins.typed_config(filter).is_some_and(marks_the_hold);
        let held = filters.iter().take(place).any(marks);
        for (index, filter) in filters.iter().enumerate().take(place) {
            let asks = |config| is_type(config, "ExtAuthz");
            if held && plugins.typed_config(filter).is_some_and(asks) {
                let path = format!(".filters[{index}]");
                found.push((Weakness::AskedBeforeHold, path));
            }
        }
        for (index, filter) in filters.iter().enumerate().skip(place) {
            let at_once = |config| connects_at_once(config, held);
            if plugins.typed_config(filter).is_some_and(at_once) {
                let path = format!(".filters[{index}]");
                found.push((Weakness::ImmediateConnect, path));
            }
        }
    }
    found
}

/// Whether our filter in this connection manager is to read a header that the manager throws away.
fn removes_forwarded(manager: &Value, plugins: &Plugins<'_>) -> bool {
    let filters = manager.get("http_filters").and_then(Value::as_array);
    let ours = filters.and_then(|filters| plugins.ours(filters)?.1);
    let details = manager.get("forward_client_cert_details");
    let details = details.and_then(Value::as_str);
    ours.is_some_and(|ours| ours.config.forwarded_client_cert.is_some())
        && matches!(details, None | Some("SANITIZE" | "SANITIZE_SET"))
}

/// Told by this mark, our filter holds the whole connection until it has decided, where Envoy goes on reading.
fn marks_the_hold(config: &Value) -> bool {
    let values = config.get("on_new_connection").and_then(Value::as_array);
    let mark = |value: &Value| {
        let key = value.get("object_key").and_then(Value::as_str);
        key == Some(TCP_HOLD_KEY)
    };
    values.is_some_and(|values| values.iter().any(mark))
}

fn connects_at_once(config: &Value, held: bool) -> bool {
    let mode = config.get("upstream_connect_mode").and_then(Value::as_str);
    let waits = held && config.get("max_early_data_bytes").is_some();
    is_type(config, "TcpProxy") && matches!(mode, None | Some("IMMEDIATE")) && !waits
}
