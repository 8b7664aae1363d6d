//! The call itself, and what a chain must look like.

use std::net::IpAddr;
use std::time::Duration;

use api::istio::IstioCertificateRequest;
use api::istio::istio_certificate_service_client::IstioCertificateServiceClient;
use identity::UnixTime;
use identity::pem;
use identity::x509::{SvidProfile, Validity, X509Svid};
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

/// How a client proves who it is.
#[derive(Clone, Debug)]
pub(crate) enum Credential {
    /// The `authorization` header: `Bearer <Kubernetes token>`, or `Join <token>`.
    Header(String),
    /// Key and chain, PEM: what istio-agent finds in `PROV_CERT`.
    Certificate {
        /// Leaf first, without the root.
        chain_pem: String,
        /// PKCS#8.
        key_pem: String,
    },
}

/// Where the authority is and how it is known.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// `host:port`.
    pub(crate) address: String,
    /// The name its certificate must have.
    pub(crate) name: String,
    /// PEM.
    pub(crate) root_pem: String,
    /// The address to come from, where it matters: a pod has one of its own.
    pub(crate) source: Option<IpAddr>,
}

/// One request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ask {
    pub(crate) csr_pem: String,
    pub(crate) ttl_seconds: i64,
    /// `ImpersonatedIdentity`.
    pub(crate) impersonate: Option<String>,
    /// `ClusterID`.
    pub(crate) cluster_id: String,
}

/// Why a call brought no certificate that can be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// There is no connection.
    #[error("no connection")]
    Connect(#[from] tonic::transport::Error),
    /// The server said so.
    #[error("{:?}: {}", .0.code(), .0.message())]
    Status(Box<Status>),
    /// The header cannot be sent.
    #[error("a header is not ASCII")]
    BadHeader,
    /// The chain has too few elements.
    #[error("the chain has {len} elements")]
    ShortChain {
        /// How many.
        len: usize,
    },
    /// An element is not what it must be.
    #[error("an element of the chain is not one PEM certificate ending in a line break")]
    BadElement,
    /// The leaf is no X509-SVID.
    #[error("the leaf does not parse")]
    BadLeaf,
    /// The certificate is for somebody else.
    #[error("the certificate is for {found}")]
    OtherIdentity {
        /// Whom.
        found: String,
    },
    /// No key could be made.
    #[error("no key")]
    Key(#[from] rcgen::Error),
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// Leaf first, root bundle last.
    pub(crate) chain: Vec<String>,
    /// The identity of the leaf.
    pub(crate) id: String,
    /// The leaf's.
    pub(crate) validity: Validity,
}

/// Opens a connection.
pub(crate) async fn connect(target: &Target, by: &Credential) -> Result<Channel, CallError> {
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(&target.root_pem))
        .domain_name(&target.name);
    if let Credential::Certificate { chain_pem, key_pem } = by {
        tls = tls.identity(Identity::from_pem(chain_pem, key_pem));
    }
    let endpoint = Endpoint::from_shared(format!("https://{}", target.address))?
        .tls_config(tls)?
        .connect_timeout(CONNECT_PATIENCE)
        .local_address(target.source);
    Ok(endpoint.connect().await?)
}

/// Asks once.
pub(crate) async fn call(
    channel: Channel,
    by: &Credential,
    ask: &Ask,
) -> Result<Answer, CallError> {
    let identity = ask.impersonate.as_ref().map(|id| {
        let kind = Some(Kind::StringValue(id.clone()));
        ("ImpersonatedIdentity".to_owned(), Value { kind })
    });
    let mut request = Request::new(IstioCertificateRequest {
        csr: ask.csr_pem.clone(),
        validity_duration: ask.ttl_seconds,
        metadata: identity.map(|field| Struct {
            fields: [field].into(),
        }),
    });
    let header = |text: &str| {
        let value: Result<AsciiMetadataValue, _> = text.parse();
        value.map_err(|_not_ascii| CallError::BadHeader)
    };
    if let Credential::Header(authorization) = by {
        let value = header(authorization)?;
        request.metadata_mut().insert("authorization", value);
    }
    if !ask.cluster_id.is_empty() {
        let value = header(&ask.cluster_id)?;
        request.metadata_mut().insert("clusterid", value);
    }
    let answer = IstioCertificateServiceClient::new(channel)
        .create_certificate(request)
        .await?;
    read(answer.into_inner().cert_chain)
}

/// Reads a chain as both clients do: the first element's dates count, the last one is the root.
pub(crate) fn read(chain: Vec<String>) -> Result<Answer, CallError> {
    let leaf = chain.first().ok_or(CallError::ShortChain { len: 0 })?;
    let der = pem::single(leaf, pem::CERTIFICATE, 1 << 16).map_err(|_bad| CallError::BadElement)?;
    let svid = X509Svid::parse(&der, SvidProfile::Istio).map_err(|_no_svid| CallError::BadLeaf)?;
    Ok(Answer {
        id: svid.id().to_string(),
        validity: svid.validity(),
        chain,
    })
}

/// Half of a certificate's life, counted from its first second, in seconds.
pub(crate) fn half_life(validity: Validity) -> i64 {
    validity.not_after.secs_since(validity.not_before) / 2
}

/// Seconds until `at`, none if it is past.
pub(crate) fn until(at: UnixTime, now: UnixTime) -> Duration {
    Duration::from_secs(u64::try_from(at.secs_since(now)).unwrap_or(0))
}

/// gRPC gives up on a connection attempt after this.
const CONNECT_PATIENCE: Duration = Duration::from_secs(20);
