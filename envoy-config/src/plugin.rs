//! What the plug-in configuration must say to fit what it is put into.

use std::collections::BTreeSet;
use std::path::Path;

use identity::SpiffeId;
use policy::Resource;
use policy::config::{Direction, PluginConfig, compile};

use crate::cluster::AGENT_HTTP_CLUSTER;
use crate::error::{Checks, Problem};

/// The configuration with the clusters of secure naming as the spec has them, so that the two locks cannot
/// disagree. One without secure naming is left as it is, to be refused by [`check_plugin`].
pub(crate) fn with_clusters<'a>(
    config: &PluginConfig,
    clusters: impl Iterator<Item = (String, &'a BTreeSet<SpiffeId>)>,
) -> PluginConfig {
    let mut config = config.clone();
    if let Some(naming) = &mut config.secure_naming {
        let text = |ids: &BTreeSet<SpiffeId>| ids.iter().map(ToString::to_string).collect();
        naming.clusters = clusters.map(|(name, ids)| (name, text(ids))).collect();
    }
    config
}

/// The configuration without what only the proxy needs: `RequestAuthentication`, with whole key sets.
pub(crate) fn for_filter(config: &PluginConfig) -> PluginConfig {
    let mut config = config.clone();
    let for_proxy = |policy: &serde_json::Value| {
        let read = Resource::from_value(policy);
        matches!(read, Ok(Resource::RequestAuthentication(_)))
    };
    config.policies.retain(|policy| !for_proxy(policy));
    config
}

/// Direction, the agent's cluster, and everything the filter itself checks when it is configured.
pub(crate) fn check_plugin(
    path: &str,
    config: &PluginConfig,
    direction: Direction,
    agent_http: Option<&Path>,
    checks: &mut Checks,
) {
    check_shared(path, config, direction, checks);
    if config.deny_list.is_some() && agent_http.is_none() {
        checks.refuse(
            format!("{path}.denyList"),
            Problem::Contradicts {
                other: "agentHttp".to_owned(),
                why: "the list is polled from an agent and none is given",
            },
        );
    }
}

/// Policies that make the configuration longer than `limit` bytes of JSON belong in a bundle.
pub(crate) fn check_size(path: &str, config: &PluginConfig, limit: usize, checks: &mut Checks) {
    let bytes = config.to_json().map_or(0, |text| text.len());
    if bytes > limit && !config.policies.is_empty() {
        let problem = Problem::PoliciesTooLarge { bytes, limit };
        checks.refuse(format!("{path}.policies"), problem);
    }
}

/// The same where the agent's cluster comes from elsewhere.
pub(crate) fn check_shared(
    path: &str,
    config: &PluginConfig,
    direction: Direction,
    checks: &mut Checks,
) {
    if config.direction != direction {
        let (value, expected) = match direction {
            Direction::Inbound => ("outbound", "inbound"),
            Direction::Outbound => ("inbound", "outbound"),
        };
        let problem = Problem::BadText {
            value: value.to_owned(),
            expected,
        };
        checks.refuse(format!("{path}.direction"), problem);
    }
    if let Some(list) = &config.deny_list
        && list.cluster != AGENT_HTTP_CLUSTER
    {
        checks.refuse(
            format!("{path}.denyList.cluster"),
            Problem::BadText {
                value: list.cluster.clone(),
                expected: AGENT_HTTP_CLUSTER,
            },
        );
    }
    for mut error in compile(config).err().into_iter().flatten() {
        let separator = if error.path.is_empty() || error.path.starts_with('[') {
            ""
        } else {
            "."
        };
        let at = format!("{path}{separator}{}", std::mem::take(&mut error.path));
        checks.refuse(at, Problem::Plugin(error));
    }
}
