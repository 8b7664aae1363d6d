//! The plain HTTP part of the socket: the deny list for filters, the status for people.

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Deserialize;

use crate::{clock, status::Status, world::World};

/// `GET /v1/denylist?since=N`, `GET /v1/status`, `GET /healthz`.
pub(crate) fn routes(world: World) -> Router {
    Router::new()
        .route("/v1/denylist", get(deny_list))
        .route("/v1/status", get(status))
        .route("/healthz", get(health))
        .with_state(world)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Since {
    /// Sequence of the list the caller has; 0 or absent for none.
    #[serde(default)]
    since: u64,
}

/// 200 with the list, 204 when the caller has it, 503 when there is none yet.
///
/// A list past its expiry is still handed out: the filters judge its age by themselves, and theirs
/// is the clock that counts.
async fn deny_list(State(world): State<World>, Query(Since { since }): Query<Since>) -> Response {
    match world.now().deny_list {
        None => (StatusCode::SERVICE_UNAVAILABLE, "no deny list yet\n").into_response(),
        // Zero is "none held", also should a list ever bear that number.
        Some(list) if since != 0 && list.sequence == since => {
            StatusCode::NO_CONTENT.into_response()
        }
        Some(list) => (
            [
                (header::CONTENT_TYPE, "application/jose"),
                (header::CACHE_CONTROL, "no-store"),
            ],
            list.jws.to_string(),
        )
            .into_response(),
    }
}

async fn status(State(world): State<World>) -> Json<Status> {
    Json(Status::of(&world.now(), clock::now()))
}

/// 200 when the agent has its own certificate, its entries, and no expired certificate; else 503
/// with what is missing.
async fn health(State(world): State<World>) -> Response {
    let status = Status::of(&world.now(), clock::now());
    let expired = status
        .agent
        .iter()
        .chain(&status.identities)
        .find(|one| one.expired);
    match (status.ready, expired) {
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response(),
        (true, Some(one)) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("the certificate of {} has expired\n", one.spiffe_id),
        )
            .into_response(),
        (true, None) => "ok\n".into_response(),
    }
}
