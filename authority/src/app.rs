//! Puts the parts together, starts them and stops them.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::admin::admin_service_server::AdminServiceServer;
use api::agent::BundleSnapshot;
use api::agent::agent_service_server::AgentServiceServer;
use api::istio::istio_certificate_service_server::IstioCertificateServiceServer;
use api::record::record_service_server::RecordServiceServer;
use identity::chain;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::Server;

pub use self::error::ServeError;
pub(crate) use self::parts::Parts;
use crate::audit::key::LogPublicKey;
use crate::bundles::Bundles;
use crate::data_dir::DataDir;
use crate::inventory::{Inventory, InventoryError, WriterTask};
use crate::issue::Issuance;
use crate::revoke::{ListKeyError, ListKeys, Publisher};
use crate::serve::admin::AdminApi;
use crate::serve::admin_socket;
use crate::serve::agents::{AgentApi, announce_list_keys};
use crate::serve::certificates::CertificateApi;
use crate::serve::listener;
use crate::serve::own_certificate;
use crate::serve::peer::TlsConnection;
use crate::serve::record::RecordApi;
use crate::serve::tls::{self, ServingCertificate};
use crate::settings::{Settings, names};

mod error;
mod parts;

/// Where an authority listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ready {
    /// Address of the gRPC listener.
    pub address: SocketAddr,
    /// Path of the administration socket.
    pub admin_socket: PathBuf,
}

/// An authority that listens. Dropping it stops it at once; [`stop`](Self::stop) is gentler.
#[derive(Debug)]
pub struct Running {
    ready: Ready,
    stopping: DropGuard,
    tasks: JoinSet<&'static str>,
    inventory: Inventory,
    writer: WriterTask,
    data_dir: DataDir,
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub const fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Waits until a part stops by itself, which it should not.
    pub async fn failed(&mut self) -> ServeError {
        let part = tokio::select! {
            stopped = self.tasks.join_next() => match stopped {
                Some(Ok(part)) => part,
                _ => "authority",
            },
            // Without it nothing could be issued or revoked any more.
            _ = &mut self.writer => "record",
        };
        ServeError::Stopped { part }
    }

    /// Ends streams, lets requests finish for a few seconds, closes the record.
    pub async fn stop(self) {
        let Self {
            stopping,
            mut tasks,
            inventory,
            writer,
            data_dir,
            ready,
        } = self;
        drop(stopping);
        let finished = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, finished).await.is_err() {
            tracing::warn!("requests were cut off");
        }
        tasks.shutdown().await;
        std::fs::remove_file(&ready.admin_socket).ok();
        inventory.close_readers().await;
        drop(inventory);
        // The writer ends when its last handle is gone; connections may hold one a little longer.
        if !writer.is_finished() && tokio::time::timeout(GRACE, writer).await.is_err() {
            tracing::warn!("the record was not closed in time; its log is replayed at next start");
        }
        drop(data_dir);
    }
}

/// Brings an authority up; returns once it listens.
///
/// # Errors
/// [`ServeError`], naming the file, folder or address at fault.
pub async fn start(settings: Settings) -> Result<Running, ServeError> {
    let Parts {
        issuance,
        writer,
        data_dir,
    } = Parts::open(&settings).await?;
    let listener = bind(settings.listen).await?;
    let address = listener.local_addr().map_err(|source| ServeError::Bind {
        address: settings.listen,
        source,
    })?;
    let admin_socket = data_dir.path().join(names::ADMIN_SOCKET);
    let admin_listener = admin_socket::bind(&admin_socket).await?;
    let ready = Ready {
        address,
        admin_socket,
    };

    let publisher = start_publisher(&settings, &issuance).await?;
    let bundles = Arc::new(Bundles::start(issuance.clone(), Arc::clone(&publisher)).await?);
    let own = own_certificate::issue(&issuance).await?;
    let serving = Arc::new(ServingCertificate::new(own.key));
    let tls = tls::server_config(issuance.issuer().root().der(), Arc::clone(&serving))?;

    let stopping = CancellationToken::new();
    let (entries, _) = watch::channel(0);
    let agents = agent_api(
        &settings,
        &issuance,
        (&publisher, &bundles),
        entries.subscribe(),
        &stopping,
    );
    let admin = AdminApi {
        bundle: agents.bundle.clone(),
        issuance: issuance.clone(),
        publisher: Arc::clone(&publisher),
        bundles: Arc::clone(&bundles),
        entries,
        listen_address: address.to_string(),
        admin_socket: ready.admin_socket.clone(),
    };
    let record = RecordApi {
        issuance: issuance.clone(),
        log_key: LogPublicKey::read(&settings.path(names::AUDIT_PUBLIC_KEY))
            .map_err(InventoryError::from)?,
    };
    let inventory = issuance.inventory().clone();
    let connections = listener::accept(listener, tls, stopping.clone());
    let certificates = CertificateApi::new(issuance.clone());
    let period = Duration::from_secs(settings.deny_list_period_seconds);
    let bundle = agents.bundle.clone();

    let mut tasks = JoinSet::new();
    tasks.spawn(serve_grpc(
        connections,
        certificates,
        agents,
        stopping.clone(),
    ));
    tasks.spawn(serve_admin(
        admin_listener,
        (admin, record),
        stopping.clone(),
    ));
    tasks.spawn(until(stopping.clone(), "deny list", async move {
        let announce = || announce_list_keys(&bundle, &publisher);
        publisher.run(period, announce).await;
    }));
    tasks.spawn(until(stopping.clone(), "policy bundles", async move {
        bundles.run().await;
    }));
    tasks.spawn(until(
        stopping.clone(),
        "renewal of the serving certificate",
        own_certificate::renew(issuance, serving, own.not_after),
    ));
    tracing::info!(%address, admin = %ready.admin_socket.display(), "listening");
    Ok(Running {
        ready,
        stopping: stopping.drop_guard(),
        tasks,
        inventory,
        writer,
        data_dir,
    })
}

