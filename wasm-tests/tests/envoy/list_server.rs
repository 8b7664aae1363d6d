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
    spec: ListSpec,
    /// The list with all its entries, as it travels.
    full: Vec<u8>,
    /// What changed since the one before it, as it travels.
    changes: Vec<u8>,
    polls: u64,
    /// Bytes of lists that were asked for.
    served: usize,
}

impl List {
    fn new(signer: ListSigner) -> Self {
        let spec = ListSpec::at(now(), 1);
        Self {
            full: signer.sign(&spec),
            changes: Vec::new(),
            signer,
            spec,
            polls: 0,
            served: 0,
        }
    }

    /// Signs a list with these entries.
    fn sign(&mut self, entries: Vec<(String, &'static str)>) {
        let mut next = ListSpec::at(now(), self.spec.sequence + 1);
        next.entries = entries;
        self.full = self.signer.sign(&next);
        self.changes = self.signer.sign_changes(&next, &self.spec);
        self.spec = next;
    }

    /// What a filter that holds the list of this sequence is told; `None` for nothing.
    fn since(&mut self, epoch: u64, sequence: u64) -> Option<Vec<u8>> {
        let own = self.spec.sequence;
        let update = match (epoch, sequence) {
            (1, held) if held == own => return None,
            (1, held) if held + 1 == own => &self.changes,
            _ => &self.full,
        };
        self.served += update.len();
        Some(update.clone())
    }
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
        let list = List::new(signer);
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
        list.sign(entries.to_vec());
    }

    /// How often it was asked.
    pub(crate) fn polls(&self) -> u64 {
        self.list.lock().expect("no test panics in there").polls
    }

    /// How many bytes of lists it has served.
    pub(crate) fn served(&self) -> usize {
        self.list.lock().expect("no test panics in there").served
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
    if now() >= list.spec.issued + PERIOD {
        let entries = list.spec.entries.clone();
        list.sign(entries);
    }
    let (status, body) = match held(request) {
        _ if request.uri().path() != "/v1/denylist" => (404, None),
        None => (400, None),
        Some((epoch, sequence)) => match list.since(epoch, sequence) {
            None => (204, None),
            update => (200, update),
        },
    };
    let body = Bytes::from(body.unwrap_or_default());
    Response::builder()
        .status(status)
        .body(Full::new(body))
        .expect("a response")
}

/// Epoch and sequence in `?epoch=E&since=N`.
fn held(request: &Request<Incoming>) -> Option<(u64, u64)> {
    let query = request.uri().query()?.strip_prefix("epoch=")?;
    let (epoch, sequence) = query.split_once("&since=")?;
    Some((epoch.parse().ok()?, sequence.parse().ok()?))
}
