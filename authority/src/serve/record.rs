//! The record, to be read by whoever may administer.

use api::record::prove_inclusion_request::What;
use api::record::record_service_server::RecordService;
use api::record::*;
use tonic::{Code, Request, Response, Status};

use crate::audit::key::LogPublicKey;
use crate::audit::note::{origin, verifier_key};
use crate::inventory::search::{Page, Search, SearchError};
use crate::inventory::{CertificateRecord, CertificateState, ProofError, RefusalRecord};
use crate::issue::Issuance;
use crate::serve::admin::{hex_text, limit};
use crate::serve::status;

/// Serves the record.
#[derive(Clone, Debug)]
pub(crate) struct RecordApi {
    /// Reads the record.
    pub(crate) issuance: Issuance,
    /// The audit log's public key.
    pub(crate) log_key: LogPublicKey,
}

#[tonic::async_trait]
impl RecordService for RecordApi {
    async fn search_certificates(
        &self,
        request: Request<SearchRequest>,
    ) -> Result<Response<SearchCertificatesResponse>, Status> {
        let search = search(request.into_inner())?;
        let found = self
            .issuance
            .inventory()
            .search_certificates(&search, self.issuance.now());
        let Page { rows, next } = found.await.map_err(|error| of_search(&error))?;
        let certificates = rows.iter().map(certificate).collect();
        Ok(Response::new(SearchCertificatesResponse {
            certificates,
            next,
        }))
    }

    async fn search_refusals(
        &self,
        request: Request<SearchRequest>,
    ) -> Result<Response<SearchRefusalsResponse>, Status> {
        let search = search(request.into_inner())?;
        let found = self
            .issuance
            .inventory()
            .search_refusals(&search, self.issuance.now());
        let Page { rows, next } = found.await.map_err(|error| of_search(&error))?;
        let refusals = rows.into_iter().map(refusal).collect();
        Ok(Response::new(SearchRefusalsResponse { refusals, next }))
    }

    async fn report_expiry(
        &self,
        _request: Request<ExpiryRequest>,
    ) -> Result<Response<ExpiryResponse>, Status> {
        let now = self.issuance.now();
        let buckets = self.issuance.inventory().expiry(now).await;
        let buckets = buckets.map_err(|error| status::of_inventory(&error))?;
        let bucket = |bucket: crate::inventory::ExpiryBucket| ExpiryBucket {
            from_seconds: bucket.from,
            to_seconds: bucket.to,
            certificates: bucket.certificates,
        };
        Ok(Response::new(ExpiryResponse {
            buckets: buckets.into_iter().map(bucket).collect(),
            now: now.as_secs(),
        }))
    }

    async fn get_tree_head(
        &self,
        request: Request<GetTreeHeadRequest>,
    ) -> Result<Response<GetTreeHeadResponse>, Status> {
        let size = request.into_inner().size;
        let note = self.issuance.inventory().signed_head(size).await;
        let note = note.map_err(|error| status::of_inventory(&error))?;
        let note = note.ok_or_else(|| Status::not_found("no tree head of that size is signed"))?;
        let trust_domain = self.issuance.policy().trust_domain().as_str();
        Ok(Response::new(GetTreeHeadResponse {
            note,
            public_key_pem: self.log_key.to_pem(),
            verifier_key: verifier_key(&origin(trust_domain, &self.log_key), &self.log_key),
        }))
    }

    async fn prove_inclusion(
        &self,
        request: Request<ProveInclusionRequest>,
    ) -> Result<Response<ProveInclusionResponse>, Status> {
        let inventory = self.issuance.inventory();
        let proof = match request.into_inner().what {
            Some(What::Serial(serial)) => inventory.prove_certificate(&hex_text(&serial)).await,
            Some(What::Position(position)) => inventory.prove_leaf(position).await,
            None => return Err(Status::invalid_argument("what: it is missing")),
        };
        let proof = proof.map_err(|error| of_proof(&error))?;
        Ok(Response::new(ProveInclusionResponse {
            position: proof.position,
            leaf: proof.leaf,
            path: proof.path.iter().map(ToString::to_string).collect(),
            note: proof.head,
        }))
    }

