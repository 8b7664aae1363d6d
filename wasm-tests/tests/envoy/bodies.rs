//! Requests that are not just there at once: slow bodies, trailers, requests given up.

use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderMap, Request};
use http_body_util::channel::{Channel, Sender};
use hyper::body::Bytes;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// A body that is sent piece by piece.
pub(crate) type SlowBody = Channel<Bytes, std::io::Error>;

/// An HTTP/2 connection without TLS, for requests with [`SlowBody`].
pub(crate) async fn connect(address: SocketAddr) -> SendRequest<SlowBody> {
    let stream = TcpStream::connect(address).await.expect("connects");
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .expect("HTTP/2");
    tokio::spawn(connection);
    sender
}

/// A `POST` whose body the caller feeds; the task gives the status.
pub(crate) fn post(
    connection: &SendRequest<SlowBody>,
    host: &str,
) -> (Sender<Bytes, std::io::Error>, JoinHandle<Option<u16>>) {
    let (sender, body) = Channel::new(8);
    let request = Request::post(format!("http://{host}/post"))
        .body(body)
        .expect("a request");
    let mut connection = connection.clone();
    let task = tokio::spawn(async move {
        connection.ready().await.ok()?;
        connection
            .send_request(request)
            .await
            .ok()
            .map(|response| response.status().as_u16())
    });
    (sender, task)
}

/// A `GET` without body; the task gives the status.
pub(crate) fn get(connection: &SendRequest<SlowBody>, host: &str) -> JoinHandle<Option<u16>> {
    let (sender, task) = post(connection, host);
    drop(sender);
    task
}

/// Feeds pieces with pauses, then trailers; stops early when nobody reads any more.
pub(crate) async fn trickle(mut body: Sender<Bytes, std::io::Error>, pieces: usize) {
    for _ in 0..pieces {
        if body
            .send_data(Bytes::from_static(&[7; 2048]))
            .await
            .is_err()
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("checksum", "1".parse().expect("a value"));
    // Refused where the request is over already, which the caller sees by its status.
    body.send_trailers(trailers).await.unwrap_or_default();
}
