//! Administration over the network: mutual TLS, and a role for every call.

use std::io;
use std::sync::Arc;

use api::admin::admin_service_server::AdminServiceServer;
use api::issuance::issuance_service_server::IssuanceServiceServer;
use api::record::record_service_server::RecordServiceServer;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use identity::SpiffeId;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
use tonic::{Code, Status};

use crate::issue::attest::{self, AttestError};
use crate::issue::{Caller, Issuance};
use crate::serve::access::{self, AdminSettings, Role};
use crate::serve::admin::AdminApi;
use crate::serve::issuance::IssuanceApi;
use crate::serve::peer::TlsConnection;
use crate::serve::record::RecordApi;
use crate::serve::{reflection, status};

/// The identity that a call over the network was let in by; the record's actor.
#[derive(Clone, Debug)]
pub(crate) struct Actor(pub(crate) SpiffeId);

/// Everything an operator is served, over the socket and over the network.
#[derive(Clone, Debug)]
pub(crate) struct AdminServices {
    pub(crate) admin: AdminApi,
    pub(crate) issuance: IssuanceApi,
    pub(crate) record: RecordApi,
}

/// Their names, for reflection.
const SERVICES: [&str; 3] = [
    "countersign.admin.v1.AdminService",
    "countersign.issuance.v1.IssuanceService",
    "countersign.record.v1.RecordService",
];

impl AdminServices {
    /// As one set of routes; requests of at most `max_message` bytes.
    pub(crate) fn routes(self, max_message: usize) -> Routes {
        Routes::new(AdminServiceServer::new(self.admin).max_decoding_message_size(max_message))
            .add_service(IssuanceServiceServer::new(self.issuance))
            .add_service(RecordServiceServer::new(self.record))
    }
}

#[derive(Clone, Debug)]
struct Guard {
    issuance: Issuance,
    settings: Arc<AdminSettings>,
}

/// Serves until `stopping`; gives its name back.
pub(crate) async fn serve(
    connections: ReceiverStream<Result<TlsConnection, io::Error>>,
    services: AdminServices,
    settings: AdminSettings,
    max_message: usize,
    stopping: CancellationToken,
) -> &'static str {
    let guard = Guard {
        issuance: services.admin.issuance.clone(),
        settings: Arc::new(settings),
    };
    let mut routes = services.routes(max_message);
    match reflection::services(&SERVICES) {
        Ok((v1, v1alpha)) => routes = routes.add_service(v1).add_service(v1alpha),
        Err(error) => tracing::warn!(%error, "no reflection"),
    }
    // Around everything, what is not found included: who has no role learns nothing.
    let guarded: Router = routes
        .into_axum_router()
        .layer(middleware::from_fn_with_state(guard, check));
    let served = Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .add_routes(Routes::from(guarded))
        .serve_with_incoming_shutdown(connections, stopping.cancelled_owned())
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the administration listener stopped");
    }
    "administration listener"
}

async fn check(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let certificate = client_certificate(&request);
    let path = request.uri().path().to_owned();
    match guard.admit(certificate, &path).await {
        Ok(actor) => {
            request.extensions_mut().insert(actor);
            next.run(request).await
        }
        Err(refused) => refused.into_http(),
    }
}

/// The leaf that TLS verified.
fn client_certificate(request: &Request) -> Option<Vec<u8>> {
    let info = request
        .extensions()
        .get::<TlsConnectInfo<TcpConnectInfo>>()?;
    info.peer_certs()?.first().map(|leaf| leaf.to_vec())
}

impl Guard {
    /// Lets a call in, or says why not. Asked at every call: a certificate that was taken back
    /// opens nothing on a connection it was good for.
    async fn admit(&self, certificate: Option<Vec<u8>>, path: &str) -> Result<Actor, Status> {
        let id = self.caller(certificate).await?;
        let role = self.settings.role(&id);
        let allowed = match (role, access::required(path)) {
            (Some(role), Some(required)) => role >= required,
            _ => false,
        };
        let name = role.map_or("none", Role::as_str);
        let telemetry = self.issuance.telemetry();
        if allowed {
            telemetry.administered(name, "admitted");
            tracing::info!(caller = %id, role = name, call = path, "administration");
            return Ok(Actor(id));
        }
        telemetry.administered(name, "refused");
        tracing::warn!(caller = %id, role = name, call = path, "administration refused");
        Err(Status::permission_denied(
            "your role does not allow this call",
        ))
    }

    async fn caller(&self, certificate: Option<Vec<u8>>) -> Result<SpiffeId, Status> {
        let Some(certificate) = certificate else {
            // TLS asks for one, so this does not happen; if it did, it would be nobody.
            return Err(Status::unauthenticated("a client certificate is needed"));
        };
        let (inventory, now) = (self.issuance.inventory(), self.issuance.now());
        match attest::certificate(&certificate, inventory, now).await {
            Ok(Caller::Certificate(record)) => Ok(record.spiffe_id),
            Ok(_) => Err(Status::new(Code::Unauthenticated, "not a certificate")),
            Err(error) => {
                self.issuance.telemetry().administered("none", "refused");
                if let AttestError::Refused(refusal) = &error {
                    self.issuance
                        .record_refusal("administration", None, refusal)
                        .await
                        .map_err(|error| status::of_inventory(&error))?;
                }
                Err(status::of_attest(&error))
            }
        }
    }
}

/// Calls at a time on one connection.
const MAX_STREAMS: u32 = 64;
