//! HTTP filters.

use std::path::Path;

use policy::config::PluginConfig;
use serde::Serialize;

use crate::error::Problem;
use crate::typed::{Empty, Typed};
use crate::wasm::{self, Wasm};

/// Filter-state key under which the peer's leaf certificate (PEM) is put for the filter, on Envoys that have
/// no attribute for it.
pub const PEER_CERTIFICATE_KEY: &str = "countersign.peer_certificate";

#[derive(Clone, Debug, Serialize)]
pub(crate) struct HttpFilter {
    name: &'static str,
    typed_config: Config,
}

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum Config {
    Wasm(Typed<Wasm>),
    Rbac(Typed<Rbac>),
    SetFilterState(Typed<SetFilterState>),
    Router(Typed<Router>),
    UpstreamCodec(Typed<Empty>),
}

#[derive(Clone, Debug, Serialize)]
struct Rbac {
    rules: serde_json::Value,
}

#[derive(Clone, Debug, Serialize)]
struct Router {
    suppress_envoy_headers: bool,
}

#[derive(Clone, Debug, Serialize)]
struct SetFilterState {
    on_request_headers: Vec<FilterStateValue>,
}

#[derive(Clone, Debug, Serialize)]
struct FilterStateValue {
    object_key: &'static str,
    factory_key: &'static str,
    format_string: FormatString,
    skip_if_empty: bool,
}

#[derive(Clone, Debug, Serialize)]
struct FormatString {
    text_format_source: Inline,
    omit_empty_values: bool,
}

#[derive(Clone, Debug, Serialize)]
struct Inline {
    inline_string: &'static str,
}

impl HttpFilter {
    pub(crate) fn wasm(
        vm_id: &'static str,
        module: &Path,
        config: &PluginConfig,
    ) -> Result<Self, Problem> {
        Ok(Self {
            name: "envoy.filters.http.wasm",
            typed_config: Config::Wasm(wasm::wasm(vm_id, module, config)?),
        })
    }

    /// Envoy's own RBAC filter, to compare with.
    pub(crate) fn native_rbac(rules: serde_json::Value) -> Self {
        Self {
            name: "envoy.filters.http.rbac",
            typed_config: Config::Rbac(Typed::new(
                "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
                Rbac { rules },
            )),
        }
    }

    /// Puts the client's certificate where a filter after this one can read it.
    pub(crate) fn peer_certificate() -> Self {
        let value = FilterStateValue {
            object_key: PEER_CERTIFICATE_KEY,
            factory_key: "envoy.string",
            format_string: FormatString {
                text_format_source: Inline {
                    inline_string: "%DOWNSTREAM_PEER_CERT%",
                },
                omit_empty_values: true,
            },
            skip_if_empty: true,
        };
        Self {
            name: "envoy.filters.http.set_filter_state",
            typed_config: Config::SetFilterState(Typed::new(
                "type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config",
                SetFilterState {
                    on_request_headers: vec![value],
                },
            )),
        }
    }

    pub(crate) const fn router() -> Self {
        Self {
            name: "envoy.filters.http.router",
            typed_config: Config::Router(Typed::new(
                "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
                Router {
                    suppress_envoy_headers: true,
                },
            )),
        }
    }

    pub(crate) const fn upstream_codec() -> Self {
        Self {
            name: "envoy.filters.http.upstream_codec",
            typed_config: Config::UpstreamCodec(Typed::new(
                "type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec",
                Empty {},
            )),
        }
    }
}
