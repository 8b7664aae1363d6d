//! An agent that asks the authority over mutual TLS.

use api::istio::istio_certificate_service_client::IstioCertificateServiceClient;
use api::istio::{IMPERSONATED_IDENTITY, IstioCertificateRequest, JOIN_SCHEME};
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

use super::Wanted;
use crate::failure::Failure;
use crate::keys;
use crate::mesh::Authority;

/// Requests in flight that share a connection.
const PER_CONNECTION: usize = 16;

/// Key and certificate of an agent.
pub(super) struct Caller {
    identity: Identity,
    root: Certificate,
}

impl Caller {
    /// Buys the agent's certificate with a join token.
    pub(super) async fn join(authority: &Authority, token: &str) -> Result<Self, Failure> {
        let failed = Failure::part("joining");
        let root = std::fs::read(authority.bundle()).map_err(Failure::part("bundle"))?;
        let root = Certificate::from_pem(root);
        let requested = keys::request()?;
        let mut request = Request::new(IstioCertificateRequest {
            csr: requested.csr_pem,
            ..IstioCertificateRequest::default()
        });
        let proof = format!("{JOIN_SCHEME} {token}");
        let proof = proof.parse().map_err(Failure::part("join token"))?;
        request.metadata_mut().insert("authorization", proof);
        let channel = connect(authority, tls(&root)).await?;
        let answer = IstioCertificateServiceClient::new(channel)
            .create_certificate(request)
            .await
            .map_err(failed)?;
        let chain = answer.into_inner().cert_chain;
        let sent = chain.split_last().map_or(&[][..], |(_root, sent)| sent);
        Ok(Self {
            identity: Identity::from_pem(sent.concat(), requested.key_pem),
            root,
        })
    }

    /// Connections enough for so many requests in flight.
    pub(super) async fn connections(
        &self,
        authority: &Authority,
        in_flight: usize,
    ) -> Result<Vec<Client>, Failure> {
        let mut clients = Vec::new();
        for _ in 0..in_flight.div_ceil(PER_CONNECTION) {
            let tls = tls(&self.root).identity(self.identity.clone());
            let channel = connect(authority, tls).await?;
            clients.push(Client(IstioCertificateServiceClient::new(channel)));
        }
        Ok(clients)
    }
}

/// A connection; clones share it.
#[derive(Clone)]
pub(super) struct Client(IstioCertificateServiceClient<Channel>);

impl Client {
    /// One certificate; returns the chain.
    pub(super) async fn create(
        &mut self,
        wanted: &Wanted,
        seconds: i64,
    ) -> Result<Vec<String>, Status> {
        let identity = Value {
            kind: Some(Kind::StringValue(wanted.id.clone())),
        };
        let request = IstioCertificateRequest {
            csr: wanted.csr_pem.clone(),
            validity_duration: seconds,
            metadata: Some(Struct {
                fields: [(IMPERSONATED_IDENTITY.to_owned(), identity)].into(),
            }),
        };
        let answer = self.0.create_certificate(request).await?;
        Ok(answer.into_inner().cert_chain)
    }
}

fn tls(root: &Certificate) -> ClientTlsConfig {
    ClientTlsConfig::new()
        .ca_certificate(root.clone())
        .domain_name("countersign-authority")
}

async fn connect(authority: &Authority, tls: ClientTlsConfig) -> Result<Channel, Failure> {
    let failed = Failure::part("connecting to the authority");
    Endpoint::from_shared(format!("https://{}", authority.address()))
        .and_then(|endpoint| endpoint.tls_config(tls))
        .map_err(&failed)?
        .connect()
        .await
        .map_err(&failed)
}
