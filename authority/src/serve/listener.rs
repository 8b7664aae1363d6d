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

use crate::limits::peers::{Peers, Slot, TooMany};
use crate::metrics::Telemetry;
use crate::serve::peer::TlsConnection;
use crate::serve::strangers::{Ending, Strangers};
use crate::serve::tls::OurCertificates;

/// Who is let in; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Doors {
    /// Connections by address.
    pub(crate) peers: Peers,
    /// Connections without a client certificate, at most.
    pub(crate) strangers: usize,
    /// Counts who is not let in.
    pub(crate) telemetry: Arc<Telemetry>,
}

/// Connections with TLS done, until `stopping`. Whoever the second part of `tls` does not vouch for is a
/// stranger.
pub(crate) fn accept(
    listener: TcpListener,
    (config, ours): (ServerConfig, OurCertificates),
    doors: Doors,
    stopping: CancellationToken,
) -> ReceiverStream<Result<TlsConnection, io::Error>> {
    let (sender, receiver) = mpsc::channel(ACCEPTED);
    tokio::spawn(run(
        listener,
        TlsAcceptor::from(Arc::new(config)),
        (doors, ours),
        sender,
        stopping,
    ));
    ReceiverStream::new(receiver)
}

async fn run(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    (doors, ours): (Doors, OurCertificates),
    sender: mpsc::Sender<Result<TlsConnection, io::Error>>,
    stopping: CancellationToken,
) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    let strangers = Strangers::new(doors.strangers);
    loop {
        let accepted = tokio::select! {
            () = stopping.cancelled() => return,
            () = sender.closed() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let slot = match doors.peers.admit(address.ip()) {
                    Ok(slot) => slot,
                    Err(error) => {
                        turn_away(&doors, address, error);
                        continue;
                    }
                };
                let (acceptor, sender) = (acceptor.clone(), sender.clone());
                let (strangers, ours) = (strangers.clone(), ours.clone());
                let handshakes = Arc::clone(&handshakes);
                tokio::spawn(async move {
                    // Who says nothing takes no place of those who do.
                    let spoke = tokio::time::timeout(PATIENCE, stream.readable()).await;
                    let Ok(Ok(())) = spoke else { return };
                    let Ok(permit) = handshakes.acquire_owned().await else {
                        return;
                    };
                    match handshake(acceptor, stream, &ours, &strangers, slot).await {
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
    slot: Slot,
) -> io::Result<TlsConnection> {
    stream.set_nodelay(true)?;
    let stream = tokio::time::timeout(PATIENCE, acceptor.accept(stream))
        .await
        .map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))??;
    let (_, session) = stream.get_ref();
    Ok(match session.peer_certificates() {
        Some(chain) if ours.vouch_for(chain) => Ending::never(stream, slot),
        _ => strangers.admit(stream, slot),
    })
}

/// Closes a connection that came in beyond a bound, before any handshake.
fn turn_away(doors: &Doors, address: std::net::SocketAddr, error: TooMany) {
    let code = match error {
        TooMany::Connections { .. } => "connections",
        TooMany::FromPeer { .. } => "connections_from_peer",
    };
    doors.telemetry.turned_away(code);
    tracing::debug!(%error, %address, "turned away");
}

/// Handshakes at a time; each costs a signature and a verification.
const HANDSHAKES: usize = 384;
/// Finished connections that wait to be served.
const ACCEPTED: usize = 64;
/// A client that takes longer for its handshake is let go.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);
