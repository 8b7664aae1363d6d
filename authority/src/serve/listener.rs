//! Accepts TCP connections and does their TLS handshakes, none waiting for another.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::serve::peer::TlsConnection;

/// Connections with TLS done, until `stopping`.
pub(crate) fn accept(
    listener: TcpListener,
    config: ServerConfig,
    stopping: CancellationToken,
) -> ReceiverStream<Result<TlsConnection, io::Error>> {
    let (sender, receiver) = mpsc::channel(ACCEPTED);
    tokio::spawn(run(
        listener,
        TlsAcceptor::from(Arc::new(config)),
        sender,
        stopping,
    ));
    ReceiverStream::new(receiver)
}

async fn run(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    sender: mpsc::Sender<Result<TlsConnection, io::Error>>,
    stopping: CancellationToken,
) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let permit = tokio::select! {
            () = stopping.cancelled() => return,
            permit = Arc::clone(&handshakes).acquire_owned() => permit,
        };
        let accepted = tokio::select! {
            () = stopping.cancelled() => return,
            () = sender.closed() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let (acceptor, sender) = (acceptor.clone(), sender.clone());
                tokio::spawn(async move {
                    match handshake(acceptor, stream).await {
                        // Nobody listening any more: the authority is stopping.
                        Ok(connection) => drop(sender.send(Ok(connection)).await),
                        Err(error) => tracing::debug!(%error, %address, "no TLS"),
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                // Out of file descriptors, mostly: waiting is all that helps.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn handshake(acceptor: TlsAcceptor, stream: TcpStream) -> io::Result<TlsConnection> {
    stream.set_nodelay(true)?;
    tokio::time::timeout(PATIENCE, acceptor.accept(stream))
        .await
        .map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Handshakes at a time; each costs a signature and a verification.
const HANDSHAKES: usize = 512;
/// Finished connections that wait to be served.
const ACCEPTED: usize = 64;
/// A client that takes longer for its handshake is let go.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);
