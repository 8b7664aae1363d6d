//! An agent's HTTP side, as far as the filter sees it: the signed deny list on a Unix socket.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;
use wasm_tests::fixtures::deny_list::{ListSigner, ListSpec};

use crate::support::now;

/// Seconds after which the list is signed anew.
const PERIOD: u64 = 10;

struct List {
    signer: ListSigner,
    entries: Vec<(String, &'static str)>,
    sequence: u64,
    issued: u64,
    polls: u64,
}

/// A running server; dropping it ends it.
pub(crate) struct ListServer {
    list: Arc<Mutex<List>>,
    socket: PathBuf,
    public_key_pem: String,
    task: JoinHandle<()>,
}

impl ListServer {
    /// Serves an empty list on this socket.
    pub(crate) fn start(socket: &Path) -> Self {
        let signer = ListSigner::new();
        let public_key_pem = signer.public_key_pem();
        let list = List {
            signer,
            entries: Vec::new(),
            sequence: 1,
            issued: now(),
            polls: 0,
        };
        let list = Arc::new(Mutex::new(list));
        let listener = UnixListener::bind(socket).expect("the socket's folder is the test's own");
        let task = tokio::spawn(accept(listener, Arc::clone(&list)));
        Self {
            list,
            socket: socket.to_owned(),
            public_key_pem,
            task,
        }
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(crate) fn public_key_pem(&self) -> &str {
        &self.public_key_pem
    }

    /// Replaces the entries and signs a new list.
    pub(crate) fn publish(&self, entries: &[(String, &'static str)]) {
        let mut list = self.list.lock().expect("no test panics in there");
        list.entries = entries.to_vec();
        list.sequence += 1;
        list.issued = now();
    }

    /// How often it was asked.
    pub(crate) fn polls(&self) -> u64 {
        self.list.lock().expect("no test panics in there").polls
    }
}

impl Drop for ListServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: UnixListener, list: Arc<Mutex<List>>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, Arc::clone(&list)));
    }
}

async fn serve(stream: UnixStream, list: Arc<Mutex<List>>) {
    let service = service_fn(|request| {
        let response = answer(&request, &list);
        async move { Ok::<_, Infallible>(response) }
    });
    let server = hyper::server::conn::http1::Builder::new();
    // A client that goes away is nothing to report.
    server
        .serve_connection(TokioIo::new(stream), service)
        .await
        .unwrap_or_default();
}

fn answer(request: &Request<Incoming>, list: &Mutex<List>) -> Response<Full<Bytes>> {
    let mut list = list.lock().expect("no test panics in there");
    list.polls += 1;
    if now() >= list.issued + PERIOD {
        list.sequence += 1;
        list.issued = now();
    }
    let since = request
        .uri()
        .query()
        .and_then(|query| query.strip_prefix("since="));
    let status = match since.and_then(|since| since.parse::<u64>().ok()) {
        _ if request.uri().path() != "/v1/denylist" => 404,
        None => 400,
        Some(since) if since == list.sequence => 204,
        Some(_) => 200,
    };
    let body = if status == 200 {
        let mut spec = ListSpec::at(list.issued, list.sequence);
        spec.entries.clone_from(&list.entries);
        Bytes::from(list.signer.sign(&spec))
    } else {
        Bytes::new()
    };
    Response::builder()
        .status(status)
        .body(Full::new(body))
        .expect("a response")
}
