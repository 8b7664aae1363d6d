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
use crate::serve::strangers::{Ending, Strangers};
use crate::serve::tls::OurCertificates;

/// Connections with TLS done, until `stopping`. Whoever `ours` does not vouch for is a stranger.
pub(crate) fn accept(
    listener: TcpListener,
    config: ServerConfig,
    ours: OurCertificates,
    stopping: CancellationToken,
) -> ReceiverStream<Result<TlsConnection, io::Error>> {
    let (sender, receiver) = mpsc::channel(ACCEPTED);
    tokio::spawn(run(
        listener,
        TlsAcceptor::from(Arc::new(config)),
        ours,
        sender,
        stopping,
    ));
    ReceiverStream::new(receiver)
}

async fn run(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    ours: OurCertificates,
    sender: mpsc::Sender<Result<TlsConnection, io::Error>>,
    stopping: CancellationToken,
) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    let strangers = Strangers::new(STRANGERS);
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
                let (strangers, ours) = (strangers.clone(), ours.clone());
                tokio::spawn(async move {
                    match handshake(acceptor, stream, &ours, &strangers).await {
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

async fn handshake(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    ours: &OurCertificates,
    strangers: &Strangers,
) -> io::Result<TlsConnection> {
    stream.set_nodelay(true)?;
    let stream = tokio::time::timeout(PATIENCE, acceptor.accept(stream))
        .await
        .map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))??;
    let (_, session) = stream.get_ref();
    Ok(match session.peer_certificates() {
        Some(chain) if ours.vouch_for(chain) => Ending::never(stream),
        _ => strangers.admit(stream),
    })
}

/// Handshakes at a time; each costs a signature and a verification. Together with the strangers
/// they stay well below the 1,024 file descriptors a process has by default.
const HANDSHAKES: usize = 384;
/// Connections without a client certificate.
const STRANGERS: usize = 384;
/// Finished connections that wait to be served.
const ACCEPTED: usize = 64;
/// A client that takes longer for its handshake is let go.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);
