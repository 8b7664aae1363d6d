//! The authority's admin API: over its Unix socket, or over the network with an operator's or viewer's
//! certificate.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use api::admin::admin_service_client::AdminServiceClient;
use api::issuance::issuance_service_client::IssuanceServiceClient;
use api::record::record_service_client::RecordServiceClient;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Uri};
use tower::service_fn;

use crate::args::AdminArgs;
use crate::failure::Failure;

/// A client of the admin API.
pub(crate) type Admin = AdminServiceClient<Channel>;

/// A call that takes longer than this is given up.
const CALL_LIMIT: Duration = Duration::from_secs(10);

/// 10,000 certificates, the longest listing, each with the longest identity and reason.
const LARGEST_ANSWER: usize = 64 << 20;

/// Where the authority's administration is.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// Its Unix socket.
    Socket(PathBuf),
    /// An address, and what it takes to be let in.
    Network(Network),
}

/// Mutual TLS.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    /// `host:port`.
    server: String,
    /// The DNS name in its certificate.
    name: String,
    certificate: PathBuf,
    key: PathBuf,
    roots: PathBuf,
}

impl From<&Path> for Target {
    fn from(socket: &Path) -> Self {
        Self::Socket(socket.to_owned())
    }
}

impl From<&PathBuf> for Target {
    fn from(socket: &PathBuf) -> Self {
        Self::Socket(socket.clone())
    }
}

impl From<&AdminArgs> for Target {
    fn from(args: &AdminArgs) -> Self {
        // clap gives all four or none.
        match (&args.server, &args.cert, &args.key, &args.ca) {
            (Some(server), Some(certificate), Some(key), Some(roots)) => Self::Network(Network {
                server: server.clone(),
                name: args.server_name.clone(),
                certificate: certificate.clone(),
                key: key.clone(),
                roots: roots.clone(),
            }),
            _ => Self::Socket(args.admin.clone()),
        }
    }
}

/// Connects to the authority's administration.
pub(crate) async fn connect(target: impl Into<Target>) -> Result<Admin, Failure> {
    let channel = channel(&target.into()).await?;
    Ok(AdminServiceClient::new(channel).max_decoding_message_size(LARGEST_ANSWER))
}

/// A connection to the authority's administration, for whatever service.
pub(crate) async fn channel(target: &Target) -> Result<Channel, Failure> {
    match target {
        Target::Socket(path) => over_socket(path).await,
        Target::Network(network) => network.connect().await,
    }
}

/// The issuance rules of an authority.
pub(crate) async fn issuance(
    target: impl Into<Target>,
) -> Result<IssuanceServiceClient<Channel>, Failure> {
    let channel = channel(&target.into()).await?;
    Ok(IssuanceServiceClient::new(channel).max_decoding_message_size(LARGEST_ANSWER))
}

/// The record of an authority.
pub(crate) async fn record(
    target: impl Into<Target>,
) -> Result<RecordServiceClient<Channel>, Failure> {
    let channel = channel(&target.into()).await?;
    Ok(RecordServiceClient::new(channel).max_decoding_message_size(LARGEST_ANSWER))
}

async fn over_socket(socket: &Path) -> Result<Channel, Failure> {
    let path: PathBuf = socket.to_owned();
    // The address is never used: the connector below opens the socket.
    Endpoint::from_static("http://admin.invalid")
        .timeout(CALL_LIMIT)
        .connect_with_connector(service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        }))
        .await
        .map_err(|source| Failure::NoAuthority {
            socket: socket.to_owned(),
            source,
        })
}

impl Network {
    async fn connect(&self) -> Result<Channel, Failure> {
        let read =
            |path: &PathBuf| fs::read(path).map_err(|error| Failure::file("read", path, error));
        let failed = |error| {
            Failure::part(
                format!("the authority's administration at {}", self.server),
                error,
            )
        };
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(read(&self.roots)?))
            .identity(Identity::from_pem(
                read(&self.certificate)?,
                read(&self.key)?,
            ))
            .domain_name(&self.name);
        let endpoint = Endpoint::from_shared(format!("https://{}", self.server))
            .and_then(|endpoint| endpoint.timeout(CALL_LIMIT).tls_config(tls))
            .map_err(&failed)?;
        endpoint.connect().await.map_err(&failed)
    }
}
