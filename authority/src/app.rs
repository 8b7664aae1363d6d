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
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use crate::ca::{self, CaError, CaInit, CertificateAuthority, files};
use crate::data_dir::{DataDir, DataDirError};
use crate::inventory::{Inventory, InventoryError, WriterTask};
use crate::issue::{Issuance, IssuancePolicy, Issuer, ServerNames};
use crate::revoke::{ListKeyError, ListSigner, PublishError, Publisher};
use crate::serve::admin::AdminApi;
use crate::serve::admin_socket::{self, AdminSocketError};
use crate::serve::agents::AgentApi;
use crate::serve::certificates::CertificateApi;
use crate::serve::listener;
use crate::serve::own_certificate::{self, OwnCertificateError};
use crate::serve::tls::{self, ServingCertificate, TlsError};
use crate::settings::{Settings, SettingsError, names};

/// Where an authority listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ready {
    /// Address of the gRPC listener.
    pub address: SocketAddr,
    /// Path of the administration socket.
    pub admin_socket: PathBuf,
}

/// Why an authority does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// A setting cannot be.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The data folder cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// There is no CA to work with.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// The record cannot be used.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
    /// There is no key for the deny list.
    #[error(transparent)]
    ListKey(#[from] ListKeyError),
    /// The first deny list cannot be signed.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// Somebody else listens on the address.
    #[error("the address {address} is in use by another process")]
    AddressInUse {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// There is no certificate to serve with.
    #[error(transparent)]
    OwnCertificate(#[from] OwnCertificateError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// There is no administration socket.
    #[error(transparent)]
    AdminSocket(#[from] AdminSocketError),
    /// A part stopped by itself.
    #[error("the {part} stopped by itself")]
    Stopped {
        /// Which one.
        part: &'static str,
    },
}

/// What issuing needs, without listeners.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) issuance: Issuance,
    writer: WriterTask,
    data_dir: DataDir,
}

impl Parts {
    /// Opens the data folder, making in it what is not there.
    pub(crate) async fn open(settings: &Settings) -> Result<Self, ServeError> {
        settings.check()?;
        let data_dir = DataDir::open(&settings.data_dir)?;
        let authority = open_ca(settings)?;
        let (inventory, writer) = Inventory::open(
            &settings.path(names::DATABASE),
            settings.trust_domain.as_str(),
        )
        .await?;
        let now = settings.clock.now();
        inventory.record_issuer(authority.root.clone(), now).await?;
        inventory
            .record_issuer(authority.intermediate.clone(), now)
            .await?;
        let authority_id = settings.authority_id().ok_or_else(|| SettingsError {
            setting: "the trust domain",
            found: settings.trust_domain.to_string(),
            expected: "one short enough for SPIFFE IDs in it",
        })?;
        let policy = IssuancePolicy::new(
            settings.trust_domain.clone(),
            authority_id,
            settings.lifetimes(),
            server_names(settings.listen),
        );
        let clock = Arc::clone(&settings.clock);
        let issuance = Issuance::new(policy, Issuer::new(authority), inventory, clock);
        Ok(Self {
            issuance,
            writer,
            data_dir,
        })
    }
}

fn open_ca(settings: &Settings) -> Result<CertificateAuthority, ServeError> {
    let dir = settings.path(names::CA_DIR);
    let wanted = CaInit {
        trust_domain: settings.trust_domain.clone(),
        key_algorithm: settings.key_algorithm,
        generation: 1,
        now: settings.clock.now(),
    };
    if ca::init(&dir, &wanted)? == ca::Created::Made {
        tracing::info!(path = %dir.display(), "made a new root and intermediate");
    }
    let authority = ca::load(&dir, settings.clock.now())?;
    let bundle = settings.path(names::BUNDLE);
    files::replace_public(&bundle, authority.root.pem().as_bytes()).map_err(|source| {
        CaError::Io {
            action: "write",
            path: bundle,
            source,
        }
    })?;
    Ok(authority)
}

/// Names clients reach the authority by.
fn server_names(listen: SocketAddr) -> ServerNames {
    let mut ip = vec![listen.ip()];
    if listen.ip().is_unspecified() {
        ip = vec![
            std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::Ipv6Addr::LOCALHOST.into(),
        ];
    }
    ServerNames {
        dns: vec!["localhost".to_owned(), "countersign-authority".to_owned()],
        ip,
    }
}

/// An authority that listens. Dropping it stops it at once; [`stop`](Self::stop) is gentler.
#[derive(Debug)]
pub struct Running {
    ready: Ready,
    stopping: CancellationToken,
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
        let part = match self.tasks.join_next().await {
            Some(Ok(part)) => part,
            _ => "authority",
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
        stopping.cancel();
        let finished = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, finished).await.is_err() {
            tracing::warn!("requests were cut off");
        }
        tasks.shutdown().await;
        std::fs::remove_file(&ready.admin_socket).ok();
        inventory.close_readers().await;
        drop(inventory);
        // The writer ends when its last handle is gone; connections may hold one a little longer.
        if tokio::time::timeout(GRACE, writer).await.is_err() {
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

    let signer = ListSigner::open(&settings.path(names::DENY_LIST_KEY))?;
    let publisher = Publisher::start(
        signer,
        issuance.inventory().clone(),
        Arc::clone(&settings.clock),
        settings.deny_list_life_seconds,
    )
    .await?;
    let publisher = Arc::new(publisher);

    let own = own_certificate::issue(&issuance).await?;
    let serving = Arc::new(ServingCertificate::new(own.key));
    let tls = tls::server_config(issuance.issuer().root().der(), Arc::clone(&serving))?;

    let stopping = CancellationToken::new();
    let (entries, _) = watch::channel(0);
    let agents = agent_api(
        &settings,
        &issuance,
        &publisher,
        entries.subscribe(),
        &stopping,
    );
    let ready = Ready {
        address,
        admin_socket: admin_socket.clone(),
    };
    let inventory = issuance.inventory().clone();

    let mut tasks = JoinSet::new();
    let connections = listener::accept(listener, tls, stopping.clone());
    let (certificates, stop) = (CertificateApi::new(issuance.clone()), stopping.clone());
    tasks.spawn(async move {
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
            .add_service(
                AgentServiceServer::new(agents).max_decoding_message_size(MAX_REQUEST_BYTES),
            )
            .serve_with_incoming_shutdown(connections, stop.cancelled_owned())
            .await;
        log_end("gRPC listener", served)
    });
    let admin = AdminApi {
        issuance: issuance.clone(),
        publisher: Arc::clone(&publisher),
        entries,
        listen_address: address.to_string(),
        admin_socket,
    };
    tasks.spawn(serve_admin(admin_listener, admin, stopping.clone()));
    let (period, stop) = (settings.deny_list_period_seconds, stopping.clone());
    tasks.spawn(async move {
        let signing = publisher.run(Duration::from_secs(period));
        stop.run_until_cancelled(signing).await;
        "deny list"
    });
    let stop = stopping.clone();
    tasks.spawn(async move {
        let renewing = own_certificate::renew(issuance, serving, own.not_after);
        stop.run_until_cancelled(renewing).await;
        "renewal of the serving certificate"
    });
    tracing::info!(%address, admin = %ready.admin_socket.display(), "listening");
    Ok(Running {
        ready,
        stopping,
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

fn agent_api(
    settings: &Settings,
    issuance: &Issuance,
    publisher: &Publisher,
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
        bundle: watch::channel(Arc::new(bundle)).0,
        stopping: stopping.clone(),
        clock: Arc::clone(&settings.clock),
    }
}

async fn serve_admin(
    listener: UnixListener,
    api: AdminApi,
    stopping: CancellationToken,
) -> &'static str {
    let served = Server::builder()
        .add_service(AdminServiceServer::new(api).max_decoding_message_size(MAX_REQUEST_BYTES))
        .serve_with_incoming_shutdown(
            UnixListenerStream::new(listener),
            stopping.cancelled_owned(),
        )
        .await;
    log_end("administration socket", served)
}

fn log_end(part: &'static str, served: Result<(), tonic::transport::Error>) -> &'static str {
    if let Err(error) = served {
        tracing::error!(error = &error as &dyn std::error::Error, part, "stopped");
    }
    part
}

/// How long requests may take to finish when the authority stops.
const GRACE: Duration = Duration::from_secs(5);
/// Finds connections whose other end is gone.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Requests at a time on one connection.
const MAX_STREAMS: u32 = 1024;
/// Largest request read; twice the largest CSR, and more than any of our messages.
const MAX_REQUEST_BYTES: usize = 64 * 1024;
