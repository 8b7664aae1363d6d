//! An issuer's web server: HTTPS, with answers the test chooses.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Status, headers, body. `None` is no answer at all.
pub(crate) type Reply = Option<(u16, Vec<(&'static str, String)>, String)>;
type Replies = Arc<Mutex<Box<dyn Fn(&str) -> Reply + Send>>>;

pub(crate) struct Issuer {
    pub(crate) url: String,
    pub(crate) ca_file: PathBuf,
    replies: Replies,
    asked: Arc<AtomicUsize>,
    _dir: TempDir,
    task: JoinHandle<()>,
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn ok(body: String) -> Reply {
    Some((200, Vec::new(), body))
}

impl Issuer {
    pub(crate) async fn start() -> Self {
        let key = crate::support::key();
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let dir = TempDir::new().unwrap();
        let ca_file = dir.path().join("ca.pem");
        std::fs::write(&ca_file, certificate.pem()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(certificate.der().to_vec())],
                PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!(
            "https://localhost:{}",
            listener.local_addr().unwrap().port()
        );
        let replies: Replies = Arc::new(Mutex::new(Box::new(|_| {
            Some((404, Vec::new(), String::new()))
        })));
        let asked = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn(serve(
            listener,
            tls,
            Arc::clone(&replies),
            Arc::clone(&asked),
        ));
        Self {
            url,
            ca_file,
            replies,
            asked,
            _dir: dir,
            task,
        }
    }

    /// From now on each path is answered so.
    pub(crate) fn answer(&self, reply: impl Fn(&str) -> Reply + Send + 'static) {
        *self.replies.lock().unwrap() = Box::new(reply);
    }

    /// Answers as an honest issuer with these keys does.
    pub(crate) fn honest(&self, keys: String) {
        let url = self.url.clone();
        self.answer(move |path| match path {
            "/.well-known/openid-configuration" => ok(
                serde_json::json!({"issuer": url, "jwks_uri": format!("{url}/keys")}).to_string(),
            ),
            "/keys" => ok(keys.clone()),
            _ => Some((404, Vec::new(), String::new())),
        });
    }

    /// How many requests came.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn serve(
    listener: TcpListener,
    tls: rustls::ServerConfig,
    replies: Replies,
    asked: Arc<AtomicUsize>,
) {
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (acceptor, replies, asked) =
            (acceptor.clone(), Arc::clone(&replies), Arc::clone(&asked));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let service = hyper::service::service_fn(|request: Request<hyper::body::Incoming>| {
                asked.fetch_add(1, Ordering::SeqCst);
                let reply = (replies.lock().unwrap())(request.uri().path());
                async move {
                    let Some((status, headers, body)) = reply else {
                        std::future::pending::<()>().await;
                        unreachable!()
                    };
                    let mut response = Response::builder().status(status);
                    for (name, value) in headers {
                        response = response.header(name, value);
                    }
                    response.body(Full::new(Bytes::from(body)))
                }
            });
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await
                .ok();
        });
    }
}
