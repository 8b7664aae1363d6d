//! External authorization services: one over gRPC, one over HTTP. Both refuse paths with `refuse` in them, and fail
//! where there is `broken`; to `sign-in` the second says 401. About a TCP connection the first is asked by its
//! client's name.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use envoy_types::ext_authz::v3::CheckResponseExt;
use envoy_types::ext_authz::v3::pb::{
    Authorization, AuthorizationServer, CheckRequest, CheckResponse,
};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Status;

#[derive(Default)]
struct Record {
    /// What the provider was asked, path by path or name by name.
    asked: Vec<String>,
    /// Names of the headers that it was shown.
    headers: BTreeSet<String>,
}

type Asked = Arc<Mutex<Record>>;

/// A running service; dropping it ends it.
pub(crate) struct Authorizer {
    pub(crate) address: SocketAddr,
    asked: Asked,
    /// Its own, so that its open connections end with it.
    runtime: Option<Runtime>,
}

impl Authorizer {
    pub(crate) async fn grpc() -> Self {
        Self::slow_grpc(Duration::ZERO).await
    }

    /// One that takes its time.
    pub(crate) async fn slow_grpc(pause: Duration) -> Self {
        Self::start(move |listener, asked| async move {
            tonic::transport::Server::builder()
                .add_service(AuthorizationServer::new(ByPath(asked, pause)))
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .unwrap_or_default();
        })
        .await
    }

    pub(crate) async fn http() -> Self {
        Self::slow_http(Duration::ZERO).await
    }

    /// One that takes its time.
    pub(crate) async fn slow_http(pause: Duration) -> Self {
        Self::start(move |listener, asked| async move {
            while let Ok((stream, _)) = TcpListener::accept(&listener).await {
                let asked = Arc::clone(&asked);
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let response = answer(&request, &asked);
                        async move {
                            tokio::time::sleep(pause).await;
                            Ok::<_, Infallible>(response)
                        }
                    });
                    let server = hyper::server::conn::http1::Builder::new();
                    server
                        .serve_connection(TokioIo::new(stream), service)
                        .await
                        .unwrap_or_default();
                });
            }
        })
        .await
    }

    async fn start<S, F>(serve: S) -> Self
    where
        S: FnOnce(TcpListener, Asked) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let bind = runtime.spawn(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let listener = bind.await.expect("no panic").expect("a port");
        let address = listener.local_addr().expect("bound");
        let asked = Asked::default();
        runtime.spawn(serve(listener, Arc::clone(&asked)));
        Self {
            address,
            asked,
            runtime: Some(runtime),
        }
    }

    /// What it was asked since this was last called.
    pub(crate) fn asked(&self) -> Vec<String> {
        let mut record = self.asked.lock().expect("no test panics in there");
        std::mem::take(&mut record.asked)
    }

    /// Names of the headers that it was shown since this was last called.
    pub(crate) fn headers(&self) -> BTreeSet<String> {
        let mut record = self.asked.lock().expect("no test panics in there");
        std::mem::take(&mut record.headers)
    }

    /// Ends it with its connections: whoever asks now gets no answer.
    pub(crate) async fn stop(mut self) {
        if let Some(runtime) = self.runtime.take() {
            let end = move || runtime.shutdown_timeout(Duration::from_secs(5));
            tokio::task::spawn_blocking(end).await.expect("it ends");
        }
    }
}

impl Drop for Authorizer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct ByPath(Asked, Duration);

#[tonic::async_trait]
impl Authorization for ByPath {
    async fn check(
        &self,
        request: tonic::Request<CheckRequest>,
    ) -> Result<tonic::Response<CheckResponse>, Status> {
        let request = request.into_inner();
        let attributes = request.attributes.unwrap_or_default();
        let http = attributes.request.and_then(|request| request.http);
        let http = http.unwrap_or_default();
        let client = attributes.source.map(|peer| peer.principal);
        let path = Some(http.path).filter(|path| !path.is_empty());
        let path = path.or(client).unwrap_or_default();
        let status = if path.contains("refuse") {
            Status::permission_denied("the provider refuses")
        } else {
            Status::ok("the provider consents")
        };
        let broken = path.contains("broken");
        note(&self.0, path, http.headers.into_keys());
        tokio::time::sleep(self.1).await;
        if broken {
            return Err(Status::internal("the provider fails"));
        }
        Ok(tonic::Response::new(CheckResponse::with_status(status)))
    }
}

fn answer(request: &Request<Incoming>, asked: &Asked) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    let (status, text) = if path.contains("refuse") {
        (StatusCode::FORBIDDEN, "the provider refuses")
    } else if path.contains("sign-in") {
        (StatusCode::UNAUTHORIZED, "the provider knows nobody")
    } else if path.contains("broken") {
        (StatusCode::INTERNAL_SERVER_ERROR, "the provider fails")
    } else {
        (StatusCode::OK, "the provider consents")
    };
    note(
        asked,
        path,
        request.headers().keys().map(ToString::to_string),
    );
    Response::builder()
        .status(status)
        .header("x-decided-by", "the-provider")
        .body(Full::from(text))
        .expect("a response")
}

fn note(asked: &Asked, path: String, headers: impl Iterator<Item = String>) {
    let mut record = asked.lock().expect("no test panics in there");
    record.asked.push(path);
    record.headers.extend(headers);
}
