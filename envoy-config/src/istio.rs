//! The filter in Istio: `WasmPlugin` for requests that a workload receives, `EnvoyFilter` for what
//! `WasmPlugin` cannot say (session resumption, the agent's socket, the hold on the way out).

mod envoy_filter;
mod filter_state;
mod wasm_plugin;

pub use envoy_filter::{EnvoyFilter, Service};
pub use filter_state::FilterState;
pub use wasm_plugin::{ImagePullPolicy, Phase, WasmPlugin};

use std::collections::BTreeMap;

use serde::Serialize;

use crate::error::{Checks, Problem};

/// A checked resource, to be written as YAML for `kubectl apply`.
#[derive(Clone, Debug, Serialize)]
pub struct Resource {
    #[serde(rename = "apiVersion")]
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata,
    spec: Spec,
}

impl Resource {
    /// The resource as YAML.
    ///
    /// # Errors
    /// [`crate::EmitError`] when the serializer refuses; a checked spec gives it no reason to.
    pub fn to_yaml(&self) -> Result<String, crate::EmitError> {
        crate::emit::yaml(self)
    }
}

#[derive(Clone, Debug, Serialize)]
struct Metadata {
    name: String,
    namespace: String,
}

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum Spec {
    WasmPlugin(Box<wasm_plugin::Spec>),
    EnvoyFilter(envoy_filter::Spec),
}

/// Name, namespace and labels as Kubernetes takes them.
fn check_metadata(
    name: &str,
    namespace: &str,
    labels: &BTreeMap<String, String>,
    checks: &mut Checks,
) {
    for (path, value, max) in [("name", name, 253), ("namespace", namespace, 63)] {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let edges = !value.starts_with('-') && !value.ends_with('-');
        if value.is_empty() || value.len() > max || !value.bytes().all(plain) || !edges {
            checks.refuse(
                path,
                Problem::BadText {
                    value: value.to_owned(),
                    expected: "lower-case letters, digits and inner hyphens (RFC 1123)",
                },
            );
        }
    }
    for (key, value) in labels {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if value.len() > 63 || !value.bytes().all(plain) {
            checks.refuse(
                format!("labels[{key}]"),
                Problem::BadText {
                    value: value.clone(),
                    expected: "a Kubernetes label value",
                },
            );
        }
    }
}
