//! Routes: a host to a cluster.

use serde::Serialize;

use crate::typed::Seconds;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct RouteConfig {
    name: &'static str,
    virtual_hosts: Vec<VirtualHost>,
    ignore_port_in_host_matching: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    request_headers_to_remove: Vec<&'static str>,
}

impl RouteConfig {
    pub(crate) const fn new(name: &'static str, virtual_hosts: Vec<VirtualHost>) -> Self {
        Self {
            name,
            virtual_hosts,
            ignore_port_in_host_matching: true,
            request_headers_to_remove: Vec::new(),
        }
    }

    /// Takes a header away behind all filters, before a request leaves.
    pub(crate) fn without(mut self, header: &'static str) -> Self {
        self.request_headers_to_remove.push(header);
        self
    }
}

/// Requests for `domains`, all to one cluster.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct VirtualHost {
    name: String,
    domains: Vec<String>,
    routes: Vec<Route>,
}

impl VirtualHost {
    pub(crate) fn new(name: &str, domains: Vec<String>, action: RouteAction) -> Self {
        let route = Route {
            r#match: RouteMatch { prefix: "/" },
            route: action,
        };
        Self {
            name: name.to_owned(),
            domains,
            routes: vec![route],
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Route {
    r#match: RouteMatch,
    route: RouteAction,
}

#[derive(Clone, Debug, Serialize)]
struct RouteMatch {
    prefix: &'static str,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct RouteAction {
    pub(crate) cluster: String,
    pub(crate) timeout: Seconds,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retry_policy: Option<RouteRetry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hedge_policy: Option<HedgePolicy>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct RouteRetry {
    pub(crate) retry_on: String,
    pub(crate) num_retries: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) per_try_timeout: Option<Seconds>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct HedgePolicy {
    pub(crate) hedge_on_per_try_timeout: bool,
}
