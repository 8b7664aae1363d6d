//! A tiny HTTP server to stand behind an Envoy.
//!
//! `/get`, `/headers`, `/admin` and every unknown path but these answer 200 with what was received; `/post`
//! reads the whole body and says its length; `/status/N` answers with status N (200 to 599); `/delay/N` answers
//! after N milliseconds, at most a minute. Every answer is JSON:
//! `{"method", "path", "headers": {name: [value, …]}, "trailers", "bytes", "count"}`; `count` numbers the requests.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A running server; dropping it ends it and its connections. HTTP/1.1 and, with prior knowledge, HTTP/2.
#[derive(Debug)]
pub struct Echo {
    address: SocketAddr,
    requests: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Echo {
    /// Listens on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start() -> io::Result<Self> {
        Self::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await
    }

    /// Listens on this address.
    ///
    /// # Errors
    /// When it cannot be bound.
    pub async fn listen(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let requests = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(accept(listener, Arc::clone(&requests)));
        Ok(Self {
            address,
            requests,
            task,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests received so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, requests: Arc<AtomicU64>) {
    // Connections live in this set, so that they end with the task.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => { connections.spawn(serve(stream, Arc::clone(&requests))); }
                // Out of file descriptors or a connection gone before it was accepted: the next may do.
                Err(error) => {
                    tracing::warn!(%error, "connection not accepted");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, requests: Arc<AtomicU64>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    let service = service_fn(|request| answer(request, Arc::clone(&requests)));
    let server = auto::Builder::new(TokioExecutor::new());
    if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(error, "connection ended");
    }
}

#[derive(Serialize)]
struct Seen {
    method: String,
    path: String,
    headers: BTreeMap<String, Vec<String>>,
    trailers: BTreeMap<String, Vec<String>>,
    bytes: u64,
    count: u64,
}

async fn answer(
    request: Request<Incoming>,
    requests: Arc<AtomicU64>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let count = requests.fetch_add(1, Ordering::Relaxed) + 1;
    let (head, mut body) = request.into_parts();
    let path = head.uri.path().to_owned();
    if let Some(millis) = number(&path, "/delay/") {
        tokio::time::sleep(Duration::from_millis(millis.min(60_000))).await;
    }
    let (mut bytes, mut trailers) = (0_u64, HeaderMap::new());
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Ok(response(
                StatusCode::BAD_REQUEST,
                Bytes::from_static(b"body cut off\n"),
            ));
        };
        let length = frame.data_ref().map_or(0, Bytes::len);
        bytes = bytes.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
        if let Ok(received) = frame.into_trailers() {
            trailers = received;
        }
    }
    let (headers, trailers) = (text(&head.headers), text(&trailers));
    let status = number(&path, "/status/")
        .and_then(|code| u16::try_from(code).ok())
        .filter(|code| (200..600).contains(code))
        .and_then(|code| StatusCode::from_u16(code).ok())
        .unwrap_or(StatusCode::OK);
    let path = head.uri.path_and_query().map_or(path, ToString::to_string);
    let seen = Seen {
        method: head.method.to_string(),
        path,
        headers,
        trailers,
        bytes,
        count,
    };
    Ok(match serde_json::to_vec(&seen) {
        Ok(mut json) => {
            json.push(b'\n');
            response(status, json.into())
        }
        Err(error) => response(StatusCode::INTERNAL_SERVER_ERROR, error.to_string().into()),
    })
}

fn text(headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        texts
            .entry(name.as_str().to_owned())
            .or_default()
            .push(value);
    }
    texts
}

fn number(path: &str, prefix: &str) -> Option<u64> {
    path.strip_prefix(prefix)?.parse().ok()
}

fn response(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let json = hyper::header::HeaderValue::from_static("application/json");
    response
        .headers_mut()
        .insert(hyper::header::CONTENT_TYPE, json);
    response
}
