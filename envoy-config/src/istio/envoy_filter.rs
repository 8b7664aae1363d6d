//! `EnvoyFilter` (networking.istio.io/v1alpha3).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use identity::SpiffeId;
use policy::config::{Direction, PluginConfig};
use serde::Serialize;

use super::{FilterState, Metadata, Resource, check_metadata};
use crate::address::is_host_name;
use crate::age::ConnectionAge;
use crate::cluster::{Cluster, HttpOptions, HttpVersion};
use crate::error::{Checks, Problem, SpecErrors};
use crate::http::HttpFilter;
use crate::jwt::METADATA_NAMESPACE;
use crate::plugin::{check_plugin, with_clusters};
use crate::tls::{
    DownstreamNoResumption, UpstreamNoResumption, downstream_no_resumption, upstream_no_resumption,
};
use crate::typed::{Extension, Typed};
use crate::wasm::PluginName;

/// A service of the mesh that the selected workloads call over mutual TLS.
///
/// Patches are per service on purpose: merged into a cluster without TLS, istiod would give it a TLS
/// context with no certificate. The identities are istiod's own list for the service, kept and compared.
#[derive(Clone, Debug)]
pub struct Service {
    /// Host as Istio knows it, such as `httpbin.default.svc.cluster.local`.
    pub host: String,
    /// Port of the service.
    pub port: u16,
    /// HTTP version that istiod chose for the cluster. The patch replaces the cluster's HTTP options as a
    /// whole (a map entry is replaced, not merged), so it has to be said again.
    pub version: HttpVersion,
    /// Who may answer. Empty is an error.
    pub allowed: BTreeSet<SpiffeId>,
}

impl Service {
    /// istiod's name of the cluster for the service without a subset.
    #[must_use]
    pub fn cluster_name(&self) -> String {
        format!("outbound|{}||{}", self.port, self.host)
    }
}

/// What `WasmPlugin` cannot say. For workloads under `PeerAuthentication` mode STRICT: in PERMISSIVE mode a
/// filter chain that passes TLS through would be patched, too, and istiod's listener be refused.
#[derive(Clone, Debug)]
pub struct EnvoyFilter {
    /// Resource name.
    pub name: String,
    /// Namespace; the root namespace makes it apply to the whole mesh.
    pub namespace: String,
    /// Labels of the workloads it is for; empty for all of the namespace.
    pub labels: BTreeMap<String, String>,
    /// The agent's HTTP socket as the proxy container sees it; adds the cluster that plug-ins poll.
    pub agent_http: Option<PathBuf>,
    /// What is left for plug-ins on HTTP ports, see [`FilterState::needed`].
    pub filter_state: BTreeSet<FilterState>,
    /// Services whose server identity the filter holds requests for.
    pub services: Vec<Service>,
    /// The module's path in the proxy container, and the outbound configuration; `secure_naming.clusters` is
    /// written from the services. `None` only without services.
    pub filter: Option<(PathBuf, PluginConfig)>,
    /// Bound on the age of connections to the services.
    pub connection_age: ConnectionAge,
}

impl EnvoyFilter {
    /// Checks the spec and builds the resource.
    ///
    /// # Errors
    /// Everything wrong with the spec, each with its field path.
    pub fn resource(&self) -> Result<Resource, SpecErrors> {
        let mut checks = Checks::default();
        self.check(&mut checks);
        let hold = self.hold().unwrap_or_else(|problem| {
            checks.refuse("filter.config", problem);
            None
        });
        checks.done()?;
        let mut config_patches = vec![inbound_resumption()];
        config_patches.extend(self.filter_state_patches());
        for service in &self.services {
            config_patches.push(outbound_resumption(service));
            // istiod stops at the transport socket of a patch that has one, so the filter is its own.
            if let Some(hold) = &hold {
                config_patches.push(hold_patch(service, self.connection_age, hold.clone()));
            }
        }
        if let Some(socket) = &self.agent_http {
            config_patches.push(Patch {
                apply_to: "CLUSTER",
                r#match: Match {
                    context: "ANY",
                    listener: None,
                    cluster: None,
                },
                patch: Operation {
                    operation: "ADD",
                    value: Value::Cluster(Box::new(Cluster::agent_http(socket))),
                },
            });
        }
        Ok(Resource {
            api_version: "networking.istio.io/v1alpha3",
            kind: "EnvoyFilter",
            metadata: Metadata {
                name: self.name.clone(),
                namespace: self.namespace.clone(),
            },
            spec: super::Spec::EnvoyFilter(Spec {
                workload_selector: (!self.labels.is_empty()).then(|| Selector {
                    labels: self.labels.clone(),
                }),
                config_patches,
            }),
        })
    }

    /// What a connection has, in front of all; what a token has, right behind what validates it.
    fn filter_state_patches(&self) -> impl Iterator<Item = Patch> {
        let late = |state: &&FilterState| **state == FilterState::JwtPayload;
        let states = self.filter_state.iter();
        let early: Vec<_> = states.clone().filter(|state| !late(state)).collect();
        let late: Vec<_> = states.filter(late).collect();
        let filter = |states: Vec<&FilterState>| {
            HttpFilter::filter_state(states.into_iter().map(|state| state.value()).collect())
        };
        let first = filter(early).map(|filter| inbound_filter(None, "INSERT_FIRST", filter));
        let behind = filter(late)
            .map(|filter| inbound_filter(Some(METADATA_NAMESPACE), "INSERT_AFTER", filter));
        first.into_iter().chain(behind)
    }

    fn named(&self, config: &PluginConfig) -> PluginConfig {
        let services = self.services.iter();
        with_clusters(
            config,
            services.map(|service| (service.cluster_name(), &service.allowed)),
        )
    }

    fn hold(&self) -> Result<Option<HttpFilter>, Problem> {
        let Some((module, config)) = &self.filter else {
            return Ok(None);
        };
        let place = format!("{}.{}", self.namespace, self.name);
        let id = PluginName::new("countersign-outbound", config, place);
        HttpFilter::wasm(id, module, &self.named(config)).map(Some)
    }

    fn check(&self, checks: &mut Checks) {
        check_metadata(&self.name, &self.namespace, &self.labels, checks);
        if let Some(socket) = &self.agent_http {
            checks.socket_path("agentHttp", socket);
        }
        for (index, service) in self.services.iter().enumerate() {
            let path = format!("services[{index}]");
            if !is_host_name(&service.host) {
                checks.refuse(
                    format!("{path}.host"),
                    Problem::BadText {
                        value: service.host.clone(),
                        expected: "a host name",
                    },
                );
            }
            if service.port == 0 {
                checks.refuse(format!("{path}.port"), Problem::NoPort);
            }
            if service.allowed.is_empty() {
                checks.refuse(format!("{path}.allowed"), Problem::NoIdentity);
            }
        }
        match &self.filter {
            Some((module, config)) => {
                checks.file_path("filter.module", module);
                let (config, agent) = (self.named(config), self.agent_http.as_deref());
                check_plugin("filter.config", &config, Direction::Outbound, agent, checks);
                if self.services.is_empty() {
                    checks.refuse("services", Problem::Empty);
                }
            }
            None if self.services.is_empty() => {}
            None => checks.refuse("filter", Problem::Empty),
        }
        checks.age("connectionAge", self.connection_age);
    }
}

