//! A small HTTP client for tests, the demo and benches: HTTP/1.1 or HTTP/2 over TCP, a Unix socket, or TLS
//! with a client certificate. It never retries, never follows a redirect and never opens a second connection.

mod body;
mod tls;

pub use body::Body;
pub use tls::{Identity, Resumption, ServerCheck, Tls, TlsError};

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{HeaderMap, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// Limit of a connection attempt, TLS included, and of a whole exchange unless said otherwise.
const LIMIT: Duration = Duration::from_secs(15);

/// Where a server listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

/// HTTP version of a connection.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Version {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2; without TLS with prior knowledge.
    Http2,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// No connection.
    #[error("no connection to {target}")]
    Connect {
        /// Where to.
        target: Target,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The TLS settings are of no use.
    #[error("TLS cannot be set up")]
    Tls(#[source] TlsError),
    /// The handshake failed.
    #[error("TLS handshake with {target} failed")]
    Handshake {
        /// Whom with.
        target: Target,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The exchange failed.
    #[error("HTTP exchange with {target} failed")]
    Exchange {
        /// Whom with.
        target: Target,
        /// Why.
        #[source]
        source: hyper::Error,
    },
    /// The request is malformed.
    #[error("request cannot be made")]
    Request(#[source] ::http::Error),
    /// No answer in time.
    #[error("no answer from {target} within {limit:?}")]
    TimedOut {
        /// Whom from.
        target: Target,
        /// Time given.
        limit: Duration,
    },
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Response headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
    /// Trailers, empty when there are none.
    pub trailers: HeaderMap,
}

impl Answer {
    /// The body as text, whatever is not UTF-8 replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; `Null` when it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A response header's first value as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// One open connection. Requests go over it one after another, or with HTTP/2 over clones of it side by side.
#[derive(Debug)]
pub struct Connection {
    target: Target,
    sender: Sender,
    limit: Duration,
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Connection {
    /// Opens a connection. The limit of 15 s is for the connection with its handshakes, and then for each
    /// exchange ([`Connection::with_limit`]).
    ///
    /// # Errors
    /// [`HttpError`]: no connection, no handshake, no time.
    pub async fn open(
        target: &Target,
        tls: Option<&Tls>,
        version: Version,
    ) -> Result<Self, HttpError> {
        let opened = Self::open_unlimited(target, tls, version);
        let late = |_| HttpError::TimedOut {
            target: target.clone(),
            limit: LIMIT,
        };
        tokio::time::timeout(LIMIT, opened).await.map_err(late)?
    }

    async fn open_unlimited(
        target: &Target,
        tls: Option<&Tls>,
        version: Version,
    ) -> Result<Self, HttpError> {
        let refused = |source| HttpError::Connect {
            target: target.clone(),
            source,
        };
        let plain: Box<dyn Stream> = match target {
            Target::Tcp(address) => {
                let stream = TcpStream::connect(address).await.map_err(refused)?;
                stream.set_nodelay(true).map_err(refused)?;
                Box::new(stream)
            }
            Target::Unix(path) => Box::new(UnixStream::connect(path).await.map_err(refused)?),
        };
        let stream = match tls {
            None => plain,
            Some(tls) => {
                let connector = tls.connector(version).map_err(HttpError::Tls)?;
                let failed = |source| HttpError::Handshake {
                    target: target.clone(),
                    source,
                };
                Box::new(
                    connector
                        .connect(tls.server_name(), plain)
                        .await
                        .map_err(failed)?,
                )
            }
        };
        let io = TokioIo::new(stream);
        let failed = |source| HttpError::Exchange {
            target: target.clone(),
            source,
        };
        let sender = match version {
            Version::Http1 => {
                let (sender, connection) = http1::handshake(io).await.map_err(failed)?;
                tokio::spawn(connection);
                Sender::Http1(sender)
            }
            Version::Http2 => {
                let executor = TokioExecutor::new();
                let (sender, connection) = http2::handshake(executor, io).await.map_err(failed)?;
                tokio::spawn(connection);
                Sender::Http2(sender)
            }
        };
        Ok(Self {
            target: target.clone(),
            sender,
            limit: LIMIT,
        })
    }

    /// The same with another limit for each exchange.
    #[must_use]
    pub const fn with_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// A second handle on the same HTTP/2 connection; `None` for HTTP/1.1.
    #[must_use]
    pub fn share(&self) -> Option<Self> {
        match &self.sender {
            Sender::Http1(_) => None,
            Sender::Http2(sender) => Some(Self {
                target: self.target.clone(),
                sender: Sender::Http2(sender.clone()),
                limit: self.limit,
            }),
        }
    }

    /// Whether the other side has closed it, or is about to (GOAWAY).
    #[must_use]
    pub fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::Http2(sender) => sender.is_closed(),
        }
    }

    /// `GET path` with the target as host.
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub async fn get(&mut self, path: &str) -> Result<Answer, HttpError> {
        let request = self
            .request("GET", path)
            .body(Body::empty())
            .map_err(HttpError::Request)?;
        self.send(request).await
    }

    /// `POST path` with a body.
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub async fn post(&mut self, path: &str, body: impl Into<Bytes>) -> Result<Answer, HttpError> {
        let body = Body::full(body);
        let request = self
            .request("POST", path)
            .body(body)
            .map_err(HttpError::Request)?;
        self.send(request).await
    }

    /// A request for `path` in the form the connection's HTTP version needs, without body yet.
    #[must_use]
    pub fn request(&self, method: &str, path: &str) -> ::http::request::Builder {
        let host = match &self.target {
            Target::Tcp(address) => address.to_string(),
            Target::Unix(_) => "localhost".to_owned(),
        };
        self.request_to(&host, method, path)
    }

    /// The same with another host: `Host` in HTTP/1.1, `:authority` in HTTP/2.
    #[must_use]
    pub fn request_to(&self, host: &str, method: &str, path: &str) -> ::http::request::Builder {
        match &self.sender {
            Sender::Http1(_) => Request::builder()
                .method(method)
                .uri(path)
                .header("host", host),
            Sender::Http2(_) => Request::builder()
                .method(method)
                .uri(format!("http://{host}{path}")),
        }
    }

    /// Sends the request and reads the whole answer.
    ///
    /// # Errors
    /// [`HttpError::Exchange`], or [`HttpError::TimedOut`] after the connection's limit.
    pub async fn send<B: Into<Body>>(&mut self, request: Request<B>) -> Result<Answer, HttpError> {
        let request = request.map(Into::into);
        let (target, limit) = (self.target.clone(), self.limit);
        let exchange = async {
            let response = match &mut self.sender {
                Sender::Http1(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await?
                }
                Sender::Http2(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await?
                }
            };
            whole(response).await
        };
        match tokio::time::timeout(limit, exchange).await {
            Err(_) => Err(HttpError::TimedOut { target, limit }),
            Ok(outcome) => outcome.map_err(|source| HttpError::Exchange { target, source }),
        }
    }
}

async fn whole(response: hyper::Response<Incoming>) -> Result<Answer, hyper::Error> {
    let (head, body) = response.into_parts();
    let body = body.collect().await?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    Ok(Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body: body.to_bytes(),
        trailers,
    })
}

/// One `GET` over a connection of its own, HTTP/1.1 without TLS.
///
/// # Errors
/// [`HttpError`].
pub async fn get(target: &Target, path: &str) -> Result<Answer, HttpError> {
    Connection::open(target, None, Version::Http1)
        .await?
        .get(path)
        .await
}

/// One `POST` over a connection of its own, HTTP/1.1 without TLS.
///
/// # Errors
/// [`HttpError`].
pub async fn post(
    target: &Target,
    path: &str,
    body: impl Into<Bytes>,
) -> Result<Answer, HttpError> {
    Connection::open(target, None, Version::Http1)
        .await?
        .post(path, body)
        .await
}
