//! Istio's certificate service.

use std::collections::BTreeMap;

use api::istio::istio_certificate_service_server::IstioCertificateService;
use api::istio::{
    CERT_SIGNER, IMPERSONATED_IDENTITY, IstioCertificateRequest, IstioCertificateResponse,
};
use identity::SpiffeId;
use prost_types::Struct;
use prost_types::value::Kind;
use tonic::{Code, Request, Response, Status};

use crate::issue::attest::AttestError;
use crate::issue::{Caller, Issuance, Refusal, Wish};
use crate::serve::front::{Front, Visit};
use crate::serve::{metadata, peer, status};

/// Serves `CreateCertificate`.
#[derive(Clone, Debug)]
pub(crate) struct CertificateApi {
    issuance: Issuance,
    front: Front,
}

impl CertificateApi {
    pub(crate) const fn new(issuance: Issuance, front: Front) -> Self {
        Self { issuance, front }
    }

    /// Serves a request whose turn it is, twice: for its proof, and for its certificate.
    async fn create(
        &self,
        visit: &Visit<'_>,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let permit = visit.prove().await?;
        let caller = peer::caller(&request, &self.issuance).await?;
        let said = metadata::of_headers(request.metadata());
        let mut context = peer::context(&request);
        let request = request.into_inner();
        let wish = match wish(&request, said) {
            Ok(wish) => wish,
            Err(refusal) => {
                self.issuance
                    .record_refusal(&caller.to_string(), None, &refusal)
                    .await
                    .map_err(|error| status::of_inventory(&error))?;
                return Err(status::of_refusal(&refusal));
            }
        };
        // It may take an API server: nobody waits for that with a place that others could be signed in.
        let acting = self.acting(caller.clone(), &wish).await?;
        drop(permit);
        let _permit = visit.issue(&caller).await?;
        context.tell(&acting.selectors(), &wish.metadata);
        let issued = self
            .issuance
            .issue_to(&acting, &request.csr, &wish, context)
            .await
            .map_err(|error| status::of_issue(&error))?;
        Ok(Response::new(IstioCertificateResponse {
            cert_chain: issued.chain,
        }))
    }

    /// A node agent that asks for a pod's identity is looked at as that pod, if it may have it.
    async fn acting(&self, caller: Caller, wish: &Wish) -> Result<Caller, Status> {
        let (Caller::Proven(proven), Some(wanted)) = (&caller, &wish.spiffe_id) else {
            return Ok(caller);
        };
        if proven.spiffe_id() == Some(wanted) {
            return Ok(caller);
        }
        let now = self.issuance.now();
        match self.issuance.proofs().act_for(proven, wanted, now).await {
            Ok(acting) => Ok(Caller::Proven(Box::new(acting))),
            Err(error) => {
                if let AttestError::Refused(refusal) = &error {
                    self.issuance
                        .record_refusal(&caller.to_string(), Some(wanted), refusal)
                        .await
                        .map_err(|error| status::of_inventory(&error))?;
                }
                Err(status::of_attest(&error))
            }
        }
    }
}

#[tonic::async_trait]
impl IstioCertificateService for CertificateApi {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let visit = self.front.visit(&request);
        let answer = self.create(&visit, request).await;
        visit.answered(answer.as_ref().map_or_else(Status::code, |_| Code::Ok));
        answer
    }
}

/// Reads the options. Keys that are not known are left alone, as istiod does: nothing of what is
/// issued depends on them.
fn wish(
    request: &IstioCertificateRequest,
    said: BTreeMap<String, String>,
) -> Result<Wish, Refusal> {
    let metadata = request.metadata.as_ref();
    if text(metadata, CERT_SIGNER)?.is_some_and(|signer| !signer.is_empty()) {
        return Err(Refusal::BadField {
            field: CERT_SIGNER,
            problem: "there is only one signer",
        });
    }
    let spiffe_id = match text(metadata, IMPERSONATED_IDENTITY)? {
        None | Some("") => None,
        Some(id) => Some(SpiffeId::new(id).map_err(|_bad| Refusal::BadField {
            field: IMPERSONATED_IDENTITY,
            problem: "it is not a SPIFFE ID",
        })?),
    };
    Ok(Wish {
        spiffe_id,
        ttl_seconds: request.validity_duration,
        metadata: metadata::of_request(metadata, said),
    })
}

fn text<'a>(metadata: Option<&'a Struct>, field: &'static str) -> Result<Option<&'a str>, Refusal> {
    let Some(value) = metadata.and_then(|metadata| metadata.fields.get(field)) else {
        return Ok(None);
    };
    match &value.kind {
        Some(Kind::StringValue(text)) => Ok(Some(text)),
        Some(Kind::NullValue(_)) | None => Ok(None),
        Some(_) => Err(Refusal::BadField {
            field,
            problem: "it is not a string",
        }),
    }
}
