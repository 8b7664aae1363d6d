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
/// Filter-state key under which the TCP peer's address is put for policies with `ipBlocks`: Envoy has no
/// attribute for it, and `source.address` may be what a header says.
pub const DIRECT_ADDRESS_KEY: &str = "countersign.direct_remote_address";

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

/// A value for filter state, left out where Envoy has nothing to put there.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct FilterStateValue {
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

impl FilterStateValue {
    /// The client's certificate.
    pub(crate) const fn peer_certificate() -> Self {
        Self::new(PEER_CERTIFICATE_KEY, "%DOWNSTREAM_PEER_CERT%")
    }

    /// The address that the client's connection comes from, whatever headers say.
    pub(crate) const fn direct_address() -> Self {
        let format = "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%";
        Self::new(DIRECT_ADDRESS_KEY, format)
    }

    const fn new(object_key: &'static str, inline_string: &'static str) -> Self {
        Self {
            object_key,
            factory_key: "envoy.string",
            format_string: FormatString {
                text_format_source: Inline { inline_string },
                omit_empty_values: true,
            },
            skip_if_empty: true,
        }
    }
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

    /// Puts values where a filter after this one can read them; no filter where there are none.
    pub(crate) fn filter_state(values: Vec<FilterStateValue>) -> Option<Self> {
        (!values.is_empty()).then(|| Self {
            name: "envoy.filters.http.set_filter_state",
            typed_config: Config::SetFilterState(Typed::new(
                "type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config",
                SetFilterState {
                    on_request_headers: values,
                },
            )),
        })
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
