//! Puts the parts together, starts them and stops them.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::agent::BundleSnapshot;
use api::agent::agent_service_server::AgentServiceServer;
use api::istio::istio_certificate_service_server::IstioCertificateServiceServer;
use identity::chain;
use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::Server;
use tonic_health::pb::health_server::{Health, HealthServer};

pub use self::error::ServeError;
pub(crate) use self::parts::Parts;
use self::serving::Listeners;
use crate::audit::key::LogPublicKey;
use crate::bundles::Bundles;
use crate::ca::keeper::{CaReport, Keeper};
use crate::data_dir::DataDir;
use crate::inventory::{Inventory, InventoryError, WriterTask};
use crate::issue::Issuance;
use crate::metrics;
use crate::proof::foreign::ForeignCas;
use crate::revoke::{ListKeyError, ListKeys, Publisher};
use crate::rules_file::RulesWatch;
use crate::serve::admin::AdminApi;
use crate::serve::admin_listener::{self, AdminServices};
use crate::serve::admin_socket;
use crate::serve::agents::{AgentApi, announce_issuers, announce_list_keys};
use crate::serve::attendance::Attendance;
use crate::serve::certificates::CertificateApi;
use crate::serve::front::Front;
use crate::serve::issuance::IssuanceApi;
use crate::serve::listener;
use crate::serve::own_certificate;
use crate::serve::peer::TlsConnection;
use crate::serve::record::RecordApi;
use crate::serve::reflection;
use crate::serve::tls::{self, ClientCertificate, ServingCertificate};
use crate::settings::{Settings, names};

mod error;
mod parts;
mod serving;

/// Where an authority listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ready {
    /// Address of the gRPC listener.
    pub address: SocketAddr,
    /// Path of the administration socket.
    pub admin_socket: PathBuf,
    /// Address of the administration over the network, if there is one.
    pub admin_address: Option<SocketAddr>,
    /// Address of metrics and readiness, if there is one.
    pub metrics_address: Option<SocketAddr>,
}

/// An authority that listens. Dropping it stops it at once; [`stop`](Self::stop) is gentler.
#[derive(Debug)]
pub struct Running {
    ready: Ready,
    ca: watch::Receiver<Arc<CaReport>>,
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

    /// How the CA goes, and each change of that.
    #[must_use]
    pub fn ca(&self) -> watch::Receiver<Arc<CaReport>> {
        self.ca.clone()
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
            ca: _,
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
        ca,
    } = Parts::open(&settings).await?;
    let listener = bind(settings.listen)?;
    let address = listener.local_addr().map_err(|source| ServeError::Bind {
        address: settings.listen,
        source,
    })?;
    let admin_socket = data_dir.path().join(names::ADMIN_SOCKET);
    let admin_listener = admin_socket::bind(&admin_socket).await?;
    let beside = Listeners::bind(&settings)?;
    let ready = Ready {
        address,
        admin_socket,
        admin_address: serving::address_of(beside.admin.as_ref(), settings.admin.listen)?,
        metrics_address: serving::address_of(beside.metrics.as_ref(), settings.metrics.listen)?,
    };

    // Nobody waits for it: an issuer that is down must not keep others from being served.
    let (proofs, now) = (issuance.proofs().clone(), issuance.now());
    let warm_up = async move { proofs.warm_up(now).await };
    let publisher = start_publisher(&settings, &issuance).await?;
    let bundles = Arc::new(Bundles::start(issuance.clone(), Arc::clone(&publisher)).await?);
    let own = own_certificate::issue(&issuance).await?;
    let serving = Arc::new(ServingCertificate::new(own.key));
    let issuer = issuance.issuer();
    let root = issuer.root().der();
    let foreign = issuance.proofs().foreign();
    let client = ClientCertificate::Optional;
    let (tls, ours) = tls::server_config(root, foreign, Arc::clone(&serving), client)?;
    let doors = serving::doors(&settings, &issuance);
    let front = Front::new(&settings.limits, Arc::clone(issuance.telemetry()));
    let attendance = Attendance::default();
    let parts = (&attendance, &front, &doors.peers);
    let health = serving::health(&settings, &issuance, &publisher, &serving, parts);
    let health = Arc::new(health);

    let keeper = Keeper::new(
        issuance.clone(),
        settings.path(names::CA_DIR),
        settings.ca.clone(),
        ca,
    );
    let ca_report = keeper.watch();

