//! What SageMaker asks of a model container: `GET /ping` and `POST /invocations`, and nothing else.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tintype_sagemaker::wire::{JSON, MAX_BODY};
use tintype_service::{Readiness, Service};

use super::invoke::{self, Execution, InvocationBody};
use crate::middleware;
use crate::problem::Problem;

/// The router of a model container. It requires no key: in SageMaker only the endpoint reaches the container.
pub fn container(service: Arc<Service>) -> Router {
    Router::new()
        .route("/ping", get(ping).fallback(async || Problem::MethodNotAllowed("GET, HEAD")))
        .route("/invocations", post(invoke).fallback(async || Problem::MethodNotAllowed("POST")))
        .fallback(async || Problem::NotFound)
        .with_state(service.clone())
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(service, middleware::wrap_exchange))
}

/// `GET /ping`: 200 while the container accepts requests, 503 otherwise.
async fn ping(State(service): State<Arc<Service>>) -> StatusCode {
    match service.check_readiness().await {
        Readiness::Ready => StatusCode::OK,
        Readiness::Loading
        | Readiness::Failed
        | Readiness::Draining
        | Readiness::LedgerUnavailable
        | Readiness::EngineUnavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn invoke(
    State(service): State<Arc<Service>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let body = body.map_err(|error| Problem::from_body_rejection(&error, MAX_BODY))?;
    let response =
        invoke::respond(&service, InvocationBody::new(&headers, &body)?, Execution::Attended).await?;
    Ok(([(CONTENT_TYPE, JSON)], response).into_response())
}
