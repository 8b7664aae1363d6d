//! An authority in a temporary folder, and clients of it.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use api::admin::admin_service_client::AdminServiceClient;
use api::admin::{
    Certificate, ChangeStateRequest, ChangeStateResponse, CreateEntryRequest,
    CreateJoinTokenRequest, Entry, GetStatusRequest, GetStatusResponse, ListCertificatesRequest,
    ListRefusalsRequest, Refusal, StateAction, change_state_request::Selector,
};
use api::istio::istio_certificate_service_client::IstioCertificateServiceClient;
use api::istio::{IMPERSONATED_IDENTITY, IstioCertificateRequest};
use authority::clock::{Clock as _, ManualClock};
use authority::{Running, Settings};
use identity::x509::{SvidProfile, X509Svid};
use identity::{TrustDomain, UnixTime, pem};
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, SignatureAlgorithm};
use tempfile::TempDir;
use tonic::transport::{Certificate as TlsRoot, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

pub(crate) const AGENT: &str = "spiffe://cluster.local/countersign/agent/one";
pub(crate) const OTHER_AGENT: &str = "spiffe://cluster.local/countersign/agent/two";
pub(crate) const HTTPBIN: &str = "spiffe://cluster.local/ns/default/sa/httpbin";
pub(crate) const SLEEP: &str = "spiffe://cluster.local/ns/default/sa/sleep";

pub(crate) fn real_now() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    UnixTime::from_secs(i64::try_from(since.as_secs()).unwrap())
}

pub(crate) fn settings(dir: &Path) -> Settings {
    Settings::new(TrustDomain::new("cluster.local").unwrap(), dir)
}

/// A running authority whose clock starts at the real time and is moved by the test.
pub(crate) struct Authority {
    pub(crate) running: Running,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) dir: TempDir,
}

impl Authority {
    pub(crate) async fn start() -> Self {
        Self::start_in(TempDir::new().unwrap(), |_| {}).await
    }

    pub(crate) async fn start_in(dir: TempDir, change: impl FnOnce(&mut Settings)) -> Self {
        let clock = Arc::new(ManualClock::new(real_now()));
        let mut settings = settings(&dir.path().join("data"));
        settings.clock = Arc::clone(&clock) as Arc<_>;
        change(&mut settings);
        let running = authority::start(settings).await.unwrap();
        Self {
            running,
            clock,
            dir,
        }
    }

    /// Stops, and gives the folder for the next one.
    pub(crate) async fn stop(self) -> TempDir {
        self.running.stop().await;
        self.dir
    }

    pub(crate) fn now(&self) -> UnixTime {
        self.clock.now()
    }

    pub(crate) fn root_pem(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("data/bundle.pem")).unwrap()
    }

    pub(crate) async fn admin(&self) -> AdminServiceClient<Channel> {
        admin(&self.running.ready().admin_socket).await
    }

    pub(crate) async fn channel(&self, held: Option<&Held>) -> Channel {
        let address = self.running.ready().address;
        channel(&address.to_string(), &self.root_pem(), held)
            .await
            .unwrap()
    }

    pub(crate) async fn token(&self, id: &str) -> String {
        let request = CreateJoinTokenRequest {
            spiffe_id: id.to_owned(),
            ttl_seconds: 0,
        };
        self.admin()
            .await
            .create_join_token(request)
            .await
            .unwrap()
            .into_inner()
            .token
    }

    pub(crate) async fn entry(&self, parent: &str, id: &str, ttl_seconds: i64) -> Entry {
        let entry = Entry {
            parent_id: parent.to_owned(),
            spiffe_id: id.to_owned(),
            selectors: vec!["unix:uid:0".to_owned()],
            ttl_seconds,
            ..Entry::default()
        };
        let request = CreateEntryRequest { entry: Some(entry) };
        self.admin()
            .await
            .create_entry(request)
            .await
            .unwrap()
            .into_inner()
            .entry
            .unwrap()
    }

    /// An agent that joined with a fresh token.
    pub(crate) async fn agent(&self, id: &str) -> Held {
        let token = self.token(id).await;
        self.join(&token, &key(), &Ask::default()).await.unwrap()
    }

    pub(crate) async fn join(&self, token: &str, key: &KeyPair, ask: &Ask) -> Result<Held, Status> {
        let channel = self.channel(None).await;
        create(channel, Some(&format!("Join {token}")), key, ask).await
    }

    /// Asks with the bearer token `token`, as istio-agent does.
    pub(crate) async fn bear(&self, token: &str, ask: &Ask) -> Result<Held, Status> {
        let header = format!("Bearer {token}");
        create(self.channel(None).await, Some(&header), &key(), ask).await
    }

    /// Asks with the certificate `by`.
    pub(crate) async fn ask(&self, by: &Held, key: &KeyPair, ask: &Ask) -> Result<Held, Status> {
        create(self.channel(Some(by)).await, None, key, ask).await
    }

    pub(crate) async fn change(
        &self,
        selector: Selector,
        action: StateAction,
    ) -> Result<ChangeStateResponse, Status> {
        let request = ChangeStateRequest {
            selector: Some(selector),
            action: action.into(),
            reason: "a test".to_owned(),
        };
        Ok(self.admin().await.change_state(request).await?.into_inner())
    }

    pub(crate) async fn refusals(&self) -> Vec<Refusal> {
        let request = ListRefusalsRequest { limit: 0 };
        self.admin()
            .await
            .list_refusals(request)
            .await
            .unwrap()
            .into_inner()
            .refusals
    }

    /// The newest refusal.
    pub(crate) async fn refusal(&self) -> Refusal {
        self.refusals()
            .await
            .into_iter()
            .next()
            .expect("a refusal on record")
    }

    pub(crate) async fn certificates(&self) -> Vec<Certificate> {
        let request = ListCertificatesRequest {
            limit: 10_000,
            ..Default::default()
        };
        self.admin()
            .await
            .list_certificates(request)
            .await
            .unwrap()
            .into_inner()
            .certificates
    }

    pub(crate) async fn status(&self) -> GetStatusResponse {
        self.admin()
            .await
            .get_status(GetStatusRequest {})
            .await
            .unwrap()
            .into_inner()
    }
}

