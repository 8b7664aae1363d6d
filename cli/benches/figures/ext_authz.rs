//! The smallest `ext_authz` service there can be: it looks at the path and answers.
//!
//! It stands for the floor of what any policy service outside of Envoy costs Envoy: one gRPC call for each
//! request, over one open HTTP/2 connection on loopback. The service's own CPU is not in the figures.

use std::net::{Ipv4Addr, SocketAddr};

use envoy_types::ext_authz::v3::CheckResponseExt;
use envoy_types::ext_authz::v3::pb::{
    Authorization, AuthorizationServer, CheckRequest, CheckResponse,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::envoy::policies::ALLOWED_PATH;
use crate::failure::Failure;

const CLUSTER: &str = "ext-authz";

/// A running service; dropping it ends it.
pub(crate) struct ExtAuthz {
    address: SocketAddr,
    task: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl ExtAuthz {
    pub(crate) async fn start() -> Result<Self, Failure> {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await;
        let listener = listener.map_err(Failure::part("ext_authz"))?;
        let address = listener.local_addr().map_err(Failure::part("ext_authz"))?;
        let task = tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(AuthorizationServer::new(ByPath))
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        Ok(Self { address, task })
    }

    /// Puts Envoy's own filter in front of the router, and the way to the service.
    pub(crate) fn guard(&self, bootstrap: &mut Value) -> Result<(), Failure> {
        let missing = |found: &str| Failure::Unexpected {
            case: CLUSTER.to_owned(),
            wanted: "a listener with HTTP filters and clusters",
            found: found.to_owned(),
        };
        const FILTERS: &str =
            "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters";
        let filters = bootstrap.pointer_mut(FILTERS).and_then(Value::as_array_mut);
        filters.ok_or_else(|| missing("no filters"))?.insert(
            0,
            json!({
                "name": "envoy.filters.http.ext_authz",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
                    "transport_api_version": "V3",
                    "grpc_service": {"envoy_grpc": {"cluster_name": CLUSTER}, "timeout": "5s"},
                },
            }),
        );
        let clusters = bootstrap
            .pointer_mut("/static_resources/clusters")
            .and_then(Value::as_array_mut);
        let address = json!({"socket_address": {
            "address": self.address.ip().to_string(), "port_value": self.address.port(),
        }});
        clusters.ok_or_else(|| missing("no clusters"))?.push(json!({
            "name": CLUSTER,
            "type": "STATIC",
            "connect_timeout": "5s",
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": {"http2_protocol_options": {}},
                },
            },
            "load_assignment": {
                "cluster_name": CLUSTER,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
            },
        }));
        Ok(())
    }
}

impl Drop for ExtAuthz {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct ByPath;

#[tonic::async_trait]
impl Authorization for ByPath {
    async fn check(
        &self,
        request: Request<CheckRequest>,
    ) -> Result<Response<CheckResponse>, Status> {
        let request = request.into_inner();
        let http = request
            .attributes
            .and_then(|attributes| attributes.request)
            .and_then(|request| request.http);
        let status = match http {
            Some(http) if http.path == ALLOWED_PATH => Status::ok(""),
            _ => Status::permission_denied("path"),
        };
        Ok(Response::new(CheckResponse::with_status(status)))
    }
}