/// Every chain of a STRICT inbound listener that matches TLS ends it.
fn inbound_resumption() -> Patch {
    Patch {
        apply_to: "FILTER_CHAIN",
        r#match: Match {
            context: "SIDECAR_INBOUND",
            listener: Some(ListenerMatch {
                filter_chain: ChainMatch::Transport {
                    transport_protocol: "tls",
                },
            }),
            cluster: None,
        },
        patch: Operation {
            operation: "MERGE",
            value: Value::Downstream {
                transport_socket: downstream_no_resumption(),
            },
        },
    }
}

/// Beside this HTTP filter, where it is; without one, beside all of them.
fn inbound_filter(
    beside: Option<&'static str>,
    operation: &'static str,
    filter: HttpFilter,
) -> Patch {
    let connection_manager = NetworkFilter {
        name: "envoy.filters.network.http_connection_manager",
        sub_filter: beside.map(|name| SubFilter { name }),
    };
    Patch {
        apply_to: "HTTP_FILTER",
        r#match: Match {
            context: "SIDECAR_INBOUND",
            listener: Some(ListenerMatch {
                filter_chain: ChainMatch::Filter {
                    filter: connection_manager,
                },
            }),
            cluster: None,
        },
        patch: Operation {
            operation,
            value: Value::Filter(Box::new(filter)),
        },
    }
}

fn outbound_resumption(service: &Service) -> Patch {
    Patch {
        apply_to: "CLUSTER",
        r#match: Match::service(service),
        patch: Operation {
            operation: "MERGE",
            value: Value::Upstream {
                transport_socket: upstream_no_resumption(),
            },
        },
    }
}

fn hold_patch(service: &Service, age: ConnectionAge, hold: HttpFilter) -> Patch {
    let http = HttpOptions::new(service.version)
        .max_connection_duration(age.client())
        .filter(hold);
    Patch {
        apply_to: "CLUSTER",
        r#match: Match::service(service),
        patch: Operation {
            operation: "MERGE",
            value: Value::Protocol {
                typed_extension_protocol_options: Box::new(Protocol { http: http.typed() }),
            },
        },
    }
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    #[serde(skip_serializing_if = "Option::is_none")]
    workload_selector: Option<Selector>,
    config_patches: Vec<Patch>,
}

#[derive(Clone, Debug, Serialize)]
struct Selector {
    labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Patch {
    apply_to: &'static str,
    r#match: Match,
    patch: Operation,
}

#[derive(Clone, Debug, Serialize)]
struct Match {
    context: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    listener: Option<ListenerMatch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<ClusterMatch>,
}

impl Match {
    fn service(service: &Service) -> Self {
        let cluster = ClusterMatch {
            service: service.host.clone(),
            port_number: service.port,
        };
        Self {
            context: "SIDECAR_OUTBOUND",
            listener: None,
            cluster: Some(cluster),
        }
    }
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ListenerMatch {
    filter_chain: ChainMatch,
}

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum ChainMatch {
    Transport {
        #[serde(rename = "transportProtocol")]
        transport_protocol: &'static str,
    },
    Filter {
        filter: NetworkFilter,
    },
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NetworkFilter {
    name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub_filter: Option<SubFilter>,
}

#[derive(Clone, Debug, Serialize)]
struct SubFilter {
    name: &'static str,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ClusterMatch {
    service: String,
    port_number: u16,
}

#[derive(Clone, Debug, Serialize)]
struct Operation {
    operation: &'static str,
    value: Value,
}

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum Value {
    Downstream {
        transport_socket: Extension<DownstreamNoResumption>,
    },
    Upstream {
        transport_socket: Extension<UpstreamNoResumption>,
    },
    Protocol {
        typed_extension_protocol_options: Box<Protocol>,
    },
    Cluster(Box<Cluster>),
    Filter(Box<HttpFilter>),
}

#[derive(Clone, Debug, Serialize)]
struct Protocol {
    #[serde(rename = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions")]
    http: Typed<HttpOptions>,
}
