//! `GET /v1/images/{id}/events`: the progress of a job as server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use schemars::JsonSchema;
use serde::Serialize;
use tintype_core::engine::Progress;
use tintype_core::request::DEFAULT_EXPIRY;
use tintype_ledger::job::Status;
use tintype_service::{Caller, Image, JobEvent, JobEvents, JobState};
use tokio::time::timeout;

use crate::App;
use crate::caller::EventsCaller;
use crate::image_resource::{ImageResource, Steps};
use crate::images::parse_job_id;
use crate::link_warning;
use crate::path_param::PathParam;
use crate::problem::Problem;

/// Keeps nginx-like proxies from buffering the events.
pub(crate) const UNBUFFERED: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
/// The interval of keep-alive comments, so that no proxy closes the connection as idle.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The interval in which the queue position of a waiting job is read.
const QUEUE_POLL_INTERVAL: Duration = Duration::from_secs(2);
/// The id of the last event. Browsers reconnect after every end of a stream and send it as `Last-Event-ID`.
const END_EVENT_ID: &str = "end";

/// The data of a `queued` event.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Queued")]
pub(crate) struct QueuedEvent {
    /// The number of jobs ahead in the queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u64>,
}

/// The data of a `progress` event: the steps so far, or a preview image.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Step")]
pub(crate) struct StepEvent {
    #[serde(flatten)]
    steps: Option<Steps>,
    /// The index of the image that the preview shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    picture: Option<u32>,
    /// A small preview image as a `data:` URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    preview: Option<String>,
}

/// `GET /v1/images/{id}/events`
pub(crate) async fn events(
    State(app): State<App>,
    EventsCaller(caller): EventsCaller,
    PathParam(id): PathParam,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let job_events = app.service.follow(&caller, parse_job_id(&id)?).await?;
    let seen = headers.get("last-event-id").is_some_and(|id| id.as_bytes() == END_EVENT_ID.as_bytes());
    if seen && job_events.now.status.is_final() {
        // The only response after which a browser does not reconnect.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let stream = JobEventStream::new(app, caller, job_events);
    let events = stream::unfold(stream, async |mut stream| {
        let event = stream.next().await?;
        Some((Ok::<_, Infallible>(event), stream))
    });
    let sse = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    let mut response = sse.into_response();
    response.headers_mut().extend([UNBUFFERED]);
    // Without axum's `no-cache`, the middleware sets its stricter default.
    response.headers_mut().remove(axum::http::header::CACHE_CONTROL);
    Ok(response)
}

/// Converts the events of a job into server-sent events.
struct JobEventStream {
    app: App,
    caller: Caller,
    job_events: JobEvents,
    /// The number of the last event.
    number: u64,
    /// Events to send before the next job event is awaited.
    pending: VecDeque<Event>,
    /// While the job waits: its last known position in the queue.
    queued: Option<Option<u64>>,
    started: bool,
    steps: Option<Steps>,
    ended: bool,
    /// The host to which the request was sent.
    host: Option<Authority>,
}

impl JobEventStream {
    fn new(app: App, caller: Caller, job_events: JobEvents) -> Self {
        let mut this = Self {
            app,
            caller,
            job_events,
            number: 0,
            pending: VecDeque::new(),
            queued: None,
            started: false,
            steps: None,
            ended: false,
            host: link_warning::host(),
        };
        let now = this.job_events.now.clone();
        match now.status {
            Status::Queued => {
                this.queued = Some(now.position);
                this.push("queued", &QueuedEvent { position: now.position });
            }
            Status::Running => this.running(now.progress.unwrap_or(Progress::Started)),
            _ => this.end(now),
        }
        this
    }

    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Some(event);
            }
            if self.ended {
                return None;
            }
            match self.queued {
                None => {
                    let event = self.job_events.next().await;
                    self.handle_event(event).await;
                }
                Some(position) => match timeout(QUEUE_POLL_INTERVAL, self.job_events.next()).await {
                    Ok(event) => self.handle_event(event).await,
                    Err(_) => self.poll_queue(position).await,
                },
            }
        }
    }

    async fn handle_event(&mut self, event: Option<JobEvent>) {
        match event {
            Some(JobEvent::StateChanged(JobState::Queued)) => {}
            Some(JobEvent::StateChanged(JobState::Running(progress))) => self.running(progress),
            Some(JobEvent::StateChanged(JobState::Storing)) => self.running(Progress::Decoding),
            Some(JobEvent::StateChanged(JobState::Ended(_))) => match self.image().await {
                Some(image) => self.end(image),
                None => self.ended = true,
            },
            Some(JobEvent::Preview { picture, file }) => {
                let base64 = base64_simd::STANDARD.encode_to_string(&file.bytes);
                let preview = format!("data:{};base64,{base64}", file.format.content_type());
                let event = StepEvent { steps: self.steps, picture: Some(picture), preview: Some(preview) };
                self.push("progress", &event);
            }
            Some(JobEvent::StateChanged(JobState::DetachedFromProcess(_))) | None => self.ended = true,
        }
    }

    /// Reads whether a waiting job has a new queue position or was started by another process.
    async fn poll_queue(&mut self, position: Option<u64>) {
        let Some(image) = self.image().await else { return };
        match image.status {
            Status::Queued if image.position != position => {
                self.queued = Some(image.position);
                self.push("queued", &QueuedEvent { position: image.position });
            }
            Status::Running => self.running(image.progress.unwrap_or(Progress::Started)),
            _ => {}
        }
    }

    fn running(&mut self, progress: Progress) {
        self.queued = None;
        if !self.started {
            self.started = true;
            self.push("started", &serde_json::json!({}));
        }
        if progress != Progress::Started {
            self.update_progress(progress);
        }
    }

    fn update_progress(&mut self, progress: Progress) {
        let total = self.job_events.now.request.as_ref().map_or(0, |request| request.steps * request.n);
        let steps = Some(Steps::of(progress, total));
        if steps != self.steps {
            self.steps = steps;
            self.push("progress", &StepEvent { steps, picture: None, preview: None });
        }
    }

    fn end(&mut self, image: Image) {
        if self.steps.is_some() && image.status == Status::Succeeded {
            // The last steps may have passed without an event.
            self.update_progress(Progress::Decoding);
        }
        let event = Event::default().event(image.status.name()).id(END_EVENT_ID);
        let resource = link_warning::with_host_sync(self.host.clone(), || {
            ImageResource::new(&self.app, &self.caller, image)
        });
        self.pending.push_back(event.data(json(&resource)));
        self.ended = true;
    }

    /// The current state of the job, if it can be read.
    async fn image(&self) -> Option<Image> {
        self.app.service.image(&self.caller, self.job_events.now.id, DEFAULT_EXPIRY).await.ok()
    }

    fn push(&mut self, name: &str, data: &impl Serialize) {
        self.number += 1;
        let event = Event::default().event(name).id(self.number.to_string());
        self.pending.push_back(event.data(json(data)));
    }
}

fn json(data: &impl Serialize) -> String {
    serde_json::to_string(data).expect("plain data")
}
