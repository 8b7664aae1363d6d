//! A tiny TCP application to stand behind an Envoy, and a client that talks bytes.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::http::Tls;

/// What an application that speaks first says first.
pub const BANNER: &[u8] = b"220 this is for those who may read it\r\n";

/// A running application; dropping it ends it and its connections.
#[derive(Debug)]
pub struct TcpApp {
    address: SocketAddr,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Seen {
    accepted: AtomicU64,
    open: AtomicU64,
    received: Mutex<Vec<u8>>,
}

impl TcpApp {
    /// Listens on a free port of 127.0.0.1 and echoes; `greeting` is said to everybody who connects.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(greeting: &'static [u8]) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Seen::default());
        let task = tokio::spawn(accept(listener, Arc::clone(&seen), greeting));
        Ok(Self {
            address,
            seen,
            task,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.seen.accepted.load(Ordering::SeqCst)
    }

    /// Connections open now.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.seen.open.load(Ordering::SeqCst)
    }

    /// Every byte received so far, all connections together.
    #[must_use]
    pub fn received(&self) -> Vec<u8> {
        let received = self.seen.received.lock();
        received.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for TcpApp {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, seen: Arc<Seen>, greeting: &'static [u8]) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        seen.accepted.fetch_add(1, Ordering::SeqCst);
        seen.open.fetch_add(1, Ordering::SeqCst);
        let seen = Arc::clone(&seen);
        connections.spawn(async move {
            // A client that goes away is nothing to report.
            echo(stream, &seen, greeting).await.unwrap_or_default();
            seen.open.fetch_sub(1, Ordering::SeqCst);
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn echo(mut stream: TcpStream, seen: &Seen, greeting: &[u8]) -> io::Result<()> {
    stream.write_all(greeting).await?;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = stream.read(&mut buffer).await?;
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
            return Ok(());
        };
        let received = seen.received.lock();
        received
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
        stream.write_all(bytes).await?;
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A client's connection.
pub struct TcpClient(Box<dyn Stream>);

impl std::fmt::Debug for TcpClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TcpClient")
    }
}

/// What came of a connection within some time.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Heard {
    /// The bytes that came.
    pub bytes: Vec<u8>,
    /// Whether the other side ended the connection, in whatever way.
    pub ended: bool,
}

impl TcpClient {
    /// Connects, with TLS where it is given.
    ///
    /// # Errors
    /// Nobody listens there, or the handshake fails.
    pub async fn open(address: SocketAddr, tls: Option<&Tls>) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self(match tls {
            Some(tls) => Box::new(tls.handshake(stream).await?),
            None => Box::new(stream),
        }))
    }

    /// Sends all of it.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).await?;
        self.0.flush().await
    }

    /// What comes until `count` bytes are there, the connection ends, or `limit` is over.
    pub async fn hear(&mut self, count: usize, limit: Duration) -> Heard {
        let mut heard = Heard {
            bytes: Vec::new(),
            ended: false,
        };
        // Not finished in time is an answer, too: `heard` has what came.
        timeout(limit, self.read_into(count, &mut heard))
            .await
            .unwrap_or_default();
        heard
    }

    /// What comes until the connection ends or `limit` is over.
    pub async fn hear_out(&mut self, limit: Duration) -> Heard {
        self.hear(usize::MAX, limit).await
    }

    async fn read_into(&mut self, count: usize, heard: &mut Heard) {
        let mut buffer = vec![0; 16 * 1024];
        while heard.bytes.len() < count {
            match self.0.read(&mut buffer).await {
                Ok(read) if read > 0 => {
                    heard.bytes.extend(buffer.iter().take(read));
                }
                Ok(_) | Err(_) => {
                    heard.ended = true;
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn greets_echoes_and_counts() {
        let app = TcpApp::start(BANNER).await.unwrap();
        let mut client = TcpClient::open(app.address(), None).await.unwrap();
        let limit = Duration::from_secs(5);
        let heard = client.hear(BANNER.len(), limit).await;
        assert_eq!((heard.bytes.as_slice(), heard.ended), (BANNER, false));
        client.send(b"hello").await.unwrap();
        assert_eq!(client.hear(5, limit).await.bytes, b"hello");
        let nothing = client.hear_out(Duration::from_millis(20)).await;
        assert_eq!((nothing.bytes.len(), nothing.ended), (0, false));
        assert_eq!((app.accepted(), app.open()), (1, 1));
        assert_eq!(app.received(), b"hello");
        drop(app);
        assert!(client.hear_out(limit).await.ended);
    }
}
