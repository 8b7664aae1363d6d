//! Istio's certificate service.

use api::istio::istio_certificate_service_server::IstioCertificateService;
use api::istio::{
    CERT_SIGNER, IMPERSONATED_IDENTITY, IstioCertificateRequest, IstioCertificateResponse,
};
use identity::SpiffeId;
use prost_types::Struct;
use prost_types::value::Kind;
use tonic::{Request, Response, Status};

use crate::issue::{Issuance, Refusal, Wish};
use crate::serve::{peer, status};

/// Serves `CreateCertificate`.
#[derive(Clone, Debug)]
pub(crate) struct CertificateApi {
    issuance: Issuance,
}

impl CertificateApi {
    pub(crate) const fn new(issuance: Issuance) -> Self {
        Self { issuance }
    }
}

#[tonic::async_trait]
impl IstioCertificateService for CertificateApi {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let caller = peer::caller(&request, &self.issuance).await?;
        let origin = peer::origin(&request);
        let request = request.into_inner();
        let wish = match wish(&request) {
            Ok(wish) => wish,
            Err(refusal) => {
                self.issuance
                    .record_refusal(&caller.to_string(), None, &refusal)
                    .await
                    .map_err(|error| status::of_inventory(&error))?;
                return Err(status::of_refusal(&refusal));
            }
        };
        let issued = self
            .issuance
            .issue_to(&caller, &request.csr, &wish, origin)
            .await
            .map_err(|error| status::of_issue(&error))?;
        Ok(Response::new(IstioCertificateResponse {
            cert_chain: issued.chain,
        }))
    }
}

/// Reads the options. Keys that are not known are left alone, as istiod does: nothing of what is
/// issued depends on them.
fn wish(request: &IstioCertificateRequest) -> Result<Wish, Refusal> {
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
