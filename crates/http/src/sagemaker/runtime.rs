//! The paths of the Runtime API, for clients that sign their requests with the access key of the embedded
//! store.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Request};
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use time::OffsetDateTime;
use tintype_core::store::ObjectStore;
use tintype_sagemaker::sigv4::{AccessKeys, ReceivedRequest, RequestSignature};
use tintype_sagemaker::wire::{ERROR_TYPE, JSON, MAX_BODY, RuntimeApiError, header};
use tintype_service::Service;
use tokio::time::timeout;
use uuid::Uuid;

use super::asynchronous;
use super::invoke::{self, Execution, InvocationBody};
use crate::App;
use crate::json::BODY_TIMEOUT;
use crate::problem::Problem;

/// SageMaker's default name of an endpoint's variant.
const VARIANT: &str = "AllTraffic";
/// The header of the request id, which SageMaker's clients show in errors.
const REQUEST_ID: &str = "x-amzn-requestid";

/// Returns the bucket with this name, if it exists.
pub type Buckets = Arc<dyn Fn(&str) -> Option<Arc<dyn ObjectStore>> + Send + Sync>;

/// The configuration of the Runtime API's paths. Every endpoint name selects the server's model.
#[derive(Clone)]
pub struct RuntimeApi {
    /// The access keys with which requests are signed.
    pub keys: AccessKeys,
    /// The host in the clients' signatures, if a proxy replaces the `Host` header.
    pub host: Option<HeaderValue>,
    /// The name of the bucket with asynchronous invocations and their responses.
    pub bucket: String,
    /// The bucket with asynchronous invocations and their responses.
    pub store: Arc<dyn ObjectStore>,
    /// The buckets that may contain the input of an asynchronous invocation.
    pub buckets: Buckets,
}

impl RuntimeApi {
    /// Continues the asynchronous invocations that a previous process accepted and did not finish.
    pub async fn resume(&self, service: &Arc<Service>) {
        asynchronous::resume(self, service).await;
    }
}

/// The routes of the Runtime API.
pub(crate) fn routes(api: RuntimeApi) -> Router<App> {
    let api = Arc::new(api);
    let real_time = api.clone();
    let asynchronous = api;
    Router::new()
        .route(
            "/endpoints/{name}/invocations",
            post_only(post(async move |service, request| invoke(&real_time, service, request).await)),
        )
        .route(
            "/endpoints/{name}/async-invocations",
            post_only(post(async move |service, request| {
                invoke_async(&asynchronous, service, request).await
            })),
        )
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

fn post_only(route: MethodRouter<App>) -> MethodRouter<App> {
    route.fallback(async || Problem::MethodNotAllowed("POST"))
}

async fn invoke(
    api: &RuntimeApi,
    axum::extract::State(app): axum::extract::State<App>,
    request: Request,
) -> Response {
    let response = async {
        let (headers, body) = authenticated_body(api, request, &app).await?;
        let body = InvocationBody::new(&headers, &body).map_err(|problem| problem.failure())?;
        invoke::respond(&app.service, body, Execution::Attended).await.map_err(|problem| problem.failure())
    };
    match response.await {
        Ok(body) => {
            let headers = [(CONTENT_TYPE.as_str(), JSON), (header::INVOKED_VARIANT, VARIANT)];
            with_request_id((headers, body).into_response())
        }
        Err(failure) => error_response(&failure),
    }
}

async fn invoke_async(
    api: &RuntimeApi,
    axum::extract::State(app): axum::extract::State<App>,
    request: Request,
) -> Response {
    let response = async {
        let (headers, body) = authenticated_body(api, request, &app).await?;
        asynchronous::accept(api, &app.service, &headers, body).await
    };
    match response.await {
        Ok(response) => with_request_id(response),
        Err(failure) => error_response(&failure),
    }
}

/// Reads a request and verifies its signature. Unknown access keys are rejected before the body is read.
async fn authenticated_body(
    api: &RuntimeApi,
    mut request: Request,
    app: &App,
) -> Result<(HeaderMap, Bytes), RuntimeApiError> {
    // HTTP/2 has the host in the URI.
    let authority = request.uri().authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok());
    if let Some(host) = api.host.clone().or(authority) {
        request.headers_mut().insert(HOST, host);
    }
    let signature = RequestSignature::read(request.headers(), &api.keys, OffsetDateTime::now_utc())?;
    let (method, headers) = (request.method().clone(), request.headers().clone());
    let target = request.uri().path_and_query().map_or_else(String::new, ToString::to_string);
    let body = timeout(BODY_TIMEOUT, Bytes::from_request(request, app)).await;
    let body = body
        .map_err(|_| {
            RuntimeApiError::Validation(format!(
                "The request body did not arrive within {} s.",
                BODY_TIMEOUT.as_secs()
            ))
        })?
        .map_err(|error| match error.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                RuntimeApiError::Validation(format!("The request body exceeds {MAX_BODY} bytes."))
            }
            _ => {
                RuntimeApiError::Validation("The connection broke before the end of the request body.".into())
            }
        })?;
    signature.verify(&ReceivedRequest {
        method: method.as_str(),
        target: &target,
        headers: &headers,
        body: &body,
    })?;
    Ok((headers, body))
}

fn error_response(failure: &RuntimeApiError) -> Response {
    let status = StatusCode::from_u16(failure.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = [(CONTENT_TYPE.as_str(), JSON), (ERROR_TYPE, failure.code())];
    with_request_id((status, headers, failure.body()).into_response())
}

/// Adds a request id to a response.
fn with_request_id(mut response: Response) -> Response {
    let id = Uuid::now_v7().to_string();
    if let Ok(id) = id.parse() {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}
