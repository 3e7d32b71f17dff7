//! Pictures as server-sent events: in the making, and finished.

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

/// What ends a stream that went well.
const DONE: &str = "[DONE]";
/// The quality where none was asked for: every event names one, as the clients' types have it.
const AUTO: &str = "auto";

/// The answer that goes on until the pictures are there. Whoever stops reading it has hung up.
pub(super) async fn answer(
    app: &App,
    caller: &Caller,
    handle: JobHandle,
    (answer, partial_images): (ResponseOptions, u32),
) -> Result<Response, Problem> {
    let follow = app.service.follow(caller, handle.id()).await?;
    let request = follow.now.request.clone();
    // As long as somebody follows it, the engine makes previews.
    let follow = match &request {
        Some(request) if partial_images > 0 => Some(follow.in_format(request.format)),
        _ => None,
    };
    let stream = ImageStream {
        states: handle.states(),
        handle: Some(handle),
        follow,
        request,
        answer: Some(answer),
        partials: Partials { max: partial_images, sent: 0, step: 0, steps: 1 },
        until: app.time_budget.map(|budget| Instant::now() + budget),
        pending: VecDeque::new(),
    };
    let events = stream::unfold(stream, async |mut stream| {
        let event = stream.next().await?;
        Some((Ok::<_, Infallible>(event), stream))
    });
    let sse = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    let mut response = sse.into_response();
    response.headers_mut().extend([UNBUFFERED]);
    // The default of the envelope is stricter than the `no-cache` of the library.
    response.headers_mut().remove(CACHE_CONTROL);
    Ok(response)
}

/// A request that is told as it happens.
struct ImageStream {
    /// There until the end.
    handle: Option<JobHandle>,
    states: watch::Receiver<JobState>,
    follow: Option<JobEvents>,
    request: Option<GenerateRequest>,
    answer: Option<ResponseOptions>,
    partials: Partials,
    /// The operator's time budget.
    until: Option<Instant>,
    /// What there is to tell before anything else happens.
    pending: VecDeque<Event>,
}

/// What a story goes on with.
enum StreamEvent {
    /// Nothing more is to be seen after none.
    JobEvent(Option<JobEvent>),
    JobEnded,
    BudgetElapsed,
}

/// Which pictures in the making are sent: the first of each part of the way, the last part being the finished picture's.
struct Partials {
    max: u32,
    sent: u32,
    /// Steps done, of so many.
    step: u32,
    steps: u32,
}

impl Partials {
    fn update_progress(&mut self, progress: Progress) {
        if let Progress::Step { done, of } = progress {
            (self.step, self.steps) = (done, of.max(1));
        }
    }

    /// The index of the next one, if it is time for it.
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
                event = next_job_event(&mut self.follow) => StreamEvent::JobEvent(event),
                _ = self.states.wait_for(JobState::is_final) => StreamEvent::JobEnded,
                () = sleep_until_deadline(self.until) => StreamEvent::BudgetElapsed,
            };
            match event {
                StreamEvent::JobEvent(event) => self.handle_event(event),
                StreamEvent::JobEnded => self.end().await,
                StreamEvent::BudgetElapsed => self.budget_elapsed().await,
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
            None => self.follow = None,
        }
    }

    fn partial(&mut self, file: &Encoded) {
        let Some((request, answer)) = self.request.as_ref().zip(self.answer.as_ref()) else { return };
        let Some(index) = self.partials.next() else { return };
        let partial = Partial {
            partial_image_index: index,
            created_at: time::OffsetDateTime::now_utc().unix_timestamp(),
            size: &format!("{}x{}", request.width, request.height),
            quality: answer.quality.as_deref().unwrap_or(AUTO),
            background: "opaque",
            output_format: file.format,
        };
        self.push("image_generation.partial_image", &partial.with(file));
    }

    async fn end(&mut self) {
        let (Some(handle), Some(answer)) = (self.handle.take(), self.answer.take()) else { return };
        let id = handle.id();
        match handle.pictures().await {
            Ok((image, files)) => {
                let quality = answer.quality.or_else(|| Some(AUTO.to_owned()));
                let about = ResponseMetadata::new(image, ResponseOptions { quality, ..answer });
                for (index, file) in files.iter().enumerate() {
                    self.push("image_generation.completed", &about.completed(index, file));
                }
                self.pending.push_back(Event::default().data(DONE));
            }
            Err(error) => self.fail(&Problem::Job(id, error)),
        }
    }

    /// The time is over: the pictures are made all the same, for who asks again.
    async fn budget_elapsed(&mut self) {
        let Some(handle) = self.handle.take() else { return };
        let id = handle.id();
        match handle.detach().await {
            Ok(()) => self.fail(&Problem::StillGenerating(id)),
            Err(error) => self.fail(&Problem::Job(id, error)),
        }
    }

    /// The status has been sent long ago: the clients look for an error in every event.
    fn fail(&mut self, problem: &Problem) {
        if let Some(cause) = problem.cause() {
            tracing::error!(error = %causes(cause), "the request failed");
        }
        let body = serde_json::to_string(&problem.openai_body()).expect("plain data");
        self.push("error", &body);
    }

    fn push(&mut self, name: &str, data: &str) {
        self.pending.push_back(Event::default().event(name).data(data));
    }
}

/// What happens to the job next, if it is followed.
async fn next_job_event(follow: &mut Option<JobEvents>) -> Option<JobEvent> {
    match follow {
        Some(follow) => follow.next().await,
        None => std::future::pending().await,
    }
}

/// That time, if there is one.
async fn sleep_until_deadline(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_pictures_are_spread_over_the_way() {
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
