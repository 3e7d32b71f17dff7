//! Handles Lambda events with the API's router.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::response::Response;
use http_body_util::Full;
use lambda_http::{Request, RequestExt};
use tintype_http::{HostPolicy, HttpSettings};
use tintype_service::Service;
use tokio::time::{Instant, timeout};
use tower::ServiceExt;

use crate::config::{self, ServingSettings};

use super::{event, response};

/// Default time budget of a buffered response: less than a REST API's timeout of 29 s.
const BUFFERED_TIME_BUDGET: Duration = Duration::from_secs(25);
/// Default time budget of a streamed response: more than SageMaker's timeout of 60 s.
const STREAMED_TIME_BUDGET: Duration = Duration::from_secs(65);
/// A response is due this long before the function's deadline. The rest of the time is for sending the
/// response and for releasing unfinished jobs.
const RESPONSE_MARGIN: Duration = Duration::from_secs(6);

/// Handles Lambda events with the API's router.
pub(crate) struct LambdaHandler {
    pub(super) service: Arc<Service>,
    settings: HttpSettings,
    /// The setting `public_url`; it overrides the URL from the event.
    public_url: Option<String>,
    /// Maximum time of a response.
    time_budget: Duration,
    /// The function's deadline for the current event, if it is known.
    deadline: Mutex<Option<Instant>>,
    /// The last event's router. The next event usually has the same settings.
    last_router: Mutex<Option<(HttpSettings, Router)>>,
}

impl LambdaHandler {
    /// A handler for these settings.
    pub(crate) fn new(service: Arc<Service>, serving: &ServingSettings) -> Self {
        let default_budget = match serving.lambda_response {
            config::LambdaResponse::Buffered => BUFFERED_TIME_BUDGET,
            config::LambdaResponse::Stream => STREAMED_TIME_BUDGET,
        };
        let settings = HttpSettings {
            get_enabled: !serving.no_get,
            hosts: HostPolicy::Any,
            time_budget: None,
            origin: String::new(),
            cors: serving.cors.clone(),
        };
        Self {
            service,
            settings,
            public_url: serving.public_url.clone(),
            time_budget: serving.respond_within.unwrap_or(default_budget),
            deadline: Mutex::default(),
            last_router: Mutex::default(),
        }
    }

    /// The response to an event, with a body that may be streamed.
    pub(crate) async fn response(&self, event: Request) -> Response {
        let (received, deadline) = (Instant::now(), deadline(&event));
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = deadline;
        let (request, mut base) = event::request(event);
        if let Some(url) = &self.public_url {
            base = event::ApiBase { origin: url.clone(), prefix: String::new() };
        }
        let budget = self.remaining_budget(deadline);
        // A cold start waits for the model instead of responding 503.
        let _ = timeout(budget, self.service.wait_loaded()).await;
        let router = self.router(HttpSettings {
            time_budget: Some(round_up_to_seconds(budget.saturating_sub(received.elapsed()))),
            origin: format!("{}{}", base.origin, base.prefix),
            ..self.settings.clone()
        });
        let response = router.oneshot(request).await.unwrap_or_else(|never| match never {});
        // A stream of server-sent events may use all of the function's time.
        let end = deadline.and_then(|deadline| deadline.checked_sub(RESPONSE_MARGIN));
        response::end_events_at(response::prefix_location(response, &base.prefix), end)
    }

    /// The complete response to an event.
    pub(crate) async fn buffered_response(&self, event: Request) -> Response<Full<Bytes>> {
        let response = self.response(event).await;
        let end = Instant::now() + self.remaining_budget(self.deadline());
        response::buffer(response::end_events_at(response, Some(end))).await
    }

    /// The function's deadline for the current event, if it is known.
    pub(super) fn deadline(&self) -> Option<Instant> {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remaining_budget(&self, deadline: Option<Instant>) -> Duration {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        left.map_or(self.time_budget, |left| self.time_budget.min(left.saturating_sub(RESPONSE_MARGIN)))
    }

    fn router(&self, settings: HttpSettings) -> Router {
        let mut last = self.last_router.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((known, router)) if *known == settings => router.clone(),
            _ => {
                let router = tintype_http::router(self.service.clone(), settings.clone());
                *last = Some((settings, router.clone()));
                router
            }
        }
    }
}

/// Rounds up, so that most events have the same settings and share a router.
fn round_up_to_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs() + u64::from(time.subsec_nanos() > 0))
}

/// The function's deadline. A deadline in the past, which some emulators send, is ignored.
fn deadline(event: &Request) -> Option<Instant> {
    let at = UNIX_EPOCH + Duration::from_millis(event.lambda_context_ref()?.deadline);
    let left = at.duration_since(SystemTime::now()).ok()?;
    Some(Instant::now() + left)
}
