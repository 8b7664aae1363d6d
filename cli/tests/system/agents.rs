//! An agent of the authority, and the end of Envoy's that asks it for secrets.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use envoy_types::pb::envoy::config::core::v3::DataSource;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::Secret;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use envoy_types::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use envoy_types::pb::envoy::service::secret::v3::secret_discovery_service_client::SecretDiscoveryServiceClient;
use lab::http::{self, Answer, Target};
use lab::process::{Child, Command};
use lab::ready::{self, NotYet};
use prost::{Message as _, Name as _};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::issued::Received;
use crate::world::{AGENT, GRACE, Home, LIMIT, me, unix_channel};

/// A running agent; killed when dropped.
pub(crate) struct Agent {
    pub(crate) child: Child,
    pub(crate) socket: PathBuf,
}

impl Home {
    pub(crate) fn agent_data(&self) -> PathBuf {
        self.path("agent")
    }

    pub(crate) fn token_file(&self) -> PathBuf {
        self.path("token")
    }

    /// An agent that has proved itself before, or cannot.
    pub(crate) fn agent_command(&self, authority: SocketAddr) -> Command {
        self.command(["agent", "run", "--authority", &authority.to_string()])
            .arg("--bundle")
            .arg(self.data().join("bundle.pem"))
            .arg("--data-dir")
            .arg(self.agent_data())
    }

    /// The same with a join token.
    pub(crate) fn joining_agent(&self, authority: SocketAddr) -> Command {
        self.agent_command(authority)
            .arg("--join-token-file")
            .arg(self.token_file())
    }

    /// A new join token in its file.
    pub(crate) async fn new_token(&self) -> String {
        let made = self.run(["token", "create", AGENT]).await.done();
        let token = made.stdout.trim().to_owned();
        fs::write(self.token_file(), &token).unwrap();
        token
    }

    /// Lets the agent have `id` for this process.
    pub(crate) async fn register(&self, id: &str, ttl: &str) {
        let selector = me();
        let args = ["entry", "create", "--parent", AGENT, "--id", id];
        let rest = ["--selector", &selector, "--ttl", ttl];
        self.run(args.into_iter().chain(rest)).await.done();
    }

    /// An agent that joined and is ready.
    pub(crate) async fn joined_agent(&self, authority: SocketAddr) -> Agent {
        self.new_token().await;
        Agent::start(&self.joining_agent(authority)).await
    }
}

impl Agent {
    pub(crate) async fn start(command: &Command) -> Self {
        Self::ready(command.start().unwrap()).await
    }

    pub(crate) async fn ready(mut child: Child) -> Self {
        let event = ready::event(&mut child, "ready", LIMIT).await.unwrap();
        assert_eq!(event["spiffe_id"], AGENT);
        let socket = PathBuf::from(event["socket"].as_str().unwrap());
        Self { child, socket }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        let target = Target::Unix(self.socket.clone());
        http::get(&target, path).await.unwrap()
    }

    /// Waits for a status that `wanted` takes something from.
    pub(crate) async fn until<T>(&mut self, what: &str, wanted: impl Fn(&Value) -> Option<T>) -> T {
        let target = Target::Unix(self.socket.clone());
        ready::until(what, LIMIT, Some(&mut self.child), async || {
            let status = http::get(&target, "/v1/status").await?.json();
            wanted(&status).ok_or_else(|| NotYet(status.to_string()))
        })
        .await
        .unwrap()
    }

    /// The certificate that a new Envoy would get now.
    pub(crate) async fn certificate(&self, id: &str) -> Received {
        let mut envoy = Sds::subscribe(&self.socket, id).await.unwrap();
        let secret = tokio::time::timeout(LIMIT, envoy.next()).await;
        let (chain, key) = secret.expect("no secret came").unwrap();
        assert!(key.starts_with("-----BEGIN PRIVATE KEY-----"));
        Received::of_chain(&chain)
    }

    pub(crate) async fn stop(mut self) {
        let status = self.child.stop(GRACE).await.unwrap();
        assert!(status.success(), "{status}: {}", self.child.log_tail());
    }
}

/// Envoy's end of one subscription.
pub(crate) struct Sds {
    id: String,
    requests: mpsc::Sender<DiscoveryRequest>,
    responses: Streaming<DiscoveryResponse>,
}

impl Sds {
    pub(crate) async fn subscribe(socket: &Path, id: &str) -> Result<Self, Status> {
        let (requests, outbound) = mpsc::channel(4);
        let stream = Self {
            id: id.to_owned(),
            requests,
            responses: SecretDiscoveryServiceClient::new(unix_channel(socket))
                .stream_secrets(ReceiverStream::new(outbound))
                .await?
                .into_inner(),
        };
        stream.ask(DiscoveryRequest::default()).await?;
        Ok(stream)
    }

    /// The next chain and key, PEM; acknowledged, so that the one after it comes.
    pub(crate) async fn next(&mut self) -> Result<(String, String), Status> {
        let response = self.responses.message().await?;
        let response = response.ok_or_else(|| Status::unavailable("the stream ended"))?;
        self.ask(DiscoveryRequest {
            version_info: response.version_info.clone(),
            response_nonce: response.nonce.clone(),
            ..DiscoveryRequest::default()
        })
        .await?;
        assert_eq!(response.resources.len(), 1);
        let secret = Secret::decode(response.resources[0].value.as_slice()).unwrap();
        assert_eq!(secret.name, self.id);
        let Some(Type::TlsCertificate(one)) = secret.r#type else {
            panic!("{} is no certificate", secret.name);
        };
        Ok((inline(one.certificate_chain), inline(one.private_key)))
    }

    async fn ask(&self, request: DiscoveryRequest) -> Result<(), Status> {
        let request = DiscoveryRequest {
            resource_names: vec![self.id.clone()],
            type_url: Secret::type_url(),
            ..request
        };
        let gone = |_| Status::unavailable("the stream ended");
        self.requests.send(request).await.map_err(gone)
    }
}

fn inline(source: Option<DataSource>) -> String {
    match source.and_then(|source| source.specifier) {
        Some(Specifier::InlineBytes(bytes)) => String::from_utf8(bytes).unwrap(),
        other => panic!("not inline bytes: {other:?}"),
    }
}
