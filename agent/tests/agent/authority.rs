//! An authority that does as it is told, failures included.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use api::{
    agent::{
        BundleSnapshot, DenyListUpdate, EntriesSnapshot, Entry, HeldPolicyBundle,
        PolicyBundleUpdate, WatchBundleRequest, WatchDenyListRequest, WatchEntriesRequest,
        WatchPolicyBundlesRequest,
        agent_service_server::{AgentService, AgentServiceServer},
    },
    istio::{
        IMPERSONATED_IDENTITY, IstioCertificateRequest, IstioCertificateResponse,
        istio_certificate_service_server::{
            IstioCertificateService, IstioCertificateServiceServer,
        },
    },
};
use futures::{Stream, StreamExt};
use hyper_util::rt::{TokioExecutor, TokioIo};
use identity::x509::{SvidProfile, X509Svid};
use prost_types::value::Kind;
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::{net::TcpListener, sync::watch};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::WatchStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, service::Routes};
use tower::ServiceExt;

use crate::ca::Ca;

pub(crate) const AGENT: &str = "spiffe://cluster.local/countersign/agent/one";
pub(crate) const TOKEN: &str = "the-token";

#[derive(Clone)]
pub(crate) struct Authority(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) ca: Ca,
    pub(crate) address: SocketAddr,
    state: Mutex<State>,
    pub(crate) entries: watch::Sender<Vec<Entry>>,
    pub(crate) bundle: watch::Sender<BundleSnapshot>,
    pub(crate) deny_list: watch::Sender<Option<DenyListUpdate>>,
    pub(crate) policy_bundle: watch::Sender<Option<PolicyBundleUpdate>>,
    /// What agents said they hold of policy bundles, at each opening of their stream.
    pub(crate) held_bundles: Mutex<Vec<Vec<HeldPolicyBundle>>>,
    /// What agents said they hold, at each opening of the deny list's stream.
    pub(crate) watched: Mutex<Vec<(u64, u64)>>,
    up: Mutex<Option<CancellationToken>>,
}

/// What it does with requests, and what it has done.
pub(crate) struct State {
    /// Lifetime of workload certificates.
    pub(crate) ttl: Duration,
    /// Lifetime of agents' certificates.
    pub(crate) agent_ttl: Duration,
    /// Refuse every request for a certificate with this.
    pub(crate) fail: Option<Code>,
    /// Lose the answer to this many requests, after acting on them.
    pub(crate) lose_answers: u32,
    /// Take this long.
    pub(crate) delay: Duration,
    /// SPKI that spent the token, with the answer.
    pub(crate) token_spent: Option<(Vec<u8>, Vec<String>)>,
    /// Certificates given, by identity.
    pub(crate) issued: HashMap<String, u32>,
    /// Lifetimes asked for, by identity.
    pub(crate) asked_ttl: HashMap<String, i64>,
}

impl std::ops::Deref for Authority {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Authority {
    /// An authority that does not listen yet, on an address of its own.
    pub(crate) async fn down() -> Self {
        let ca = Ca::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bundle = BundleSnapshot {
            trust_domain: "cluster.local".to_owned(),
            root_pem: ca.root_pem.clone(),
            issuer_pems: vec![ca.intermediate_pem.clone()],
            deny_list_key_pems: vec![ca.list_key_pem()],
        };
        Self(Arc::new(Inner {
            ca,
            address: listener.local_addr().unwrap(),
            state: Mutex::new(State {
                ttl: Duration::from_secs(3600),
                agent_ttl: Duration::from_secs(3600),
                fail: None,
                lose_answers: 0,
                delay: Duration::ZERO,
                token_spent: None,
                issued: HashMap::new(),
                asked_ttl: HashMap::new(),
            }),
            entries: watch::Sender::new(Vec::new()),
            bundle: watch::Sender::new(bundle),
            deny_list: watch::Sender::new(None),
            policy_bundle: watch::Sender::new(None),
            held_bundles: Mutex::default(),
            watched: Mutex::default(),
            up: Mutex::new(None),
        }))
    }

