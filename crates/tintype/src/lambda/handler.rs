//! The API behind Lambda's events.

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

/// How long an event's answer may take unless set otherwise: shorter than the gateway waits, and if it streams longer than
/// SageMaker does.
const BUFFERED_TIME_BUDGET: Duration = Duration::from_secs(25);
const STREAMED_TIME_BUDGET: Duration = Duration::from_secs(65);
/// What is left of the function's time when an answer is due at the latest, so that it can still be handed over, and what is
/// not done be put away.
const RESPONSE_MARGIN: Duration = Duration::from_secs(6);

/// The API behind Lambda's events.
pub(crate) struct LambdaHandler {
    pub(super) service: Arc<Service>,
    settings: HttpSettings,
    /// It was set: then nothing that a gateway says counts.
    public_url: Option<String>,
    budget: Duration,
    /// When the function's time for the current event is over, if that is known.
    deadline: Mutex<Option<Instant>>,
    /// The router of the last event: as a rule the next one's is the same.
    last: Mutex<Option<(HttpSettings, Router)>>,
}

impl LambdaHandler {
    pub(crate) fn new(service: Arc<Service>, serving: &ServingSettings) -> Self {
        let usual = match serving.lambda_response {
            config::LambdaResponse::Buffered => BUFFERED_TIME_BUDGET,
            config::LambdaResponse::Stream => STREAMED_TIME_BUDGET,
        };
        let settings = HttpSettings {
            get_enabled: !serving.no_get,
            hosts: HostPolicy::Any,
            time_budget: None,
            origin: String::new(),
            aliases: serving.aliases.clone(),
        };
        Self {
            service,
            settings,
            public_url: serving.public_url.clone(),
            budget: serving.respond_within.unwrap_or(usual),
            deadline: Mutex::default(),
            last: Mutex::default(),
        }
    }

    /// Answers an event as fast as the answer is made.
    pub(crate) async fn response(&self, event: Request) -> Response {
        let (began, deadline) = (Instant::now(), deadline(&event));
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = deadline;
        let (request, mut place) = event::request(event);
        if let Some(url) = &self.public_url {
            place = event::ApiBase { origin: url.clone(), prefix: String::new() };
        }
        let budget = self.budget(deadline);
        // A model that is being loaded is something to wait for here: the environment was started for this event.
        let _ = timeout(budget, self.service.loaded()).await;
        let router = self.router(HttpSettings {
            time_budget: Some(whole_seconds(budget.saturating_sub(began.elapsed()))),
            origin: format!("{}{}", place.origin, place.prefix),
            ..self.settings.clone()
        });
        let answered = router.oneshot(request).await.unwrap_or_else(|never| match never {});
        // Events that are streamed may go on for as long as the function may.
        let end = deadline.and_then(|deadline| deadline.checked_sub(RESPONSE_MARGIN));
        response::end_events_at(response::prefix_location(answered, &place.prefix), end)
    }

    /// Answers an event once the whole answer is made.
    pub(crate) async fn buffered_response(&self, event: Request) -> Response<Full<Bytes>> {
        let answered = self.response(event).await;
        let end = Instant::now() + self.budget(self.deadline());
        response::buffer(response::end_events_at(answered, Some(end))).await
    }

    /// When the function's time for the current event is over, if that is known.
    pub(super) fn deadline(&self) -> Option<Instant> {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn budget(&self, deadline: Option<Instant>) -> Duration {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        left.map_or(self.budget, |left| self.budget.min(left.saturating_sub(RESPONSE_MARGIN)))
    }

    fn router(&self, settings: HttpSettings) -> Router {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
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

/// Rounded up, so that one event's settings are as a rule the next one's.
fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs() + u64::from(time.subsec_nanos() > 0))
}

/// When the function's time is over. Some emulators say nothing sensible: a time that is over already is no deadline.
fn deadline(event: &Request) -> Option<Instant> {
    let at = UNIX_EPOCH + Duration::from_millis(event.lambda_context_ref()?.deadline);
    let left = at.duration_since(SystemTime::now()).ok()?;
    Some(Instant::now() + left)
}
