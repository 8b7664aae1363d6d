//! An agent's HTTP side, as far as the filter sees it: the signed deny list on a Unix socket.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;
use wasm_tests::fixtures::deny_list::{ListSigner, ListSpec, delta, full};

use crate::support::now;

/// Seconds after which the list is signed anew.
const PERIOD: u64 = 10;

/// A list as it travels.
struct Signed {
    spec: ListSpec,
    head: Value,
    entries: Vec<u8>,
    /// With all its entries.
    full: Vec<u8>,
    /// What changed since the one before it.
    changes: Vec<u8>,
}

impl Signed {
    /// A list, and what changed in it since `older`; nothing if there was none.
    fn new(signer: &ListSigner, spec: ListSpec, older: Option<&ListSpec>) -> Self {
        let (head, entries) = (spec.head(), spec.entries_bytes());
        let jws = signer.sign_parts(&signer.header(), &head);
        let changes = older.map(|older| delta(jws.as_bytes(), older, &spec.changes_since(older)));
        Self {
            full: full(jws.as_bytes(), &entries),
            changes: changes.unwrap_or_default(),
            spec,
            head,
            entries,
        }
    }

    /// The next list with the same entries. A long list would take seconds to be put together anew, and whoever asks
    /// gives up after one.
    fn renew(&mut self, signer: &ListSigner) {
        let older = ListSpec {
            entries: Vec::new(),
            ..self.spec
        };
        let next = ListSpec::at(now(), older.sequence + 1);
        for (field, value) in [
            ("sequence", next.sequence),
            ("issued", next.issued),
            ("expires", next.expires),
        ] {
            self.head[field] = value.into();
        }
        let jws = signer.sign_parts(&signer.header(), &self.head);
        self.full = full(jws.as_bytes(), &self.entries);
        self.changes = delta(jws.as_bytes(), &older, &[]);
        let entries = std::mem::take(&mut self.spec.entries);
        self.spec = ListSpec { entries, ..next };
    }
}

struct List {
    signer: Arc<ListSigner>,
    signed: Signed,
    polls: u64,
    /// Bytes of lists that were asked for.
    served: usize,
}

impl List {
    fn new(signer: ListSigner) -> Self {
        Self {
            signed: Signed::new(&signer, ListSpec::at(now(), 1), None),
            signer: Arc::new(signer),
            polls: 0,
            served: 0,
        }
    }

    /// What a filter that holds the list of this sequence is told; `None` for nothing.
    fn since(&mut self, epoch: u64, sequence: u64) -> Option<Vec<u8>> {
        let own = self.signed.spec.sequence;
        let update = match (epoch, sequence) {
            (1, held) if held == own => return None,
            (1, held) if held + 1 == own => &self.signed.changes,
            _ => &self.signed.full,
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
        let lock = || self.list.lock().expect("no test panics in there");
        loop {
            let list = lock();
            let (signer, older) = (Arc::clone(&list.signer), list.signed.spec.clone());
            // A long list takes seconds, and whoever asks meanwhile would be counted after he has given up.
            drop(list);
            let mut spec = ListSpec::at(now(), older.sequence + 1);
            spec.entries = entries.to_vec();
            let signed = Signed::new(&signer, spec, Some(&older));
            let mut list = lock();
            if list.signed.spec.sequence == older.sequence {
                list.signed = signed;
                return;
            }
        }
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
    if now() >= list.signed.spec.issued + PERIOD {
        let signer = Arc::clone(&list.signer);
        list.signed.renew(&signer);
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
