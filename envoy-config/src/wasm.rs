//! The Wasm filter's place in Envoy.

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
    name: &'static str,
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

/// The filter with its configuration as `StringValue`, which it sees as the JSON bytes. Shared data is
/// keyed by `vm_id`, so each direction, and TCP, has its own.
pub(crate) fn wasm(
    vm_id: &'static str,
    module: &Path,
    config: &PluginConfig,
) -> Result<Typed<Wasm>, Problem> {
    let type_url = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";
    of_type(type_url, vm_id, module, config)
}

/// The same as network filter.
pub(crate) fn network(
    vm_id: &'static str,
    module: &Path,
    config: &PluginConfig,
) -> Result<Typed<Wasm>, Problem> {
    let type_url = "type.googleapis.com/envoy.extensions.filters.network.wasm.v3.Wasm";
    of_type(type_url, vm_id, module, config)
}

fn of_type(
    type_url: &'static str,
    vm_id: &'static str,
    module: &Path,
    config: &PluginConfig,
) -> Result<Typed<Wasm>, Problem> {
    let value = configuration(config)?;
    Ok(Typed::new(
        type_url,
        Wasm {
            config: Plugin {
                name: vm_id,
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
