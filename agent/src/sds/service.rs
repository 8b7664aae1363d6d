//! SDS over gRPC: one task for each stream.

use std::{collections::BTreeSet, pin::Pin, sync::Arc};

use envoy_types::pb::envoy::service::{
    discovery::v3::{
        DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
    },
    secret::v3::secret_discovery_service_server::SecretDiscoveryService,
};
use futures::Stream;
use identity::SpiffeId;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, info, warn};

use super::{
    secret::resolve,
    subscription::{Heard, Subscription},
};
use crate::{
    clock,
    peer::Peer,
    world::{Rejection, Snapshot, World},
};

/// The service. The connection's [`Peer`] must be among the request's extensions.
#[derive(Clone, Debug)]
pub(crate) struct Sds {
    world: World,
    stop: CancellationToken,
}

impl Sds {
    /// Serves what `world` holds until `stop`.
    pub(crate) const fn new(world: World, stop: CancellationToken) -> Self {
        Self { world, stop }
    }
}

type Outbound<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl SecretDiscoveryService for Sds {
    type StreamSecretsStream = ReceiverStream<Result<DiscoveryResponse, Status>>;
    type DeltaSecretsStream = Outbound<DeltaDiscoveryResponse>;

    async fn stream_secrets(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamSecretsStream>, Status> {
        let peer = request
            .extensions()
            .get::<Peer>()
            .cloned()
            .ok_or_else(|| Status::internal("the connection has no attested process"))?;
        let (sender, receiver) = mpsc::channel(1);
        let conversation = Conversation {
            peer,
            world: self.world.clone(),
            present: self.world.follow(),
            inbound: request.into_inner(),
            subscription: Subscription::default(),
        };
        let stop = self.stop.clone();
        tokio::spawn(async move {
            let ended = tokio::select! {
                ended = conversation.run(&sender) => ended,
                () = stop.cancelled() => Err(Status::unavailable("the agent is stopping")),
            };
            if let Err(status) = ended {
                // Nobody is left to tell when the receiver is gone.
                drop(sender.send(Err(status)).await);
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn delta_secrets(
        &self,
        _request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaSecretsStream>, Status> {
        Err(Status::unimplemented("only StreamSecrets is served"))
    }

    async fn fetch_secrets(
        &self,
        _request: Request<DiscoveryRequest>,
    ) -> Result<Response<DiscoveryResponse>, Status> {
        Err(Status::unimplemented("only StreamSecrets is served"))
    }
}

/// One stream.
struct Conversation {
    peer: Peer,
    world: World,
    present: watch::Receiver<Snapshot>,
    inbound: Streaming<DiscoveryRequest>,
    subscription: Subscription,
}

impl Conversation {
    /// Answers until Envoy closes its side; an error closes ours with it.
    async fn run(
        mut self,
        outbound: &mpsc::Sender<Result<DiscoveryResponse, Status>>,
    ) -> Result<(), Status> {
        loop {
            tokio::select! {
                request = self.inbound.message() => match request? {
                    Some(request) => self.hear(&request)?,
                    None => return Ok(()),
                },
                changed = self.present.changed() => {
                    if changed.is_err() {
                        return Err(Status::unavailable("the agent is stopping"));
                    }
                }
            }
            if let Some(response) = self.respond().await? {
                debug!(
                    pid = self.peer.pid(),
                    version = response.version_info,
                    nonce = response.nonce,
                    "secrets sent"
                );
                if outbound.send(Ok(response)).await.is_err() {
                    return Ok(());
                }
            }
        }
    }

    fn hear(&mut self, request: &DiscoveryRequest) -> Result<(), Status> {
        let heard = self
            .subscription
            .hear(request)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let pid = self.peer.pid();
        match heard {
            Heard::Subscribed => {
                info!(pid, names = ?request.resource_names, "secrets subscribed");
            }
            Heard::Accepted => {
                debug!(pid, version = request.version_info, "secrets accepted");
            }
            Heard::Rejected { message, keeps } => {
                let names = request.resource_names.clone();
                warn!(pid, message, keeps, ?names, "secrets rejected");
                let rejection = Rejection {
                    at: clock::now(),
                    pid,
                    names,
                    message,
                };
                self.world
                    .change(|world| world.rejection = Some(Arc::new(rejection)));
            }
            Heard::Outdated => debug!(pid, nonce = request.response_nonce, "outdated answer"),
        }
        Ok(())
    }

    async fn respond(&mut self) -> Result<Option<DiscoveryResponse>, Status> {
        if !self.peer.is_alive() {
            return Err(Status::permission_denied(
                "the process that opened this connection has exited",
            ));
        }
        let snapshot = self.present.borrow_and_update().clone();
        // Before the entries are known nobody can be told what they may have.
        let Some(entries) = &snapshot.entries else {
            return Ok(None);
        };
        let facts = self.peer.facts(entries.need_digest()).await;
        let permitted: BTreeSet<SpiffeId> = entries.permitted(&facts);
        let now = clock::now();
        self.subscription
            .respond(|name| resolve(name, &snapshot, &permitted, now))
            .map_err(|refusal| {
                warn!(
                    pid = self.peer.pid(),
                    uid = facts.uid,
                    name = refusal.name,
                    why = %refusal.why,
                    "secret refused"
                );
                Status::invalid_argument(refusal.to_string())
            })
    }
}
