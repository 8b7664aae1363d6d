//! External authorization services: one over gRPC, one over HTTP. Both refuse paths with `refuse` in them; about a
//! TCP connection the first is asked by its client's name.

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

/// What the provider was asked, path by path or name by name.
type Asked = Arc<Mutex<Vec<String>>>;

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
        Self::start(|listener, asked| async move {
            while let Ok((stream, _)) = TcpListener::accept(&listener).await {
                let asked = Arc::clone(&asked);
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let response = answer(&request, &asked);
                        async move { Ok::<_, Infallible>(response) }
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
        std::mem::take(&mut self.asked.lock().expect("no test panics in there"))
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
        let client = attributes.source.map(|peer| peer.principal);
        let path = http.map(|http| http.path).filter(|path| !path.is_empty());
        let path = path.or(client).unwrap_or_default();
        let status = if path.contains("refuse") {
            Status::permission_denied("the provider refuses")
        } else {
            Status::ok("the provider consents")
        };
        self.0.lock().expect("no test panics in there").push(path);
        tokio::time::sleep(self.1).await;
        Ok(tonic::Response::new(CheckResponse::with_status(status)))
    }
}

fn answer(request: &Request<Incoming>, asked: &Asked) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    let refused = path.contains("refuse");
    asked.lock().expect("no test panics in there").push(path);
    let (status, text) = match refused {
        true => (StatusCode::FORBIDDEN, "the provider refuses"),
        false => (StatusCode::OK, "the provider consents"),
    };
    Response::builder()
        .status(status)
        .header("x-decided-by", "the-provider")
        .body(Full::from(text))
        .expect("a response")
}
