//! Liveness and readiness probes.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use tintype_service::Readiness;

use crate::App;
use crate::problem::SERVER_RETRY_AFTER_S;

/// The response of `GET /healthz`.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Health {
    /// Always `ok`.
    status: &'static str,
}

/// The response of `GET /readyz`.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Readiness")]
pub(crate) struct ReadinessState {
    /// `loading`, `ready`, `failed`, `draining`, `ledger_unavailable` or `engine_unavailable`.
    state: &'static str,
    /// Why the remote engine cannot be called: `no_credentials`, `invalid_credentials`, `no_endpoint`,
    /// `not_in_service` or `rejected`.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

/// `GET /healthz`: 200 while the process serves requests.
pub(crate) async fn healthz() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// `GET /readyz`: 200 if the server accepts requests, 503 otherwise.
pub(crate) async fn readyz(State(app): State<App>) -> Response {
    let readiness = app.service.check_readiness().await;
    let state = match readiness {
        Readiness::Loading => "loading",
        Readiness::Ready => "ready",
        Readiness::Failed => "failed",
        Readiness::Draining => "draining",
        Readiness::LedgerUnavailable => "ledger_unavailable",
        Readiness::EngineUnavailable(_) => "engine_unavailable",
    };
    let reason = match readiness {
        Readiness::EngineUnavailable(obstacle) => Some(obstacle.name()),
        _ => None,
    };
    let body = Json(ReadinessState { state, reason });
    match readiness {
        Readiness::Ready => body.into_response(),
        Readiness::Failed => (StatusCode::SERVICE_UNAVAILABLE, body).into_response(),
        Readiness::Loading
        | Readiness::Draining
        | Readiness::LedgerUnavailable
        | Readiness::EngineUnavailable(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, SERVER_RETRY_AFTER_S.to_string())], body)
                .into_response()
        }
    }
}
