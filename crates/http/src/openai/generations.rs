//! `POST /v1/images/generations`.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use tintype_service::{JobHandle, Submission};
use tracing::trace_span;

use super::caller::OpenAiCaller;
use super::request::{CheckedRequest, Delivery, OpenAiRequest, ResponseOptions};
use super::response::ResponseMetadata;
use super::{is_retry, link, stream};
use crate::App;
use crate::json::Members;
use crate::link_warning::check_link;
use crate::problem::Problem;
use crate::submit::{AcceptedJob, submit, wait_until_final};

pub(crate) async fn generations(
    State(app): State<App>,
    OpenAiCaller(caller): OpenAiCaller,
    headers: HeaderMap,
    body: Members,
) -> Result<Response, Problem> {
    let CheckedRequest { submission, canonical, options } =
        trace_span!("parse").in_scope(|| OpenAiRequest::parse(body).check(&app, &caller))?;
    let submission = Submission { retry: is_retry(&headers), ..submission };
    let AcceptedJob { handle, headers } = submit(&app, &caller, submission, &canonical, &headers).await?;
    let result = match options.delivery {
        Delivery::Stream { partial_images } => {
            stream::respond(&app, &caller, handle, options, partial_images).await
        }
        Delivery::Links | Delivery::Files => respond(&app, handle, options).await,
    };
    let mut response = result.into_response();
    response.headers_mut().extend(headers);
    Ok(response)
}

/// Waits for the images and returns them as links or files.
async fn respond(app: &App, handle: JobHandle, options: ResponseOptions) -> Result<Response, Problem> {
    let id = handle.id();
    let failed = |error| Problem::Job(id, error);
    if !wait_until_final(&handle, app.time_budget).await.map_err(failed)? {
        return Err(Problem::StillGenerating(id));
    }
    let body = if options.delivery == Delivery::Links {
        let mut image = handle.finished().await.map_err(failed)?;
        let pictures = std::mem::take(&mut image.pictures);
        let first = pictures.first().cloned().map(|picture| link::through_own_origin(app, picture));
        ResponseMetadata::new(image, options)
            .with_warning(first.and_then(|link| check_link(&link, &app.origin)))
            .with_links(pictures, |picture| link::through_own_origin(app, picture))
    } else {
        let (image, files) = handle.finished_with_files().await.map_err(failed)?;
        ResponseMetadata::new(image, options).with_files(&files)
    };
    Ok(([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response())
}
