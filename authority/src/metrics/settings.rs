//! Section `metrics` of the configuration.

use std::net::SocketAddr;

use serde::Deserialize;

/// Where metrics, liveness and readiness are told, by plain HTTP.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MetricsSettings {
    /// Address to listen on; nowhere if there is none. What is told there is no secret, but anybody
    /// who reaches it can read it: keep it on loopback or in a network of its own.
    pub listen: Option<SocketAddr>,
}
