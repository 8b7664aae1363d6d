//! Envoys beside a workload: in front of a server, or between an application and the servers it calls.

mod checks;
mod client;
mod inbound;
mod mesh;
mod path;
mod server;
mod tcp;
mod upstream;

pub use client::{Client, OutboundFilter};
pub use mesh::MeshSettings;
pub(crate) use path::PathSettings;
pub use policy::path::PathNormalization;
pub use server::{FilterStateRoute, InboundFilter, Server};
pub(crate) use tcp::NetworkFilter;
pub use tcp::{SpeaksFirst, TCP_HOLD_KEY, TLS_HANDSHAKE_KEY, TcpClient, TcpServer, TcpUpstream};
pub use upstream::{Hedge, Hold, Retry, SanMatchers, Upstream, UpstreamTls};

pub use crate::cluster::{HttpVersion, OutlierDetection};

use std::path::Path;

use crate::cluster::Cluster;

/// The agent's clusters that a bootstrap with these sockets needs.
fn agent_clusters(sds: Option<&Path>, http: Option<&Path>) -> Vec<Cluster> {
    let sds = sds.map(Cluster::agent_sds);
    sds.into_iter()
        .chain(http.map(Cluster::agent_http))
        .collect()
}
