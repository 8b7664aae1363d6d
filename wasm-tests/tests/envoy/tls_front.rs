//! TLS in front of a server that speaks none: whom it shows itself as can be changed while it runs.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use identity::x509::{SvidProfile, X509Svid};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use wasm_tests::fixtures::ca::Leaf;

/// A client that has finished its handshake.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Arrival {
    /// The name it asked for.
    pub(crate) server_name: Option<String>,
    /// Its SPIFFE ID, if it was asked for a certificate.
    pub(crate) client: Option<String>,
}

/// Who it is.
struct Shown(Arc<ServerConfig>);

/// A running front; dropping it ends it and its connections.
pub(crate) struct TlsFront {
    pub(crate) address: SocketAddr,
    shown: Arc<Mutex<Shown>>,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
    task: JoinHandle<()>,
}

impl TlsFront {
    /// In front of `backend`, with this certificate. With roots (PEM) it demands a certificate of its clients.
    pub(crate) async fn start(backend: SocketAddr, leaf: &Leaf, clients: Option<&str>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a port");
        let address = listener.local_addr().expect("bound");
        let shown = Arc::new(Mutex::new(Shown::new(leaf, clients)));
        let arrivals = Arc::default();
        let task = tokio::spawn(accept(
            listener,
            backend,
            Arc::clone(&shown),
            Arc::clone(&arrivals),
        ));
        Self {
            address,
            shown,
            arrivals,
            task,
        }
    }

    /// Has this certificate from now on; connections that are open stay so.
    pub(crate) fn show(&self, leaf: &Leaf, clients: Option<&str>) {
        *self.shown.lock().expect("no test panics in there") = Shown::new(leaf, clients);
    }

    /// Who has come since this was last called.
    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        std::mem::take(&mut self.arrivals.lock().expect("no test panics in there"))
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shown {
    fn new(leaf: &Leaf, clients: Option<&str>) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("TLS 1.2 and 1.3");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let mut roots = RootCertStore::empty();
                for root in certificates(pem) {
                    roots.add(root).expect("a root");
                }
                let clients =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(clients.expect("roots"))
            }
        };
        let key = PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes()).expect("a key");
        let config = builder.with_single_cert(certificates(&leaf.chain_pem), key);
        let mut config = config.expect("a chain and its key");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self(Arc::new(config))
    }
}

fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    let found = CertificateDer::pem_slice_iter(pem.as_bytes());
    found.collect::<Result<_, _>>().expect("certificates")
}

async fn accept(
    listener: TcpListener,
    backend: SocketAddr,
    shown: Arc<Mutex<Shown>>,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
) {
    // They end with the task.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let config = Arc::clone(&shown.lock().expect("no test panics in there").0);
        connections.spawn(pass_on(stream, backend, config, Arc::clone(&arrivals)));
        while connections.try_join_next().is_some() {}
    }
}

/// A client that does not finish its handshake, or goes away, is nothing to report.
async fn pass_on(
    stream: TcpStream,
    backend: SocketAddr,
    config: Arc<ServerConfig>,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
) {
    let Ok(mut stream) = TlsAcceptor::from(config).accept(stream).await else {
        return;
    };
    let (_, tls) = stream.get_ref();
    let client = tls.peer_certificates().and_then(<[_]>::first);
    let id = |der: &CertificateDer<'_>| {
        let svid = X509Svid::parse(der, SvidProfile::Strict).expect("an SVID");
        svid.id().to_string()
    };
    let arrival = Arrival {
        server_name: tls.server_name().map(str::to_owned),
        client: client.map(id),
    };
    let seen = arrivals.lock();
    seen.expect("no test panics in there").push(arrival);
    if let Ok(mut backend) = TcpStream::connect(backend).await {
        tokio::io::copy_bidirectional(&mut stream, &mut backend)
            .await
            .unwrap_or_default();
    }
}