    /// An authority that listens.
    pub(crate) async fn up() -> Self {
        let authority = Self::down().await;
        authority.start().await;
        authority
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    pub(crate) fn issued(&self, spiffe_id: &str) -> u32 {
        self.state().issued.get(spiffe_id).copied().unwrap_or(0)
    }

    /// Listens and serves.
    pub(crate) async fn start(&self) {
        let listener = loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => break listener,
                Err(_still_closing) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        let stop = CancellationToken::new();
        *self.0.up.lock().unwrap() = Some(stop.clone());
        let acceptor = TlsAcceptor::from(Arc::new(server_config(&self.ca)));
        let authority = self.clone();
        tokio::spawn(async move {
            loop {
                let (tcp, _) = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap(),
                    () = stop.cancelled() => return,
                };
                let connection = authority.clone().converse(acceptor.clone(), tcp);
                let stop = stop.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        () = connection => {}
                        () = stop.cancelled() => {}
                    }
                });
            }
        });
    }

    /// Closes the listener and every connection.
    pub(crate) fn stop(&self) {
        self.0.up.lock().unwrap().take().unwrap().cancel();
    }

    async fn converse(self, acceptor: TlsAcceptor, tcp: tokio::net::TcpStream) {
        let Ok(tls) = acceptor.accept(tcp).await else {
            return;
        };
        let shown = tls.get_ref().1.peer_certificates().map(|chain| {
            let leaf = X509Svid::parse(&chain[0], SvidProfile::Strict).unwrap();
            Caller(leaf.id().to_string())
        });
        let router = Routes::new(IstioCertificateServiceServer::new(self.clone()))
            .add_service(AgentServiceServer::new(self))
            .into_axum_router();
        let service = hyper::service::service_fn(move |mut request: http::Request<_>| {
            if let Some(caller) = shown.clone() {
                request.extensions_mut().insert(caller);
            }
            let router = router.clone();
            async move { Ok::<_, Infallible>(router.oneshot(request).await.unwrap()) }
        });
        drop(
            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(tls), service)
                .await,
        );
    }
}

/// The identity on the client's certificate.
#[derive(Clone)]
struct Caller(String);

fn caller<T>(request: &Request<T>) -> Result<String, Status> {
    let caller = request.extensions().get::<Caller>();
    caller
        .map(|one| one.0.clone())
        .ok_or_else(|| Status::unauthenticated("no client certificate"))
}

#[tonic::async_trait]
impl IstioCertificateService for Authority {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let delay = self.state().delay;
        tokio::time::sleep(delay).await;
        if let Some(code) = self.state().fail {
            return Err(Status::new(code, "told to fail"));
        }
        let token = request.metadata().get("authorization").cloned();
        let cert_chain = match token {
            Some(token) => self.join(token.to_str().unwrap(), request.get_ref())?,
            None => {
                let caller = caller(&request)?;
                self.renew(&caller, request.get_ref())?
            }
        };
        let mut state = self.state();
        if state.lose_answers > 0 {
            state.lose_answers -= 1;
            return Err(Status::unavailable("the answer was lost"));
        }
        Ok(Response::new(IstioCertificateResponse { cert_chain }))
    }
}

impl Authority {
    fn join(&self, proof: &str, request: &IstioCertificateRequest) -> Result<Vec<String>, Status> {
        if proof != format!("Join {TOKEN}") {
            return Err(Status::unauthenticated("unknown join token"));
        }
        let spent = self.state().token_spent.clone();
        match spent {
            Some((key, answer)) if key == key_of(&request.csr) => Ok(answer),
            Some(_) => Err(Status::unauthenticated("join token already used")),
            None => {
                let answer = self.issue(AGENT, request);
                self.state().token_spent = Some((key_of(&request.csr), answer.clone()));
                Ok(answer)
            }
        }
    }

