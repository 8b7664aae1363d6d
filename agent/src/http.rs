//! The plain HTTP part of the socket: deny list and policy bundles for filters, the status for people.

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use identity::policy_bundle::BundleName;
use serde::Deserialize;

use crate::{clock, status::Status, world::World};

/// `GET /v1/denylist?epoch=E&since=N`, `GET /v1/policy-bundles/NAME?epoch=E&since=N`, `GET /v1/status`,
/// `GET /healthz`.
pub(crate) fn routes(world: World) -> Router {
    Router::new()
        .route("/v1/denylist", get(deny_list))
        .route("/v1/policy-bundles/{name}", get(policy_bundle))
        .route("/v1/status", get(status))
        .route("/healthz", get(health))
        .with_state(world)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Since {
    /// Epoch of the list the caller has; 0 or absent for none.
    #[serde(default)]
    epoch: u64,
    /// Sequence of that list.
    #[serde(default)]
    since: u64,
}

/// 200 with all entries or with what changed since the caller's list, 204 when the caller has this
/// one, 503 when there is none yet.
///
/// A list past its expiry is still handed out: the filters judge its age by themselves, and theirs
/// is the clock that counts.
async fn deny_list(
    State(world): State<World>,
    Query(Since { epoch, since }): Query<Since>,
) -> Response {
    let Some(list) = world.now().deny_list else {
        return (StatusCode::SERVICE_UNAVAILABLE, "no deny list yet\n").into_response();
    };
    match list.since((epoch, since)) {
        None => StatusCode::NO_CONTENT.into_response(),
        Some(update) => (
            [
                (header::CONTENT_TYPE, UPDATE),
                (header::CACHE_CONTROL, "no-store"),
            ],
            update,
        )
            .into_response(),
    }
}

/// 200 with the bundle, 204 when the caller has this one or a newer one, 404 when there is none of that name (yet).
async fn policy_bundle(
    State(world): State<World>,
    Path(name): Path<String>,
    Query(Since { epoch, since }): Query<Since>,
) -> Response {
    let name: Option<BundleName> = name.try_into().ok();
    let bundles = world.now().policy_bundles;
    let Some(bundle) = name.and_then(|name| bundles.get(&name).cloned()) else {
        return (StatusCode::NOT_FOUND, "no such policy bundle\n").into_response();
    };
    if bundle.head().position() <= (epoch, since) {
        return StatusCode::NO_CONTENT.into_response();
    }
    (
        [
            (header::CONTENT_TYPE, BUNDLE),
            (header::CACHE_CONTROL, "no-store"),
        ],
        bundle.bytes(),
    )
        .into_response()
}

/// Media type of a policy bundle.
const BUNDLE: &str = "application/vnd.countersign.policy-bundle";
/// Media type of a deny list update.
const UPDATE: &str = "application/vnd.countersign.deny-list";

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