    let stopping = CancellationToken::new();
    tokio::spawn(stopping.clone().run_until_cancelled_owned(warm_up));
    let (entries, _) = watch::channel(0);
    let agents = agent_api(
        &settings,
        &issuance,
        (&publisher, &bundles),
        entries.subscribe(),
        (&stopping, &attendance, &front),
    );
    let admin = AdminApi {
        bundle: agents.bundle.clone(),
        issuance: issuance.clone(),
        publisher: Arc::clone(&publisher),
        bundles: Arc::clone(&bundles),
        ca: ca_report.clone(),
        entries,
        listen_address: address.to_string(),
        admin_socket: ready.admin_socket.clone(),
        health: Arc::clone(&health),
    };
    let record = RecordApi {
        issuance: issuance.clone(),
        log_key: LogPublicKey::read(&settings.path(names::AUDIT_PUBLIC_KEY))
            .map_err(InventoryError::from)?,
    };
    let admin = AdminServices {
        admin,
        issuance: IssuanceApi::new(issuance.clone()),
        record,
    };
    let inventory = issuance.inventory().clone();
    let connections = listener::accept(listener, (tls, ours), doors.clone(), stopping.clone());
    let certificates = CertificateApi::new(issuance.clone(), front);
    let period = Duration::from_secs(settings.deny_list_period_seconds);
    let bundle = agents.bundle.clone();
    let agents_bundle = agents.bundle.clone();

    let mut tasks = JoinSet::new();
    let (reporter, health_service) = tonic_health::server::health_reporter();
    tasks.spawn(serve_grpc(
        connections,
        (certificates, agents),
        health_service,
        stopping.clone(),
    ));
    tasks.spawn(until(
        stopping.clone(),
        "health",
        serving::watch_health(Arc::clone(&health), reporter),
    ));
    if let Some(listener) = beside.metrics {
        let health = Arc::clone(&health);
        tasks.spawn(metrics::listener::serve(listener, health, stopping.clone()));
    }
    if let Some(listener) = beside.admin {
        // Only our own certificates administrate.
        let nobody = ForeignCas::default();
        let client = ClientCertificate::Required;
        let tls = tls::server_config(root, &nobody, Arc::clone(&serving), client)?;
        let doors = serving::admin_doors(&doors);
        let connections = listener::accept(listener, tls, doors, stopping.clone());
        let (api, roles) = (admin.clone(), settings.admin.clone());
        let served =
            admin_listener::serve(connections, api, roles, MAX_ADMIN_BYTES, stopping.clone());
        tasks.spawn(served);
    }
    tasks.spawn(serve_admin(admin_listener, admin, stopping.clone()));
    if let Some(path) = settings.issuance.policy_file.clone() {
        let watch = RulesWatch::new(path, issuance.policy().rules().clone());
        let period = Duration::from_secs(settings.issuance.poll_seconds);
        tasks.spawn(until(stopping.clone(), "issuance rules", watch.run(period)));
    }
    tasks.spawn(until(stopping.clone(), "deny list", async move {
        let announce = || announce_list_keys(&bundle, &publisher);
        publisher.run(period, announce).await;
    }));
    let issuers = agents_bundle;
    tasks.spawn(until(stopping.clone(), "CA", async move {
        keeper.run(|pems| announce_issuers(&issuers, pems)).await;
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
        ca: ca_report,
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

fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    listen(address).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ServeError::AddressInUse { address },
        _ => ServeError::Bind { address, source },
    })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // As TcpListener::bind does: the port of an authority that has just ended is free.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
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
    (stopping, attendance, front): (&CancellationToken, &Attendance, &Front),
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
        attendance: attendance.clone(),
        front: front.clone(),
    }
}

/// Serves agents and workloads.
async fn serve_grpc(
    connections: ReceiverStream<Result<TlsConnection, io::Error>>,
    (certificates, agents): (CertificateApi, AgentApi),
    health_service: HealthServer<impl Health>,
    stopping: CancellationToken,
) -> &'static str {
    let (v1, v1alpha) = reflection::services(&reflection::PUBLIC)
        .inspect_err(|error| tracing::warn!(%error, "no reflection"))
        .ok()
        .unzip();
    let served = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .max_concurrent_streams(MAX_STREAMS)
        .add_service(health_service)
        .add_optional_service(v1)
        .add_optional_service(v1alpha)
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
    services: AdminServices,
    stopping: CancellationToken,
) -> &'static str {
    let served = Server::builder()
        .add_routes(services.routes(MAX_ADMIN_BYTES))
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
/// Connections that wait to be accepted, as far as the system (somaxconn) lets us: of a storm, whoever
/// finds no place tries again after a second, then three, then seven.
const BACKLOG: u32 = 16_384;
/// Finds connections whose other end is gone.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Requests at a time on one connection.
const MAX_STREAMS: u32 = 1024;
/// Largest request read of an operator: the policies of the longest bundle.
const MAX_ADMIN_BYTES: usize = identity::policy_bundle::MAX_BODY_BYTES + 64 * 1024;
/// Largest request read; twice the largest CSR, and more than any of our messages.
const MAX_REQUEST_BYTES: usize = 64 * 1024;
