//! Network filters.

use std::path::Path;

use policy::config::PluginConfig;
use serde::Serialize;

use super::{MAX_EARLY_DATA_BYTES, SpeaksFirst};
use crate::access_log::{self, FileAccessLog, Side};
use crate::age::ConnectionAge;
use crate::error::Problem;
use crate::ext_authz::{CustomFilter, NetworkExtAuthz};
use crate::http::{ConnectionManager, FilterStateValue};
use crate::typed::{Extension, Percent, Seconds, Typed};
use crate::version::EnvoyVersion;
use crate::wasm::{self, PluginName, Wasm};

/// Filter-state key that tells the filter that a connection may be held as a whole.
pub const TCP_HOLD_KEY: &str = "countersign.tcp_hold";
/// Filter-state key that is written when a connection's TLS handshake has ended.
pub const TLS_HANDSHAKE_KEY: &str = "countersign.tls_handshake";

/// A filter of a listener's filter chain.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum NetworkFilter {
    Http(Box<Extension<ConnectionManager>>),
    SetFilterState(Extension<SetFilterState>),
    Wasm(Extension<Wasm>),
    Rbac(Extension<Rbac>),
    /// From the translation of policies, whole.
    Translated(serde_json::Value),
    ExtAuthz(Box<Extension<NetworkExtAuthz>>),
    TcpProxy(Extension<TcpProxy>),
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct SetFilterState {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    on_new_connection: Vec<FilterStateValue>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    on_downstream_tls_handshake: Vec<FilterStateValue>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Rbac {
    stat_prefix: &'static str,
    rules: serde_json::Value,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct TcpProxy {
    stat_prefix: String,
    cluster: String,
    idle_timeout: Seconds,
    max_downstream_connection_duration: Seconds,
    max_downstream_connection_duration_jitter_percentage: Percent,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_connect_mode: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_early_data_bytes: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    access_log: Vec<Extension<FileAccessLog>>,
}

/// When the other side is connected to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Connect {
    /// At once, and before a byte of the client is read.
    AtOnce,
    /// At once, and the client is read meanwhile: what a filter in front needs that holds the connection.
    WhenLetGo,
    /// When the TLS handshake has ended.
    AfterHandshake,
    /// When the client has sent something.
    OnData,
}

impl Connect {
    /// Behind our filter, which lets a connection go when its peer is known and allowed.
    pub(super) const fn held(first: SpeaksFirst) -> Self {
        match first {
            SpeaksFirst::Client => Self::OnData,
            SpeaksFirst::Server => Self::WhenLetGo,
        }
    }

    /// Without it, as late as the protocol and the Envoy allow.
    pub(super) fn free(first: SpeaksFirst, envoy: EnvoyVersion) -> Self {
        match first {
            _ if !envoy.has_upstream_connect_mode() => Self::AtOnce,
            SpeaksFirst::Client => Self::OnData,
            SpeaksFirst::Server => Self::AfterHandshake,
        }
    }

    const fn mode(self) -> Option<&'static str> {
        match self {
            Self::AtOnce | Self::WhenLetGo => None,
            Self::AfterHandshake => Some("ON_DOWNSTREAM_TLS_HANDSHAKE"),
            Self::OnData => Some("ON_DOWNSTREAM_DATA"),
        }
    }

    const fn early_data(self) -> Option<u32> {
        match self {
            Self::AtOnce => None,
            Self::WhenLetGo | Self::AfterHandshake | Self::OnData => Some(MAX_EARLY_DATA_BYTES),
        }
    }
}

impl NetworkFilter {
    pub(crate) fn http(manager: ConnectionManager) -> Self {
        Self::Http(Box::new(Extension {
            name: "envoy.filters.network.http_connection_manager",
            typed_config: Typed::new(
                "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                manager,
            ),
        }))
    }

    /// The marks for the filter, and what it cannot see otherwise.
    pub(super) fn filter_state(
        mut at_once: Vec<FilterStateValue>,
        mut after_handshake: Vec<FilterStateValue>,
    ) -> Self {
        at_once.insert(0, FilterStateValue::new(TCP_HOLD_KEY, "yes"));
        // Last, so that whoever sees it sees the others.
        after_handshake.push(FilterStateValue::new(TLS_HANDSHAKE_KEY, "ended"));
        Self::SetFilterState(Extension {
            name: "envoy.filters.network.set_filter_state",
            typed_config: Typed::new(
                "type.googleapis.com/envoy.extensions.filters.network.set_filter_state.v3.Config",
                SetFilterState {
                    on_new_connection: at_once,
                    on_downstream_tls_handshake: after_handshake,
                },
            ),
        })
    }

    pub(super) fn wasm(
        id: PluginName,
        module: &Path,
        config: &PluginConfig,
    ) -> Result<Self, Problem> {
        Ok(Self::Wasm(Extension {
            name: "envoy.filters.network.wasm",
            typed_config: wasm::wasm(wasm::Kind::Network, id, module, config)?,
        }))
    }

    pub(super) const fn native_rbac(rules: serde_json::Value) -> Self {
        Self::Rbac(Extension {
            name: "envoy.filters.network.rbac",
            typed_config: Typed::new(
                "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC",
                Rbac {
                    stat_prefix: "native_",
                    rules,
                },
            ),
        })
    }

    /// What CUSTOM policies need; `None` for a filter of requests, which a chain for connections never gets.
    pub(super) fn custom(filter: CustomFilter) -> Option<Self> {
        match filter {
            CustomFilter::Rbac(filter) => Some(Self::Translated(filter)),
            CustomFilter::AskTcp(message) => Some(Self::ExtAuthz(Box::new(Extension {
                name: "envoy.filters.network.ext_authz",
                typed_config: message.typed(),
            }))),
            CustomFilter::Ask(_) => None,
        }
    }

    pub(super) fn tcp_proxy(
        name: &str,
        cluster: &str,
        connect: Connect,
        age: ConnectionAge,
        access_log: Option<(&Path, Side)>,
    ) -> Self {
        let log = access_log.map(|(path, side)| access_log::connections(path, side));
        Self::TcpProxy(Extension {
            name: "envoy.filters.network.tcp_proxy",
            typed_config: Typed::new(
                "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                TcpProxy {
                    stat_prefix: name.to_owned(),
                    cluster: cluster.to_owned(),
                    idle_timeout: Seconds::whole(3600),
                    max_downstream_connection_duration: Seconds(age.connection()),
                    max_downstream_connection_duration_jitter_percentage: Percent {
                        value: ConnectionAge::JITTER_PERCENT,
                    },
                    upstream_connect_mode: connect.mode(),
                    max_early_data_bytes: connect.early_data(),
                    access_log: log.into_iter().collect(),
                },
            ),
        })
    }
}
