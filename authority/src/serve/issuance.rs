//! The issuance rules in force and the last requests, for the operator.

use api::issuance::issuance_service_server::IssuanceService;
use api::issuance::{
    GetRulesRequest, GetRulesResponse, ListRequestsRequest, ListRequestsResponse, NotedRequest,
};
use tonic::{Request, Response, Status};

use crate::inventory::RequestNote;
use crate::issue::Issuance;
use crate::serve::status;

/// Serves `IssuanceService`.
#[derive(Clone, Debug)]
pub(crate) struct IssuanceApi {
    issuance: Issuance,
}

impl IssuanceApi {
    pub(crate) const fn new(issuance: Issuance) -> Self {
        Self { issuance }
    }
}

#[tonic::async_trait]
impl IssuanceService for IssuanceApi {
    async fn get_rules(
        &self,
        _request: Request<GetRulesRequest>,
    ) -> Result<Response<GetRulesResponse>, Status> {
        let policy = self.issuance.policy();
        let live = policy.rules();
        let rules = live.current();
        let lifetimes = policy.lifetimes();
        Ok(Response::new(GetRulesResponse {
            source: rules.source.clone(),
            sha256: rules.sha256.clone(),
            text: rules.text.clone(),
            reloads: live.reloads(),
            refused: live.refused(),
            trust_domain: policy.trust_domain().to_string(),
            default_ttl_seconds: lifetimes.default_ttl,
            max_ttl_seconds: lifetimes.max_ttl,
        }))
    }

    async fn list_requests(
        &self,
        request: Request<ListRequestsRequest>,
    ) -> Result<Response<ListRequestsResponse>, Status> {
        let limit = match request.into_inner().limit {
            0 => DEFAULT_LIMIT,
            limit => limit.min(MAX_LIMIT),
        };
        let noted = self
            .issuance
            .inventory()
            .requests(limit)
            .await
            .map_err(|error| status::of_inventory(&error))?;
        let requests = noted.into_iter().map(wire).collect::<Result<_, _>>()?;
        Ok(Response::new(ListRequestsResponse { requests }))
    }
}

fn wire(note: RequestNote) -> Result<NotedRequest, Status> {
    let facts_json = serde_json::to_string(&note.facts)
        .map_err(|_unwritable| Status::internal("a request cannot be written"))?;
    Ok(NotedRequest {
        at: note.at.as_secs(),
        facts_json,
        allowed: note.allowed,
        rule: note.rule,
    })
}

/// Requests of an answer where no limit is asked for.
const DEFAULT_LIMIT: u32 = 1000;
/// Most requests of an answer; so many are kept.
const MAX_LIMIT: u32 = 10_000;
