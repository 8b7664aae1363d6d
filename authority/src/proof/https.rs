//! A small HTTPS client for issuers' keys and for Kubernetes API servers: TLS 1.3, pinned roots,
//! bounded size and time, no redirects, no proxies.

use std::fmt::Write as _;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

use crate::serve::tls;

/// Why there is no answer that could be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// A file that is needed cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A bearer token that cannot stand in a header.
    #[error("{} holds no token", path.display())]
    Token {
        /// The file.
        path: PathBuf,
    },
    /// Not an address.
    #[error("{url:?} is not an address")]
    Url {
        /// What it is.
        url: String,
    },
    /// Nobody answers, or not whom the roots vouch for.
    #[error("no answer from {host}: {problem}")]
    Connect {
        /// Whom.
        host: String,
        /// What went wrong, innermost cause last.
        problem: String,
    },
    /// It took too long.
    #[error("no answer from {host} within {} ms", limit.as_millis())]
    TimedOut {
        /// Whom.
        host: String,
        /// The limit.
        limit: Duration,
    },
    /// More than was asked for.
    #[error("the answer of {host} is longer than {limit} bytes")]
    TooLarge {
        /// Whom.
        host: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// Another status than expected.
    #[error("{host} answered with status {status}")]
    Status {
        /// Whom.
        host: String,
        /// The status.
        status: u16,
    },
}

/// A client of the servers below one file of roots. Connections are kept and shared.
#[derive(Clone, Debug)]
pub(crate) struct HttpsClient {
    client: Client<Connector, Full<Bytes>>,
    token_file: Option<PathBuf>,
    timeout: Duration,
}

/// A status and what came with it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

impl HttpsClient {
    /// A client that trusts the roots of `ca_file` and shows the bearer token of `token_file`. Both
    /// are read when they are needed, so that they can be replaced.
    pub(crate) fn new(ca_file: PathBuf, token_file: Option<PathBuf>, timeout: Duration) -> Self {
        let connector = Connector {
            ca_file: Arc::new(ca_file),
        };
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .http2_keep_alive_timeout(KEEP_ALIVE)
            .build(connector);
        Self {
            client,
            token_file,
            timeout,
        }
    }

    /// Gets `uri`; an answer of other status than 200 is an error.
    pub(crate) async fn get(&self, uri: Uri, most: usize) -> Result<Bytes, FetchError> {
        let host = host(&uri);
        let answer = self.send(Method::GET, uri, Bytes::new(), most).await?;
        match answer.status {
            StatusCode::OK => Ok(answer.body),
            status => Err(FetchError::Status {
                host,
                status: status.as_u16(),
            }),
        }
    }

    /// Sends a request with a JSON body and reads at most `most` bytes of the answer.
    ///
    /// # Errors
    /// [`FetchError`]; any status is an answer.
    pub(crate) async fn send(
        &self,
        method: Method,
        uri: Uri,
        body: Bytes,
        most: usize,
    ) -> Result<Answer, FetchError> {
        let host = host(&uri);
        let mut request = Request::builder()
            .method(method)
            .uri(uri.clone())
            // Kubernetes gives its keys as the second only (RFC 7517 §8.5).
            .header(ACCEPT, "application/json, application/jwk-set+json");
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(path) = &self.token_file {
            request = request.header(AUTHORIZATION, bearer(path)?);
        }
        let request = request
            .body(Full::new(body))
            .map_err(|_not_a_request| FetchError::Url {
                url: uri.to_string(),
            })?;
        let answered = async {
            let answer =
                self.client
                    .request(request)
                    .await
                    .map_err(|error| FetchError::Connect {
                        host: host.clone(),
                        problem: identity::chain(&error).to_string(),
                    })?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), most).collect().await;
            let body = body.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
                Some(_) => FetchError::TooLarge {
                    host: host.clone(),
                    limit: most,
                },
                None => FetchError::Connect {
                    host: host.clone(),
                    problem: error.to_string(),
                },
            })?;
            Ok(Answer {
                status,
                body: body.to_bytes(),
            })
        };
        let timed_out = |_elapsed| FetchError::TimedOut {
            host: host.clone(),
            limit: self.timeout,
        };
        tokio::time::timeout(self.timeout, answered)
            .await
            .map_err(timed_out)?
    }
}

fn host(uri: &Uri) -> String {
    uri.authority().map(ToString::to_string).unwrap_or_default()
}

/// `Bearer <token>`, which hyper then never prints.
fn bearer(path: &Path) -> Result<HeaderValue, FetchError> {
    let text = std::fs::read_to_string(path).map_err(|source| FetchError::File {
        path: path.to_owned(),
        source,
    })?;
    let text = Zeroizing::new(text);
    let mut header = Zeroizing::new(String::with_capacity(text.len() + 7));
    let no_token = || FetchError::Token {
        path: path.to_owned(),
    };
    write!(header, "Bearer {}", text.trim()).map_err(|_never| no_token())?;
    let mut value = HeaderValue::from_str(&header).map_err(|_control| no_token())?;
    if text.trim().is_empty() {
        return Err(no_token());
    }
    value.set_sensitive(true);
    Ok(value)
}

/// The root certificates of a PEM file, at least one.
pub(crate) fn read_roots(path: &Path) -> Result<RootCertStore, FetchError> {
    let unreadable = |source| FetchError::File {
        path: path.to_owned(),
        source,
    };
    let text = std::fs::read(path).map_err(unreadable)?;
    let invalid = |problem: String| unreadable(io::Error::new(io::ErrorKind::InvalidData, problem));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| invalid(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| invalid(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(invalid("there is no certificate in it".to_owned()));
    }
    Ok(roots)
}

/// Makes TLS connections; the roots are read for each.
#[derive(Clone, Debug)]
struct Connector {
    ca_file: Arc<PathBuf>,
}

impl Connector {
    async fn connect(self, uri: Uri) -> Result<Secure, io::Error> {
        let roots = read_roots(&self.ca_file).map_err(io::Error::other)?;
        let mut config = ClientConfig::builder_with_provider(tls::provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let bad_name = || io::Error::new(io::ErrorKind::InvalidInput, "no server name");
        // Brackets belong to the address, not to the name.
        let name = uri.host().ok_or_else(bad_name)?;
        let name = name
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let port = uri.port_u16().unwrap_or(443);
        let server = ServerName::try_from(name.clone()).map_err(io::Error::other)?;
        let stream = TcpStream::connect((name.as_str(), port)).await?;
        stream.set_nodelay(true)?;
        let stream = TlsConnector::from(Arc::new(config))
            .connect(server, stream)
            .await?;
        Ok(Secure(TokioIo::new(stream)))
    }
}

impl tower::Service<Uri> for Connector {
    type Response = Secure;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Secure, io::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// A connection that tells hyper which protocol was agreed on.
#[derive(Debug)]
struct Secure(TokioIo<TlsStream<TcpStream>>);

impl Connection for Secure {
    fn connected(&self) -> Connected {
        let (_, session) = self.0.inner().get_ref();
        if session.alpn_protocol() == Some(b"h2") {
            Connected::new().negotiated_h2()
        } else {
            Connected::new()
        }
    }
}

impl hyper::rt::Read for Secure {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl hyper::rt::Write for Secure {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// Connections that nobody uses end after this.
const IDLE: Duration = Duration::from_secs(60);
/// How long a connection to nobody goes unnoticed, twice.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
