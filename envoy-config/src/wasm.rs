//! The Wasm filter's place in Envoy.

use std::fmt::Display;
use std::path::Path;

use policy::config::{MAX_CONFIG_BYTES, PluginConfig};
use serde::Serialize;

use crate::emit::EmitError;
use crate::error::Problem;
use crate::typed::{FileSource, Typed};

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Wasm {
    config: Plugin,
}

#[derive(Clone, Debug, Serialize)]
struct Plugin {
    name: String,
    root_id: &'static str,
    vm_config: Vm,
    configuration: Typed<Text>,
    failure_policy: &'static str,
}

#[derive(Clone, Debug, Serialize)]
struct Vm {
    vm_id: &'static str,
    runtime: &'static str,
    code: Code,
}

#[derive(Clone, Debug, Serialize)]
struct Code {
    local: FileSource,
}

#[derive(Clone, Debug, Serialize)]
struct Text {
    value: String,
}

/// What a filter is known by in its Envoy.
#[derive(Clone, Debug)]
pub(crate) struct PluginName {
    /// Shared data is keyed by it, so each direction, and TCP, has its own.
    vm_id: &'static str,
    /// A filter takes what has its name and workload for an older version of itself, whose open streams and
    /// connections it decides about. So two that are in force beside one another have different names, and one
    /// that is written anew keeps its own.
    name: String,
}

impl PluginName {
    /// `place` is what tells the filter from others of its kind in the same Envoy, such as its listener's
    /// address. Nothing of it changes when only policies or settings do.
    pub(crate) fn new(vm_id: &'static str, config: &PluginConfig, place: impl Display) -> Self {
        let namespace = &config.workload.namespace;
        Self {
            vm_id,
            name: format!("{vm_id}/{namespace}/{place}"),
        }
    }
}

/// What kind of filter it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Http,
    Network,
}

/// The filter with its configuration as `StringValue`, which it sees as the JSON bytes.
pub(crate) fn wasm(
    kind: Kind,
    PluginName { vm_id, name }: PluginName,
    module: &Path,
    config: &PluginConfig,
) -> Result<Typed<Wasm>, Problem> {
    let type_url = match kind {
        Kind::Http => "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
        Kind::Network => "type.googleapis.com/envoy.extensions.filters.network.wasm.v3.Wasm",
    };
    let value = configuration(config)?;
    Ok(Typed::new(
        type_url,
        Wasm {
            config: Plugin {
                name,
                root_id: "countersign",
                vm_config: Vm {
                    vm_id,
                    runtime: "envoy.wasm.runtime.v8",
                    code: Code {
                        local: FileSource::new(module),
                    },
                },
                configuration: Typed::new(
                    "type.googleapis.com/google.protobuf.StringValue",
                    Text { value },
                ),
                failure_policy: "FAIL_CLOSED",
            },
        },
    ))
}

/// The configuration as JSON: over several lines for whoever reads a bootstrap, on one when that is too long.
fn configuration(config: &PluginConfig) -> Result<String, Problem> {
    let failed = |error| Problem::Emit(EmitError::Json(error));
    let pretty = serde_json::to_string_pretty(config).map_err(failed)?;
    if pretty.len() <= MAX_CONFIG_BYTES {
        return Ok(pretty);
    }
    let dense = config.to_json().map_err(failed)?;
    if dense.len() <= MAX_CONFIG_BYTES {
        return Ok(dense);
    }
    Err(Problem::TooLarge {
        bytes: dense.len(),
        limit: MAX_CONFIG_BYTES,
    })
}
