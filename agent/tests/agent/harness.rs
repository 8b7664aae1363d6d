//! An agent under test, and Envoy's side of its socket.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use agent::{Ready, RunError, Settings, status::Status as AgentStatus};
use api::agent::Entry;
use envoy_types::pb::envoy::{
    config::core::v3::data_source::Specifier,
    extensions::transport_sockets::tls::v3::{Secret, secret::Type},
    service::{
        discovery::v3::{DiscoveryRequest, DiscoveryResponse},
        secret::v3::secret_discovery_service_client::SecretDiscoveryServiceClient,
    },
};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use prost::{Message, Name};
use tokio::{
    net::UnixStream,
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Status, Streaming,
    transport::{Channel, Endpoint},
};

use crate::authority::{Authority, TOKEN};

pub(crate) const HTTPBIN: &str = "spiffe://cluster.local/ns/default/sa/httpbin";
pub(crate) const SLEEP: &str = "spiffe://cluster.local/ns/default/sa/sleep";

/// Nothing here takes that long unless it hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(40);

/// A folder with everything an agent needs.
pub(crate) struct Home {
    dir: tempfile::TempDir,
    pub(crate) settings: Settings,
}

impl Home {
    pub(crate) fn new(authority: &Authority) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("bundle.pem"), &authority.ca.root_pem).unwrap();
        std::fs::write(path("token"), format!("{TOKEN}\n")).unwrap();
        let mut settings = Settings::new(
            authority.address.to_string(),
            path("bundle.pem"),
            path("data"),
            path("agent.sock"),
        );
        settings.join_token_file = Some(path("token"));
        Self { dir, settings }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts an agent without waiting for it.
    pub(crate) fn start(&self) -> Agent {
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, ready) = oneshot::channel();
        let settings = self.settings.clone();
        let socket = settings.socket.clone();
        let task = tokio::spawn(async move {
            let on_ready = |one: &Ready| tell.send(one.clone()).unwrap();
            let shutdown = async {
                drop(stopped.await);
            };
            agent::run(settings, on_ready, shutdown).await
        });
        Agent {
            socket,
            ready: Some(ready),
            _stop: Some(stop),
            task,
        }
    }

    /// Starts an agent and waits until it is ready.
    pub(crate) async fn started(&self) -> Agent {
        let mut agent = self.start();
        agent.ready().await;
        agent
    }

    /// The error an agent ends with.
    pub(crate) async fn fails(&self) -> RunError {
        within(self.start().task).await.unwrap().unwrap_err()
    }
}

pub(crate) struct Agent {
    pub(crate) socket: PathBuf,
    ready: Option<oneshot::Receiver<Ready>>,
    _stop: Option<oneshot::Sender<()>>,
    pub(crate) task: JoinHandle<Result<(), RunError>>,
}

impl Agent {
    pub(crate) async fn ready(&mut self) -> Ready {
        match within(self.ready.take().unwrap()).await {
            Ok(ready) => ready,
            Err(_gone) => panic!("the agent ended: {:?}", within(&mut self.task).await),
        }
    }

    /// Stops it, as a signal would.
    pub(crate) async fn stop(mut self) {
        self._stop.take();
        within(self.task).await.unwrap().unwrap();
    }

    pub(crate) async fn status(&self) -> AgentStatus {
        let (code, body) = get(&self.socket, "/v1/status").await;
        assert_eq!(code, 200);
        serde_json::from_str(&body).unwrap()
    }