/// Runs an authority until `shutdown` is done. `on_ready` is called once it listens.
///
/// # Errors
/// [`ServeError`] if it does not come up, or a part stops by itself.
pub async fn serve(
    settings: Settings,
    on_ready: impl FnOnce(&Ready),
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let mut running = start(settings).await?;
    on_ready(running.ready());
    let failure = tokio::select! {
        () = shutdown => None,
        failure = running.failed() => Some(failure),
    };
    running.stop().await;
    failure.map_or(Ok(()), Err)
}

async fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => ServeError::AddressInUse { address },
            _ => ServeError::Bind { address, source },
        })
}

async fn start_publisher(
    settings: &Settings,
    issuance: &Issuance,
) -> Result<Arc<Publisher>, ServeError> {
    let path = settings.path(names::DENY_LIST_KEY);
    // Filters pin this key: a new one in place of a lost one would turn every list away.
    let has_signed = issuance.inventory().has_signed_lists().await?;
    if has_signed && path.try_exists().is_ok_and(|there| !there) {
        return Err(ListKeyError::Missing { path }.into());
    }
    let keys = ListKeys::open(path, settings.path(names::DENY_LIST_NEXT_KEY))?;
    let life = settings.deny_list_life_seconds;
    let publisher = Publisher::start(keys, issuance.clone(), life);
    Ok(Arc::new(publisher.await?))
}

fn agent_api(
    settings: &Settings,
    issuance: &Issuance,
    (publisher, bundles): (&Publisher, &Bundles),
    entries: watch::Receiver<u64>,
    stopping: &CancellationToken,
) -> AgentApi {
    let bundle = BundleSnapshot {
        trust_domain: settings.trust_domain.as_str().to_owned(),
        root_pem: issuance.issuer().root().pem().to_owned(),
        issuer_pems: vec![issuance.issuer().certificate().pem().to_owned()],
        deny_list_key_pems: publisher.public_keys(),
    };
    AgentApi {
        issuance: issuance.clone(),
        entries,
        lists: publisher.watch(),
        policy_bundles: bundles.watch(),
        bundle: watch::channel(Arc::new(bundle)).0,
        stopping: stopping.clone(),
        clock: Arc::clone(&settings.clock),
    }
}

/// Serves agents and workloads.
async fn serve_grpc(
    connections: ReceiverStream<Result<TlsConnection, io::Error>>,
    certificates: CertificateApi,
    agents: AgentApi,
    stopping: CancellationToken,
) -> &'static str {
    let (health, health_service) = tonic_health::server::health_reporter();
    health
        .set_serving::<IstioCertificateServiceServer<CertificateApi>>()
        .await;
    health.set_serving::<AgentServiceServer<AgentApi>>().await;
    let served = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .max_concurrent_streams(MAX_STREAMS)
        .add_service(health_service)
        .add_service(
            IstioCertificateServiceServer::new(certificates)
                .max_decoding_message_size(MAX_REQUEST_BYTES),
        )
        .add_service(AgentServiceServer::new(agents).max_decoding_message_size(MAX_REQUEST_BYTES))
        .serve_with_incoming_shutdown(connections, stopping.cancelled_owned())
        .await;
    log_end("gRPC listener", served)
}

/// Runs `work` until `stopping`.
async fn until(
    stopping: CancellationToken,
    part: &'static str,
    work: impl Future<Output = ()> + Send,
) -> &'static str {
    stopping.run_until_cancelled(work).await;
    part
}

async fn serve_admin(
    listener: UnixListener,
    (api, record): (AdminApi, RecordApi),
    stopping: CancellationToken,
) -> &'static str {
    let served = Server::builder()
        .add_service(AdminServiceServer::new(api).max_decoding_message_size(MAX_ADMIN_BYTES))
        .add_service(RecordServiceServer::new(record))
        .serve_with_incoming_shutdown(
            UnixListenerStream::new(listener),
            stopping.cancelled_owned(),
        )
        .await;
    log_end("administration socket", served)
}

fn log_end(part: &'static str, served: Result<(), tonic::transport::Error>) -> &'static str {
    if let Err(error) = served {
        tracing::error!(error = chain(&error), part, "stopped");
    }
    part
}

/// How long requests may take to finish when the authority stops.
const GRACE: Duration = Duration::from_secs(5);
/// Finds connections whose other end is gone.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Requests at a time on one connection.
const MAX_STREAMS: u32 = 1024;
/// Largest request read of an operator: the policies of the longest bundle.
const MAX_ADMIN_BYTES: usize = identity::policy_bundle::MAX_BODY_BYTES + 64 * 1024;
/// Largest request read; twice the largest CSR, and more than any of our messages.
const MAX_REQUEST_BYTES: usize = 64 * 1024;
