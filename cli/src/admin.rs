//! The authority's admin API over its Unix socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use api::admin::admin_service_client::AdminServiceClient;
use api::record::record_service_client::RecordServiceClient;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use crate::failure::Failure;

/// A client of the admin API.
pub(crate) type Admin = AdminServiceClient<Channel>;

/// A call that takes longer than this is given up.
const CALL_LIMIT: Duration = Duration::from_secs(10);

/// 10,000 certificates, the longest listing, each with the longest identity and reason.
const LARGEST_ANSWER: usize = 64 << 20;

/// Connects to the authority that listens on `socket`.
pub(crate) async fn connect(socket: &Path) -> Result<Admin, Failure> {
    let channel = channel(socket).await?;
    Ok(AdminServiceClient::new(channel).max_decoding_message_size(LARGEST_ANSWER))
}

/// Connects to the record of the authority that listens on `socket`.
pub(crate) async fn record(socket: &Path) -> Result<RecordServiceClient<Channel>, Failure> {
    let channel = channel(socket).await?;
    Ok(RecordServiceClient::new(channel).max_decoding_message_size(LARGEST_ANSWER))
}

async fn channel(socket: &Path) -> Result<Channel, Failure> {
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