    /// Waits until the status is as wanted.
    pub(crate) async fn until(&self, wanted: impl Fn(&AgentStatus) -> bool) -> AgentStatus {
        within(async {
            loop {
                let status = self.status().await;
                if wanted(&status) {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
    }

    pub(crate) async fn sds(&self) -> Sds {
        Sds::open(&self.socket).await
    }

    /// The secret of one name, over a stream of its own.
    pub(crate) async fn secret(&self, name: &str) -> Result<Secret, Status> {
        let mut stream = self.sds().await;
        stream.ask(&[name]).await;
        let response = stream.next().await?;
        let mut secrets = secrets(&response);
        assert_eq!(secrets.len(), 1);
        Ok(secrets.remove(0))
    }
}

/// Envoy's end of one stream.
pub(crate) struct Sds {
    requests: mpsc::Sender<DiscoveryRequest>,
    responses: Streaming<DiscoveryResponse>,
}

impl Sds {
    async fn open(socket: &Path) -> Self {
        let mut client = SecretDiscoveryServiceClient::new(channel(socket));
        let (requests, outbound) = mpsc::channel(8);
        let responses = client
            .stream_secrets(ReceiverStream::new(outbound))
            .await
            .unwrap();
        Self {
            requests,
            responses: responses.into_inner(),
        }
    }

    pub(crate) async fn ask(&self, names: &[&str]) {
        self.send(request(names)).await;
    }

    pub(crate) async fn ack(&self, names: &[&str], response: &DiscoveryResponse) {
        self.send(DiscoveryRequest {
            version_info: response.version_info.clone(),
            response_nonce: response.nonce.clone(),
            ..request(names)
        })
        .await;
    }

    pub(crate) async fn send(&self, request: DiscoveryRequest) {
        self.requests.send(request).await.unwrap();
    }

    /// The next response, or the error the stream ends with.
    pub(crate) async fn next(&mut self) -> Result<DiscoveryResponse, Status> {
        within(self.responses.message())
            .await
            .map(|one| one.expect("the stream ended without an error"))
    }

    /// Fails if anything comes within a while.
    pub(crate) async fn silent(&mut self) {
        let heard = tokio::time::timeout(Duration::from_millis(300), self.responses.message());
        assert!(heard.await.is_err(), "a response nobody asked for");
    }
}

pub(crate) fn request(names: &[&str]) -> DiscoveryRequest {
    DiscoveryRequest {
        resource_names: names.iter().map(|&name| name.to_owned()).collect(),
        type_url: Secret::type_url(),
        ..DiscoveryRequest::default()
    }
}

pub(crate) fn channel(socket: &Path) -> Channel {
    let socket = socket.to_owned();
    Endpoint::from_static("http://agent").connect_with_connector_lazy(tower::service_fn(
        move |_uri: http::Uri| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        },
    ))
}

pub(crate) fn secrets(response: &DiscoveryResponse) -> Vec<Secret> {
    assert_eq!(response.type_url, Secret::type_url());
    let decode = |any: &envoy_types::pb::google::protobuf::Any| {
        assert_eq!(any.type_url, Secret::type_url());
        Secret::decode(any.value.as_slice()).unwrap()
    };
    response.resources.iter().map(decode).collect()
}

/// Chain and key of a certificate secret, PEM.
pub(crate) fn certificate(secret: &Secret) -> (String, String) {
    let Some(Type::TlsCertificate(one)) = &secret.r#type else {
        panic!("{} is no certificate", secret.name);
    };
    (
        inline(one.certificate_chain.as_ref().unwrap()),
        inline(one.private_key.as_ref().unwrap()),
    )
}

/// Root certificates of a validation context, PEM.
pub(crate) fn trusted_ca(secret: &Secret) -> String {
    let Some(Type::ValidationContext(one)) = &secret.r#type else {
        panic!("{} is no validation context", secret.name);
    };
    inline(one.trusted_ca.as_ref().unwrap())
}

fn inline(source: &envoy_types::pb::envoy::config::core::v3::DataSource) -> String {
    match &source.specifier {
        Some(Specifier::InlineBytes(bytes)) => String::from_utf8(bytes.clone()).unwrap(),
        other => panic!("not inline bytes: {other:?}"),
    }
}

/// An HTTP/1.1 GET on the agent's socket.
pub(crate) async fn get(socket: &Path, path: &str) -> (u16, String) {
    let (code, body) = get_bytes(socket, path).await;
    (code, String::from_utf8(body).unwrap())
}

/// The same where the answer is no text.
pub(crate) async fn get_bytes(socket: &Path, path: &str) -> (u16, Vec<u8>) {
    let stream = UnixStream::connect(socket).await.unwrap();
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = http::Request::get(path)
        .header("host", "agent")
        .body(String::new())
        .unwrap();
    let response = within(client.send_request(request)).await.unwrap();
    let code = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (code, body.to_vec())
}

/// An entry for this very process.
pub(crate) fn entry(spiffe_id: &str) -> Entry {
    let uid = rustix::process::geteuid().as_raw();
    entry_with(spiffe_id, &[&format!("unix:uid:{uid}")])
}

pub(crate) fn entry_with(spiffe_id: &str, selectors: &[&str]) -> Entry {
    Entry {
        id: format!("entry of {spiffe_id}"),
        spiffe_id: spiffe_id.to_owned(),
        selectors: selectors.iter().map(|&one| one.to_owned()).collect(),
        ttl_seconds: 0,
    }
}

/// Fails instead of hanging.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(LIMIT, future)
        .await
        .expect("it takes too long")
}