/// What a test asks for beside the key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ask {
    pub(crate) impersonate: Option<&'static str>,
    pub(crate) ttl_seconds: i64,
    /// Sent in place of an honest CSR.
    pub(crate) csr: Option<String>,
    /// The header `clusterid`.
    pub(crate) cluster: Option<&'static str>,
}

impl Ask {
    pub(crate) fn id(id: &'static str) -> Self {
        Self {
            impersonate: Some(id),
            ..Self::default()
        }
    }

    pub(crate) fn ttl(ttl_seconds: i64) -> Self {
        Self {
            ttl_seconds,
            ..Self::default()
        }
    }

    pub(crate) fn csr(csr: String) -> Self {
        Self {
            csr: Some(csr),
            ..Self::default()
        }
    }
}

/// A certificate and its key.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) chain: Vec<String>,
    pub(crate) key_pem: String,
    pub(crate) svid: X509Svid,
}

impl Held {
    pub(crate) fn serial(&self) -> String {
        self.svid.serial_hex().to_owned()
    }
}

pub(crate) fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

pub(crate) fn key_of(algorithm: &'static SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(algorithm).unwrap()
}

pub(crate) fn csr(key: &KeyPair) -> String {
    CertificateParams::default()
        .serialize_request(key)
        .unwrap()
        .pem()
        .unwrap()
}

pub(crate) fn parse(leaf_pem: &str) -> X509Svid {
    let der = pem::single(leaf_pem, pem::CERTIFICATE, 1 << 16).unwrap();
    X509Svid::parse(&der, SvidProfile::Strict).unwrap()
}

pub(crate) async fn admin(socket: &Path) -> AdminServiceClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap();
    AdminServiceClient::new(endpoint.connect().await.unwrap())
}

pub(crate) async fn channel(
    address: &str,
    root_pem: &str,
    held: Option<&Held>,
) -> Result<Channel, tonic::transport::Error> {
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(TlsRoot::from_pem(root_pem))
        .domain_name("countersign-authority");
    if let Some(held) = held {
        tls = tls.identity(Identity::from_pem(held.chain[..2].concat(), &held.key_pem));
    }
    Endpoint::from_shared(format!("https://{address}"))?
        .tls_config(tls)?
        .connect()
        .await
}

pub(crate) async fn create(
    channel: Channel,
    authorization: Option<&str>,
    key: &KeyPair,
    ask: &Ask,
) -> Result<Held, Status> {
    let fields = ask.impersonate.map(|id| {
        let value = Value {
            kind: Some(Kind::StringValue(id.to_owned())),
        };
        (IMPERSONATED_IDENTITY.to_owned(), value)
    });
    let mut request = Request::new(IstioCertificateRequest {
        csr: ask.csr.clone().unwrap_or_else(|| csr(key)),
        validity_duration: ask.ttl_seconds,
        metadata: Some(Struct {
            fields: fields.into_iter().collect(),
        }),
    });
    if let Some(text) = authorization {
        request
            .metadata_mut()
            .insert("authorization", text.parse().unwrap());
    }
    if let Some(name) = ask.cluster {
        request
            .metadata_mut()
            .insert("clusterid", name.parse().unwrap());
    }
    let reply = IstioCertificateServiceClient::new(channel)
        .create_certificate(request)
        .await?;
    let chain = reply.into_inner().cert_chain;
    Ok(Held {
        svid: parse(&chain[0]),
        key_pem: key.serialize_pem(),
        chain,
    })
}
