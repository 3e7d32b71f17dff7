//! `stream: true`: partial and complete images as server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::http::header::CACHE_CONTROL;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use tintype_core::causes::causes;
use tintype_core::engine::Progress;
use tintype_core::picture::Encoded;
use tintype_core::request::GenerateRequest;
use tintype_service::{Caller, JobEvent, JobEvents, JobHandle, JobState};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::request::ResponseOptions;
use super::response::{Partial, ResponseMetadata};
use crate::App;
use crate::events::{KEEP_ALIVE, UNBUFFERED};
use crate::problem::Problem;

/// The data of the last event of a successful stream.
const DONE: &str = "[DONE]";
/// The quality in events if the request has none: OpenAI's types require it.
const AUTO: &str = "auto";

/// Streams events until the images are complete. If the client closes the stream, the job loses its waiting
/// client.
pub(super) async fn respond(
    app: &App,
    caller: &Caller,
    handle: JobHandle,
    options: ResponseOptions,
    partial_images: u32,
) -> Result<Response, Problem> {
    let job_events = app.service.follow_own(caller, handle.id()).await?;
    let request = job_events.now.request.clone();
    // The engine creates previews only while the job's events are followed.
    let job_events = match &request {
        Some(request) if partial_images > 0 => Some(job_events.with_format(request.format)),
        _ => None,
    };
    let images = ImageStream {
        states: handle.states(),
        handle: Some(handle),
        job_events,
        request,
        options: Some(options),
        partials: Partials { max: partial_images, sent: 0, step: 0, steps: 1 },
        deadline: app.time_budget.map(|budget| Instant::now() + budget),
        pending: VecDeque::new(),
    };
    let events = stream::unfold(images, async |mut images| {
        let event = images.next().await?;
        Some((Ok::<_, Infallible>(event), images))
    });
    let sse = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    let mut response = sse.into_response();
    response.headers_mut().extend([UNBUFFERED]);
    // Without axum's `no-cache`, the middleware sets its stricter default.
    response.headers_mut().remove(CACHE_CONTROL);
    Ok(response)
}

/// The events of a generation.
struct ImageStream {
    /// `None` after the end of the job or of the time budget.
    handle: Option<JobHandle>,
    states: watch::Receiver<JobState>,
    job_events: Option<JobEvents>,
    request: Option<GenerateRequest>,
    options: Option<ResponseOptions>,
    partials: Partials,
    /// The end of the operator's time budget.
    deadline: Option<Instant>,
    /// Events to send before the next job event is awaited.
    pending: VecDeque<Event>,
}

/// What happens next.
enum StreamEvent {
    /// No further job events follow after `None`.
    JobEvent(Option<JobEvent>),
    JobEnded,
    BudgetElapsed,
}

/// Selects the previews to send as partial images: the steps are divided into `max + 1` equal parts, and the
/// first preview after the end of each part but the last is sent.
struct Partials {
    max: u32,
    sent: u32,
    /// The number of completed steps.
    step: u32,
    /// The total number of steps.
    steps: u32,
}

impl Partials {
    fn update_progress(&mut self, progress: Progress) {
        if let Progress::Step { done, of } = progress {
            (self.step, self.steps) = (done, of.max(1));
        }
    }

    /// The index of the next partial image, if one is due.
    fn next(&mut self) -> Option<u32> {
        let due = self.step * (self.max + 1) >= self.steps * (self.sent + 1);
        (due && self.sent < self.max).then(|| {
            self.sent += 1;
            self.sent - 1
        })
    }
}

impl ImageStream {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Some(event);
            }
            self.handle.as_ref()?;
            let event = tokio::select! {
                biased;
                event = next_job_event(&mut self.job_events) => StreamEvent::JobEvent(event),
                _ = self.states.wait_for(JobState::is_final) => StreamEvent::JobEnded,
                () = sleep_until_deadline(self.deadline) => StreamEvent::BudgetElapsed,
            };
            match event {
                StreamEvent::JobEvent(event) => self.handle_event(event),
                StreamEvent::JobEnded => self.end().await,
                StreamEvent::BudgetElapsed => self.detach_job().await,
            }
        }
    }

    fn handle_event(&mut self, event: Option<JobEvent>) {
        match event {
            Some(JobEvent::StateChanged(JobState::Running(progress))) => {
                self.partials.update_progress(progress)
            }
            Some(JobEvent::StateChanged(_)) => {}
            Some(JobEvent::Preview { file, .. }) => self.partial(&file),
            None => self.job_events = None,
        }
    }

    fn partial(&mut self, file: &Encoded) {
        let Some((request, options)) = self.request.as_ref().zip(self.options.as_ref()) else { return };
        let Some(index) = self.partials.next() else { return };
        let partial = Partial {
            partial_image_index: index,
            created_at: time::OffsetDateTime::now_utc().unix_timestamp(),
            size: &format!("{}x{}", request.width, request.height),
            quality: options.quality.as_deref().unwrap_or(AUTO),
            background: "opaque",
            output_format: file.format,
        };
        self.push("image_generation.partial_image", &partial.event_data(file));
    }

    async fn end(&mut self) {
        let (Some(handle), Some(options)) = (self.handle.take(), self.options.take()) else { return };
        let id = handle.id();
        match handle.finished_with_files().await {
            Ok((image, files)) => {
                let quality = options.quality.or_else(|| Some(AUTO.to_owned()));
                let metadata = ResponseMetadata::new(image, ResponseOptions { quality, ..options });
                for (index, file) in files.iter().enumerate() {
                    self.push("image_generation.completed", &metadata.completed(index, file));
                }
                self.pending.push_back(Event::default().data(DONE));
            }
            Err(error) => self.fail(&Problem::Job(id, error)),
        }
    }

    /// Detaches the job, so that a retry of the client finds its images.
    async fn detach_job(&mut self) {
        let Some(handle) = self.handle.take() else { return };
        let id = handle.id();
        match handle.detach().await {
            Ok(()) => self.fail(&Problem::StillGenerating(id)),
            Err(error) => self.fail(&Problem::Job(id, error)),
        }
    }

    /// Sends an error event: the status was already sent, and OpenAI's clients expect errors in events.
    fn fail(&mut self, problem: &Problem) {
        if let Some(cause) = problem.cause() {
            tracing::error!(error = %causes(cause), "failed to process request");
        }
        let body = serde_json::to_string(&problem.openai_body()).expect("plain data");
        self.push("error", &body);
    }

    fn push(&mut self, name: &str, data: &str) {
        self.pending.push_back(Event::default().event(name).data(data));
    }
}

/// The next event of the job; never returns if the job is not followed.
async fn next_job_event(job_events: &mut Option<JobEvents>) -> Option<JobEvent> {
    match job_events {
        Some(job_events) => job_events.next().await,
        None => std::future::pending().await,
    }
}

/// Returns at the deadline; never if there is none.
async fn sleep_until_deadline(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_images_are_spread_over_the_steps() {
        for (max, steps, expected) in
            [(0, 20, &[][..]), (1, 20, &[10]), (3, 20, &[5, 10, 15]), (3, 2, &[1, 2]), (3, 4, &[1, 2, 3])]
        {
            let mut partials = Partials { max, sent: 0, step: 0, steps: 1 };
            let sent = (1..=steps).filter(|&done| {
                partials.update_progress(Progress::Step { done, of: steps });
                partials.next().is_some()
            });
            assert_eq!(sent.collect::<Vec<_>>(), expected, "{max} of {steps}");
        }
    }
}
