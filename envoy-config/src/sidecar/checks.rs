//! Checks that specs of servers and of clients, for requests and for connections, have in common.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use policy::config::{Direction, PluginConfig};

use super::OutboundFilter;
use super::upstream::check_endpoint;
use crate::address::{Admin, Endpoint};
use crate::age::ConnectionAge;
use crate::error::{Checks, Problem};
use crate::plugin::check_plugin;
use crate::tls::TlsSource;

/// Where a server listens, and the application behind it.
pub(super) fn check_places(listen: SocketAddr, app: &Endpoint, checks: &mut Checks) {
    if listen.port() == 0 {
        checks.refuse("listen", Problem::NoPort);
    }
    check_endpoint("app", app, checks);
    if *app == Endpoint::Ip(listen) {
        let (value, by) = (app.to_string(), "listen".to_owned());
        checks.refuse("app", Problem::Duplicate { value, by });
    }
}

/// What each spec ends with.
pub(super) fn check_rest(
    agent_http: Option<&Path>,
    admin: &Admin,
    access_log: Option<&Path>,
    age: ConnectionAge,
    checks: &mut Checks,
) {
    if let Some(socket) = agent_http {
        checks.socket_path("agentHttp", socket);
    }
    if let Admin::Unix(socket) = admin {
        checks.socket_path("admin", socket);
    }
    if let Some(log) = access_log {
        checks.file_path("accessLog", log);
    }
    checks.age("connectionAge", age);
}

/// Our filter on the way out, with the configuration that it is `told`; `held` where an upstream has the hold.
pub(super) fn check_outbound(
    filter: &OutboundFilter,
    told: &PluginConfig,
    agent_http: Option<&Path>,
    held: bool,
    checks: &mut Checks,
) {
    checks.file_path("filter.module", &filter.module);
    let direction = Direction::Outbound;
    check_plugin("filter.config", told, direction, agent_http, checks);
    let contradicts = |why| Problem::Contradicts {
        other: "upstreams".to_owned(),
        why,
    };
    let naming = filter.config.secure_naming.as_ref();
    if naming.is_some_and(|naming| !naming.clusters.is_empty()) {
        let why = "the clusters are written from the upstreams, leave them empty";
        checks.refuse("filter.config.secureNaming.clusters", contradicts(why));
    }
    if !held {
        let why = "no upstream has the hold, so the filter would not be used";
        checks.refuse("filter", contradicts(why));
    }
}

/// One Envoy has one agent: a second socket would need a second cluster and a second trust.
pub(super) fn check_one_agent<'a>(
    sources: impl Iterator<Item = Option<&'a TlsSource>>,
    checks: &mut Checks,
) {
    let mut first = None;
    for (index, source) in sources.enumerate() {
        let Some(socket) = source.and_then(TlsSource::sds_socket) else {
            continue;
        };
        if *first.get_or_insert(socket) != socket {
            checks.refuse(
                format!("upstreams[{index}].tls.socketPath"),
                Problem::Contradicts {
                    other: "the first upstream's tls.socketPath".to_owned(),
                    why: "all secrets of one Envoy come from one agent",
                },
            );
        }
    }
}

/// Refuses what occurs a second time among values of one kind.
#[derive(Default)]
pub(super) struct Once(BTreeMap<(&'static str, String), String>);

impl Once {
    pub(super) fn check(
        &mut self,
        kind: &'static str,
        value: String,
        path: String,
        checks: &mut Checks,
    ) {
        let key = (kind, value.clone());
        if let Some(by) = self.0.get(&key).cloned() {
            checks.refuse(path, Problem::Duplicate { value, by });
        } else {
            self.0.insert(key, path);
        }
    }
}
