//! The bootstrap as a whole.

use serde::Serialize;

use crate::address::{Address, Admin};
use crate::cluster::Cluster;
use crate::emit::{EmitError, yaml};
use crate::listener::Listener;
use crate::stats::StatsConfig;
use crate::typed::{Extension, Typed};

/// Connections one Envoy accepts at a time; beyond it new ones are closed, so that a flood cannot take the
/// file descriptors that the connections to the agent need.
const MAX_DOWNSTREAM_CONNECTIONS: u64 = 10_000;

/// A complete, checked Envoy bootstrap. Made by a spec's `bootstrap()`; [`Bootstrap::to_yaml`] writes it.
#[derive(Clone, Debug, Serialize)]
pub struct Bootstrap {
    node: Node,
    #[serde(skip_serializing_if = "Option::is_none")]
    admin: Option<AdminSection>,
    stats_config: StatsConfig,
    static_resources: StaticResources,
    overload_manager: OverloadManager,
    #[serde(skip)]
    admin_spec: Admin,
}

impl Bootstrap {
    pub(crate) fn new(
        node_id: &str,
        admin: &Admin,
        listener: Listener,
        clusters: Vec<Cluster>,
    ) -> Self {
        Self::with_listeners(node_id, admin, vec![listener], clusters)
    }

    pub(crate) fn with_listeners(
        node_id: &str,
        admin: &Admin,
        listeners: Vec<Listener>,
        clusters: Vec<Cluster>,
    ) -> Self {
        Self {
            admin_spec: admin.clone(),
            node: Node {
                id: node_id.to_owned(),
                cluster: "countersign",
            },
            admin: Address::admin(admin).map(|address| AdminSection { address }),
            stats_config: StatsConfig::new(),
            static_resources: StaticResources {
                listeners,
                clusters,
            },
            overload_manager: OverloadManager {
                resource_monitors: vec![Extension {
                    name: "envoy.resource_monitors.global_downstream_max_connections",
                    typed_config: Typed::new(
                        "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                        DownstreamConnections {
                            max_active_downstream_connections: MAX_DOWNSTREAM_CONNECTIONS,
                        },
                    ),
                }],
            },
        }
    }

    /// Where the administration interface listens.
    #[must_use]
    pub const fn admin(&self) -> &Admin {
        &self.admin_spec
    }

    /// The bootstrap as YAML, for `envoy --config-path`.
    ///
    /// # Errors
    /// [`EmitError::Yaml`] when the serializer refuses; a checked spec gives it no reason to.
    pub fn to_yaml(&self) -> Result<String, EmitError> {
        yaml(self)
    }
}

#[derive(Clone, Debug, Serialize)]
struct Node {
    id: String,
    cluster: &'static str,
}

#[derive(Clone, Debug, Serialize)]
struct AdminSection {
    address: Address,
}

#[derive(Clone, Debug, Serialize)]
struct StaticResources {
    listeners: Vec<Listener>,
    clusters: Vec<Cluster>,
}

#[derive(Clone, Debug, Serialize)]
struct OverloadManager {
    resource_monitors: Vec<Extension<DownstreamConnections>>,
}

#[derive(Clone, Debug, Serialize)]
struct DownstreamConnections {
    max_active_downstream_connections: u64,
}
