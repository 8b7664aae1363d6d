//! HTTP filters.

use std::path::Path;

use policy::config::PluginConfig;
use serde::Serialize;

use crate::error::Problem;
use crate::ext_authz::ExtAuthz;
use crate::jwt::{self, JwtAuthentication};
use crate::typed::{Empty, Typed};
use crate::wasm::{self, PluginName, Wasm};

/// Filter-state key under which the peer's leaf certificate (PEM) is put for the filter, on Envoys that have
/// no attribute for it.
pub const PEER_CERTIFICATE_KEY: &str = "countersign.peer_certificate";
/// Filter-state key under which the TCP peer's address is put for policies with `ipBlocks`: Envoy has no
/// attribute for it, and `source.address` may be what a header says.
pub const DIRECT_ADDRESS_KEY: &str = "countersign.direct_remote_address";
/// Filter-state key under which the client's address as the proxy sees it, trusted proxies left out, is put for
/// policies with `remoteIpBlocks`.
pub const REMOTE_ADDRESS_KEY: &str = "countersign.remote_address";
/// Filter-state key under which the claims of the validated token, as a JSON object, are put for policies that
/// look at them: read property by property, numbers and lists lose their types.
pub const JWT_PAYLOAD_KEY: &str = "countersign.jwt_payload";

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
    Translated(serde_json::Value),
    ExtAuthz(Box<Typed<ExtAuthz>>),
    JwtAuthn(Box<Typed<JwtAuthentication>>),
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

    /// The address that the connection manager takes the request to come from.
    pub(crate) const fn remote_address() -> Self {
        let format = "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%";
        Self::new(REMOTE_ADDRESS_KEY, format)
    }

    /// What `jwt_authn` in front of this filter left.
    pub(crate) const fn jwt_payload() -> Self {
        let format = "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:payload)%";
        Self::new(JWT_PAYLOAD_KEY, format)
    }

    pub(crate) const fn new(object_key: &'static str, inline_string: &'static str) -> Self {
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
        id: PluginName,
        module: &Path,
        config: &PluginConfig,
    ) -> Result<Self, Problem> {
        Ok(Self {
            name: "envoy.filters.http.wasm",
            typed_config: Config::Wasm(wasm::wasm(wasm::Kind::Http, id, module, config)?),
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

    /// An RBAC filter from the translation of policies, which is JSON with `name` and `typed_config`.
    pub(crate) fn translated_rbac(mut filter: serde_json::Value) -> Self {
        let config = filter.get_mut("typed_config");
        Self {
            name: "envoy.filters.http.rbac",
            typed_config: Config::Translated(
                config.map(serde_json::Value::take).unwrap_or_default(),
            ),
        }
    }

    /// Asks a provider about what the RBAC filter in front of it picked.
    pub(crate) fn ext_authz(message: ExtAuthz) -> Self {
        Self {
            name: "envoy.filters.http.ext_authz",
            typed_config: Config::ExtAuthz(Box::new(message.typed())),
        }
    }

    /// Validates tokens.
    pub(crate) fn jwt_authn(message: Typed<JwtAuthentication>) -> Self {
        Self {
            name: jwt::METADATA_NAMESPACE,
            typed_config: Config::JwtAuthn(Box::new(message)),
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
