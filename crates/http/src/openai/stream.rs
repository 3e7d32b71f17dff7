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

use super::request::Answer;
use super::response::{About, Partial};
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
    (answer, partial_images): (Answer, u32),
) -> Result<Response, Problem> {
    let follow = app.service.follow(caller, handle.id()).await?;
    let request = follow.now.request.clone();
    // As long as somebody follows it, the engine makes previews.
    let follow = match &request {
        Some(request) if partial_images > 0 => Some(follow.with_format(request.format)),
        _ => None,
    };
    let story = Story {
        states: handle.states(),
        handle: Some(handle),
        follow,
        request,
        answer: Some(answer),
        partials: Partials { most: partial_images, sent: 0, step: 0, steps: 1 },
        until: app.time_budget.map(|budget| Instant::now() + budget),
        untold: VecDeque::new(),
    };
    let events = stream::unfold(story, async |mut story| {
        let event = story.next().await?;
        Some((Ok::<_, Infallible>(event), story))
    });
    let sse = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    let mut response = sse.into_response();
    response.headers_mut().extend([UNBUFFERED]);
    // The default of the envelope is stricter than the `no-cache` of the library.
    response.headers_mut().remove(CACHE_CONTROL);
    Ok(response)
}

/// A request that is told as it happens.
struct Story {
    /// There until the end.
    handle: Option<JobHandle>,
    states: watch::Receiver<JobState>,
    follow: Option<JobEvents>,
    request: Option<GenerateRequest>,
    answer: Option<Answer>,
    partials: Partials,
    /// The operator's time budget.
    until: Option<Instant>,
    /// What there is to tell before anything else happens.
    untold: VecDeque<Event>,
}

/// What a story goes on with.
enum News {
    /// Nothing more is to be seen after none.
    JobEvent(Option<JobEvent>),
    End,
    Late,
}

/// Which pictures in the making are sent: the first of each part of the way, the last part being the finished picture's.
struct Partials {
    most: u32,
    sent: u32,
    /// Steps done, of so many.
    step: u32,
    steps: u32,
}

impl Partials {
    fn come_to(&mut self, progress: Progress) {
        if let Progress::Step { done, of } = progress {
            (self.step, self.steps) = (done, of.max(1));
        }
    }

    /// The index of the next one, if it is time for it.
    fn next(&mut self) -> Option<u32> {
        let due = self.step * (self.most + 1) >= self.steps * (self.sent + 1);
        (due && self.sent < self.most).then(|| {
            self.sent += 1;
            self.sent - 1
        })
    }
}

impl Story {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.untold.pop_front() {
                return Some(event);
            }
            self.handle.as_ref()?;
            let news = tokio::select! {
                biased;
                turn = turn(&mut self.follow) => News::JobEvent(turn),
                _ = self.states.wait_for(JobState::is_final) => News::End,
                () = at(self.until) => News::Late,
            };
            match news {
                News::JobEvent(turn) => self.take(turn),
                News::End => self.end().await,
                News::Late => self.late().await,
            }
        }
    }

    fn take(&mut self, turn: Option<JobEvent>) {
        match turn {
            Some(JobEvent::StateChanged(JobState::Running(progress))) => self.partials.come_to(progress),
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
        self.tell("image_generation.partial_image", &partial.with(file));
    }

    async fn end(&mut self) {
        let (Some(handle), Some(answer)) = (self.handle.take(), self.answer.take()) else { return };
        let id = handle.id();
        match handle.finished_with_files().await {
            Ok((image, files)) => {
                let quality = answer.quality.or_else(|| Some(AUTO.to_owned()));
                let about = About::new(image, Answer { quality, ..answer });
                for (index, file) in files.iter().enumerate() {
                    self.tell("image_generation.completed", &about.completed(index, file));
                }
                self.untold.push_back(Event::default().data(DONE));
            }
            Err(error) => self.fail(&Problem::Job(id, error)),
        }
    }

    /// The time is over: the pictures are made all the same, for who asks again.
    async fn late(&mut self) {
        let Some(handle) = self.handle.take() else { return };
        let id = handle.id();
        match handle.detach().await {
            Ok(()) => self.fail(&Problem::OnItsWay(id)),
            Err(error) => self.fail(&Problem::Job(id, error)),
        }
    }

    /// The status has been sent long ago: the clients look for an error in every event.
    fn fail(&mut self, problem: &Problem) {
        if let Some(cause) = problem.cause() {
            tracing::error!(error = %causes(cause), "the request failed");
        }
        let body = serde_json::to_string(&problem.openai_body()).expect("plain data");
        self.tell("error", &body);
    }

    fn tell(&mut self, name: &str, data: &str) {
        self.untold.push_back(Event::default().event(name).data(data));
    }
}

/// What happens to the job next, if it is followed.
async fn turn(follow: &mut Option<JobEvents>) -> Option<JobEvent> {
    match follow {
        Some(follow) => follow.next().await,
        None => std::future::pending().await,
    }
}

/// That time, if there is one.
async fn at(time: Option<Instant>) {
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
        for (most, steps, expected) in
            [(0, 20, &[][..]), (1, 20, &[10]), (3, 20, &[5, 10, 15]), (3, 2, &[1, 2]), (3, 4, &[1, 2, 3])]
        {
            let mut partials = Partials { most, sent: 0, step: 0, steps: 1 };
            let sent = (1..=steps).filter(|&done| {
                partials.come_to(Progress::Step { done, of: steps });
                partials.next().is_some()
            });
            assert_eq!(sent.collect::<Vec<_>>(), expected, "{most} of {steps}");
        }
    }
}
