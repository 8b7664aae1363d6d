//! `/metrics`, `/healthz` and `/readyz` over plain HTTP.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::health::Health;
use crate::metrics::scrape;

/// Serves until `stopping`; gives its name back.
pub(crate) async fn serve(
    listener: TcpListener,
    health: Arc<Health>,
    stopping: CancellationToken,
) -> &'static str {
    let served = axum::serve(listener, router(health))
        .with_graceful_shutdown(stopping.cancelled_owned())
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the metrics listener stopped");
    }
    "metrics listener"
}

fn router(health: Arc<Health>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .with_state(health)
}

async fn metrics(State(health): State<Arc<Health>>) -> Response {
    let text = scrape::render(&health).await;
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
        .into_response()
}

/// It answers, so it lives: a failing disk or an expired issuer is not mended by a restart.
async fn alive() -> Response {
    Json(json!({"alive": true})).into_response()
}

async fn ready(State(health): State<Arc<Health>>) -> Response {
    let obstacles = health.obstacles().await;
    let status = if obstacles.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let reasons: Vec<_> = obstacles
        .iter()
        .map(|obstacle| json!({"check": obstacle.check, "problem": obstacle.problem}))
        .collect();
    let told = json!({"ready": reasons.is_empty(), "reasons": reasons});
    (status, Json(told)).into_response()
}