    fn renew(
        &self,
        caller: &str,
        request: &IstioCertificateRequest,
    ) -> Result<Vec<String>, Status> {
        let fields = request.metadata.as_ref().map(|metadata| &metadata.fields);
        let value = fields.and_then(|fields| fields.get(IMPERSONATED_IDENTITY));
        let Some(value) = value else {
            return Ok(self.issue(caller, request));
        };
        let Some(Kind::StringValue(workload)) = &value.kind else {
            return Err(Status::invalid_argument("not a string"));
        };
        let entries = self.entries.borrow().clone();
        if !entries.iter().any(|entry| entry.spiffe_id == *workload) {
            return Err(Status::permission_denied("no entry"));
        }
        Ok(self.issue(workload, request))
    }

    fn issue(&self, spiffe_id: &str, request: &IstioCertificateRequest) -> Vec<String> {
        let mut state = self.state();
        let ttl = if spiffe_id == AGENT {
            state.agent_ttl
        } else {
            state.ttl
        };
        *state.issued.entry(spiffe_id.to_owned()).or_default() += 1;
        let asked = request.validity_duration;
        state.asked_ttl.insert(spiffe_id.to_owned(), asked);
        self.ca.sign(&request.csr, spiffe_id, ttl)
    }
}

type Outbound<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AgentService for Authority {
    type WatchEntriesStream = Outbound<EntriesSnapshot>;
    type WatchDenyListStream = Outbound<DenyListUpdate>;
    type WatchPolicyBundlesStream = Outbound<PolicyBundleUpdate>;
    type WatchBundleStream = Outbound<BundleSnapshot>;

    async fn watch_entries(
        &self,
        request: Request<WatchEntriesRequest>,
    ) -> Result<Response<Self::WatchEntriesStream>, Status> {
        caller(&request)?;
        let stream = WatchStream::new(self.entries.subscribe());
        let stream = stream.map(|entries| Ok(EntriesSnapshot { entries }));
        Ok(Response::new(Box::pin(stream)))
    }

    async fn watch_deny_list(
        &self,
        request: Request<WatchDenyListRequest>,
    ) -> Result<Response<Self::WatchDenyListStream>, Status> {
        caller(&request)?;
        let WatchDenyListRequest { epoch, sequence } = request.into_inner();
        self.watched.lock().unwrap().push((epoch, sequence));
        let stream = WatchStream::new(self.deny_list.subscribe());
        let stream = stream.filter_map(|list| std::future::ready(list.map(Ok)));
        Ok(Response::new(Box::pin(stream)))
    }

    async fn watch_policy_bundles(
        &self,
        request: Request<WatchPolicyBundlesRequest>,
    ) -> Result<Response<Self::WatchPolicyBundlesStream>, Status> {
        caller(&request)?;
        let held = request.into_inner().held;
        self.held_bundles.lock().unwrap().push(held);
        let stream = WatchStream::new(self.policy_bundle.subscribe());
        let stream = stream.filter_map(|bundle| std::future::ready(bundle.map(Ok)));
        Ok(Response::new(Box::pin(stream)))
    }

    async fn watch_bundle(
        &self,
        request: Request<WatchBundleRequest>,
    ) -> Result<Response<Self::WatchBundleStream>, Status> {
        caller(&request)?;
        let stream = WatchStream::new(self.bundle.subscribe()).map(Ok);
        Ok(Response::new(Box::pin(stream)))
    }
}

fn key_of(csr_pem: &str) -> Vec<u8> {
    let request = rcgen::CertificateSigningRequestParams::from_pem(csr_pem).unwrap();
    rcgen::PublicKeyData::der_bytes(&request.public_key).to_vec()
}

fn server_config(ca: &Ca) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca.root_pem.as_bytes()).unwrap())
        .unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .unwrap();
    let (chain, key) = ca.server();
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .unwrap();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key.into())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}
