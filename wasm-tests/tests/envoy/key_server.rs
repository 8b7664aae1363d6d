//! A server of JSON Web Key Sets (RFC 7517 §5), in good days and in bad ones.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::support::loopback;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What it does when it is asked.
#[derive(Clone, Debug)]
pub(crate) enum Says {
    /// Answers with this status and body.
    Answer(u16, String),
    /// Answers with this body and a length that is greater.
    Cut(String),
    /// Sends whoever asks elsewhere.
    Elsewhere(String),
    /// Never answers.
    Nothing,
    /// Ends the connection.
    Goodbye,
}

impl Says {
    /// A key set, or what is said to be one.
    pub(crate) fn keys(set: impl Into<String>) -> Self {
        Self::Answer(200, set.into())
    }
}

struct State {
    says: Says,
    /// Paths with their queries.
    asked: Vec<String>,
}

/// A running server; dropping it ends it and its connections.
pub(crate) struct KeyServer {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl KeyServer {
    pub(crate) async fn start(says: Says) -> Self {
        Self::listen(loopback(0), says).await
    }

    pub(crate) async fn listen(address: SocketAddr, says: Says) -> Self {
        let listener = TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let asked = Vec::new();
        let state = Arc::new(Mutex::new(State { says, asked }));
        let task = tokio::spawn(accept(listener, Arc::clone(&state)));
        Self {
            address,
            state,
            task,
        }
    }

    /// From now on.
    pub(crate) fn says(&self, says: Says) {
        self.state.lock().expect("no test panics in there").says = says;
    }

    /// What it was asked for since this was last called.
    pub(crate) fn asked(&self) -> Vec<String> {
        let mut state = self.state.lock().expect("no test panics in there");
        std::mem::take(&mut state.asked)
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>) {
    // They end with the task.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, Arc::clone(&state)));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) {
    let service = service_fn(|request| answer(request, Arc::clone(&state)));
    let server = hyper::server::conn::http1::Builder::new();
    // A client that goes away is nothing to report.
    server
        .serve_connection(TokioIo::new(stream), service)
        .await
        .unwrap_or_default();
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
) -> io::Result<Response<Body>> {
    let says = {
        let mut state = state.lock().expect("no test panics in there");
        let path = request.uri().path_and_query().map(ToString::to_string);
        state.asked.push(path.unwrap_or_default());
        state.says.clone()
    };
    let response = Response::builder();
    let response = match says {
        Says::Answer(status, body) => response.status(status).body(whole(body)),
        Says::Cut(body) => response
            .header("content-length", body.len() + 100)
            .body(of_no_declared_length(body)),
        Says::Elsewhere(location) => response
            .status(302)
            .header("location", location)
            .body(whole(String::new())),
        Says::Nothing => std::future::pending().await,
        Says::Goodbye => return Err(io::ErrorKind::ConnectionReset.into()),
    };
    Ok(response.expect("a response"))
}

fn whole(body: String) -> Body {
    Full::new(Bytes::from(body)).boxed_unsync()
}

fn of_no_declared_length(body: String) -> Body {
    let frame = Ok(Frame::data(Bytes::from(body)));
    StreamBody::new(tokio_stream::iter([frame])).boxed_unsync()
}