    async fn prove_consistency(
        &self,
        request: Request<ProveConsistencyRequest>,
    ) -> Result<Response<ProveConsistencyResponse>, Status> {
        let request = request.into_inner();
        let inventory = self.issuance.inventory();
        let proof = inventory.prove_consistency(request.old, request.new).await;
        let proof = proof.map_err(|error| of_proof(&error))?;
        Ok(Response::new(ProveConsistencyResponse {
            old: proof.old.0,
            old_root: proof.old.1.to_string(),
            new: proof.new.0,
            new_root: proof.new.1.to_string(),
            path: proof.path.iter().map(ToString::to_string).collect(),
        }))
    }

    async fn list_leaves(
        &self,
        request: Request<ListLeavesRequest>,
    ) -> Result<Response<ListLeavesResponse>, Status> {
        let request = request.into_inner();
        let before = (request.before > 0).then_some(request.before);
        let inventory = self.issuance.inventory();
        let leaves = inventory.leaves_before(before, limit(request.limit)?).await;
        let leaves = leaves.map_err(|error| status::of_inventory(&error))?;
        let leaf = |(position, leaf)| AuditLeaf { position, leaf };
        Ok(Response::new(ListLeavesResponse {
            leaves: leaves.into_iter().map(leaf).collect(),
        }))
    }
}

fn search(request: SearchRequest) -> Result<Search, Status> {
    Ok(Search {
        query: request.query,
        limit: limit(request.limit)?,
        cursor: request.cursor,
    })
}

fn certificate(record: &CertificateRecord) -> InventoryCertificate {
    let place = record.location.clone();
    InventoryCertificate {
        serial: record.serial.clone(),
        sha256: record.sha256.clone(),
        spiffe_id: record.spiffe_id.to_string(),
        issuer_sha256: record.issuer_sha256.clone(),
        key_type: record.key_type.clone(),
        spki_sha256: record.spki_sha256.clone(),
        not_before: record.not_before.as_secs(),
        not_after: record.not_after.as_secs(),
        issued_at: record.issued_at.as_secs(),
        caller: record.caller.clone(),
        proof: record.proof.clone(),
        entry_id: record.entry_id.clone().unwrap_or_default(),
        state: match record.state {
            CertificateState::Good => "active".to_owned(),
            other => other.to_string(),
        },
        state_since: record.state_since.as_secs(),
        reason: record.reason.clone(),
        key_bits: record
            .key_bits
            .and_then(|bits| u32::try_from(bits).ok())
            .unwrap_or(0),
        signature_algorithm: record.signature_algorithm.clone().unwrap_or_default(),
        location: Some(Location {
            cluster: place.cluster.unwrap_or_default(),
            namespace: place.namespace.unwrap_or_default(),
            pod: place.pod.unwrap_or_default(),
            node: place.node.unwrap_or_default(),
            address: place.address.unwrap_or_default(),
        }),
        metadata: record.metadata.pairs().clone().into_iter().collect(),
    }
}

fn refusal(record: RefusalRecord) -> RefusedRequest {
    RefusedRequest {
        at: record.at.as_secs(),
        caller: record.caller,
        spiffe_id: record.spiffe_id,
        code: record.code,
        detail: record.detail,
        alarm: record.alarm,
    }
}

fn of_search(error: &SearchError) -> Status {
    match error {
        SearchError::Inventory(error) => status::of_inventory(error),
        other => Status::invalid_argument(other.to_string()),
    }
}

fn of_proof(error: &ProofError) -> Status {
    let code = match error {
        ProofError::Inventory(error) => return status::of_inventory(error),
        ProofError::UnknownSerial { .. } => Code::NotFound,
        ProofError::BeforeTheLog { .. } | ProofError::NotSigned { .. } => Code::FailedPrecondition,
        ProofError::OutOfRange { .. } => Code::OutOfRange,
        ProofError::BadSizes { .. } => Code::InvalidArgument,
    };
    Status::new(code, error.to_string())
}
