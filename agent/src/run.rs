//! The agent as a whole.

use std::{future::Future, path::PathBuf};

use envoy_types::pb::envoy::service::secret::v3::secret_discovery_service_server::SecretDiscoveryServiceServer;
use identity::SpiffeId;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tracing::info;

use crate::{
    data_dir::{DataDir, DataDirError},
    enrol::{EnrolError, enrol},
    http,
    link::{Link, LinkError},
    sds::service::Sds,
    settings::Settings,
    socket::{Socket, SocketError},
    upkeep::{Office, Subject, supervise},
    watch,
    world::World,
};

/// Tells that the agent is in service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ready {
    /// The socket it serves.
    pub socket: PathBuf,
    /// Its own identity.
    pub spiffe_id: SpiffeId,
}

/// Runs an agent until `shutdown` completes: joins or renews, serves the socket, renews.
///
/// `on_ready` is called once, when the agent has its own certificate and its registration entries.
/// The socket answers before that, but gives no secrets yet. An authority that cannot be reached is
/// waited for.
///
/// # Errors
/// [`RunError`] for what waiting does not mend: bad settings, files that cannot be used, a socket
/// in use, an authority that refuses or is not trusted.
pub async fn run(
    settings: Settings,
    on_ready: impl FnOnce(&Ready) + Send,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), RunError> {
    let link = Link::new(
        &settings.authority,
        &settings.authority_name,
        &settings.bundle,
    )?;
    let data_dir = DataDir::open_once_free(&settings.data_dir).await?;
    let socket = Socket::bind(&settings.socket).await?;
    info!(
        socket = %settings.socket.display(),
        authority = link.address(),
        "agent starting"
    );
    let world = World::default();
    let stop = CancellationToken::new();
    // Whatever way this function ends, the server stops with it.
    let _stop_on_exit = stop.clone().drop_guard();
    let sds = Routes::new(SecretDiscoveryServiceServer::new(Sds::new(
        world.clone(),
        stop.clone(),
    )));
    let router = sds.into_axum_router().merge(http::routes(world.clone()));
    let server = tokio::spawn(socket.serve(router, stop.clone()));

    let ended = tokio::select! {
        ended = work(settings, link, data_dir, world, on_ready) => ended,
        () = shutdown => Ok(()),
    };
    stop.cancel();
    server.await.map_err(|source| RunError::Server { source })?;
    info!("agent stopped");
    ended
}

/// Everything but the socket. Returns only with an error.
async fn work(
    settings: Settings,
    link: Link,
    data_dir: DataDir,
    world: World,
    on_ready: impl FnOnce(&Ready),
) -> Result<(), RunError> {
    let own = enrol(&settings, &link, &data_dir).await?;
    let spiffe_id = own.id().clone();
    let kind = (settings.key_algorithm, settings.svid_profile);
    let office = Office::open(world.clone(), link, data_dir, kind, own)?;

    let mut tasks = JoinSet::new();
    let trust_domain = || spiffe_id.trust_domain().clone();
    tasks.spawn(watch::entries(
        office.channels(),
        world.clone(),
        trust_domain(),
    ));
    tasks.spawn(watch::bundle(
        office.channels(),
        world.clone(),
        trust_domain(),
    ));
    tasks.spawn(watch::deny_list(office.channels(), world.clone()));
    tasks.spawn(watch::policy_bundles(office.channels(), world.clone()));
    tasks.spawn(supervise(office.clone()));
    let subject = Subject::Own(spiffe_id.clone());
    tasks.spawn(async move { office.maintain(subject).await });

    let mut present = world.follow();
    let entries_known = present.wait_for(|world| world.entries.is_some());
    if entries_known.await.is_ok() {
        on_ready(&Ready {
            socket: settings.socket,
            spiffe_id,
        });
    }
    // None of the tasks ends by itself.
    match tasks.join_next().await {
        Some(Err(source)) => Err(RunError::Server { source }),
        Some(Ok(())) | None => Ok(()),
    }
}

/// Why an agent does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The authority cannot be called with these settings.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The data folder cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The socket cannot be bound.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The agent got no certificate of its own.
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    /// A part of the agent broke: a defect.
    #[error("a part of the agent stopped; this is a defect")]
    Server {
        /// Which way it stopped.
        #[source]
        source: tokio::task::JoinError,
    },
}
