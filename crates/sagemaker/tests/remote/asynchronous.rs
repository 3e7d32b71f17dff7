//! [`AsyncEngine`] against a fake service and a fake store.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tintype_core::engine::{Engine, EngineError, RemoteJobStatus, RemoteJobs};
use tintype_core::store::{ETag, Object, ObjectMeta};
use tintype_sagemaker::remote::{
    AsyncEngine, AsyncReceipt, AsyncSettings, EndpointSettings, FetchError, FetchResult, InvokeError,
    S3Location, SettingsError,
};

use crate::fake::{Behavior, FakeService};
use crate::{TestObserver, jpeg, model, request, response_body, settings_for};

/// The result of reading one of the locations.
#[derive(Debug)]
enum Poll {
    Missing,
    Output(String),
    Failure(&'static str),
    Unavailable,
}

/// A store that answers its reads with these results, and with `None` after the last.
#[derive(Debug)]
struct Results {
    polls: Mutex<VecDeque<Poll>>,
    /// The objects' modification time.
    modified: OffsetDateTime,
}

impl Results {
    fn of(polls: impl IntoIterator<Item = Poll>) -> Arc<Self> {
        Self::written(OffsetDateTime::now_utc(), polls)
    }

    fn written(modified: OffsetDateTime, polls: impl IntoIterator<Item = Poll>) -> Arc<Self> {
        Arc::new(Self { polls: Mutex::new(polls.into_iter().collect()), modified })
    }

    fn object(&self, body: impl Into<Bytes>) -> Object {
        let (bytes, modified) = (body.into(), self.modified);
        let content_type = "application/json".into();
        let meta = ObjectMeta { size: bytes.len() as u64, content_type, etag: ETag("1".into()), modified };
        Object { meta, bytes }
    }
}

#[async_trait]
impl FetchResult for Results {
    async fn fetch(&self, location: &S3Location, _: u64) -> Result<Option<Object>, FetchError> {
        let mut polls = self.polls.lock().expect("no panic while locked");
        let is_output = location.key.starts_with("out");
        match polls.pop_front() {
            Some(Poll::Output(body)) if is_output => Ok(Some(self.object(body))),
            Some(Poll::Failure(body)) if !is_output => Ok(Some(self.object(body))),
            Some(Poll::Unavailable) => Err(FetchError::Unavailable("an outage".into())),
            Some(Poll::Failure(body)) => {
                polls.push_front(Poll::Failure(body));
                Ok(None)
            }
            _ => Ok(None),
        }
    }
}

async fn accepting_endpoint() -> FakeService {
    let headers = vec![
        ("x-amzn-sagemaker-outputlocation", "s3://bucket/out/1.out".to_owned()),
        ("x-amzn-sagemaker-failurelocation", "s3://bucket/err/1.out".to_owned()),
    ];
    FakeService::with_behavior(Behavior::Respond {
        status: 202,
        headers,
        body: r#"{"InferenceId":"theirs"}"#.into(),
    })
    .await
}

fn engine(settings: EndpointSettings, results: Arc<Results>) -> AsyncEngine {
    let async_settings =
        AsyncSettings { max_poll_interval: Duration::from_millis(1), ..AsyncSettings::default() };
    AsyncEngine::new(settings, async_settings, results).expect("valid settings")
}

#[tokio::test]
async fn a_job_is_submitted_inline_and_polled() {
    let fake = accepting_endpoint().await;
    let polls = [Poll::Missing, Poll::Missing, Poll::Unavailable, Poll::Output(response_body(2))];
    let results = Results::of(polls);
    let mut settings = settings_for(&fake.url);
    settings.endpoint.custom_attributes = Some("accept_eula=true".into());
    let engine = engine(settings, results);
    assert!(!engine.info().repeatable);
    let generated = engine.generate(request(2), Arc::new(TestObserver::default())).await.expect("pictures");
    assert_eq!(generated.pictures, [jpeg(), jpeg()]);

    let calls = fake.calls();
    let [call] = calls.as_slice() else { panic!("{} calls", calls.len()) };
    assert_eq!(call.target, "/endpoints/tiger/async-invocations");
    for (name, value) in [
        ("x-amzn-sagemaker-content-type", Some("application/json")),
        ("x-amzn-sagemaker-accept", Some("application/json;jpeg")),
        ("x-amzn-sagemaker-custom-attributes", Some("accept_eula=true")),
        ("x-amzn-sagemaker-requestttlseconds", Some("3600")),
        ("x-amzn-sagemaker-invocationtimeoutseconds", Some("900")),
        ("x-amzn-sagemaker-inputlocation", None),
    ] {
        assert_eq!(call.header(name), value, "{name}");
    }
    assert_eq!(call.header("x-amzn-sagemaker-inference-id").map(str::len), Some(36));
    let body: Value = serde_json::from_slice(&call.body).expect("JSON");
    assert_eq!((&body["prompt"], &body["num_images_per_prompt"]), (&json!("a tiger"), &json!(2)));
    assert!(call.is_signed(), "{call:?}");
}

#[tokio::test]
async fn a_receipt_can_be_polled_by_another_engine() {
    let fake = accepting_endpoint().await;
    let first = engine(settings_for(&fake.url), Results::of([]));
    let receipt = first.submit(request(1), Arc::new(TestObserver::default())).await.expect("accepted");
    let stored: AsyncReceipt = serde_json::from_str(&receipt).expect("JSON");
    assert_eq!((stored.inference_id.as_str(), stored.n), ("theirs", 1));
    assert!(receipt.contains(r#""output":"s3://bucket/out/1.out""#), "{receipt}");
    drop(first);

    let other = engine(
        settings_for(&fake.url),
        Results::of([Poll::Missing, Poll::Missing, Poll::Output(response_body(1))]),
    );
    let other = other.remote_jobs().expect("an asynchronous engine has remote jobs");
    assert!(matches!(other.poll(&receipt).await, RemoteJobStatus::Pending));
    let RemoteJobStatus::Succeeded(generated) = other.poll(&receipt).await else {
        panic!("the result exists")
    };
    assert_eq!(generated.pictures, [jpeg()]);
    assert_eq!(fake.calls().len(), 1);
    let RemoteJobStatus::Failed { error, .. } = other.poll("another engine's").await else {
        panic!("an invalid receipt")
    };
    assert!(matches!(error, EngineError::OutcomeUnknown(_)), "{error:?}");
}

/// The receipt of a job that was submitted this many seconds ago.
fn receipt_of_age(ago: i64) -> AsyncReceipt {
    let location = |text: &str| text.parse().expect("a location");
    AsyncReceipt {
        inference_id: "1".into(),
        output: location("s3://bucket/out/1.out"),
        failure: Some(location("s3://bucket/err/1.out")),
        n: 1,
        submitted_at: OffsetDateTime::now_utc() - Duration::from_secs(ago.unsigned_abs()),
    }
}

#[tokio::test]
async fn engine_time_is_independent_of_the_time_of_the_poll() {
    let settings = || EndpointSettings::new("tiger", model());
    let receipt = receipt_of_age(100);
    let later = |seconds| receipt.submitted_at + Duration::from_secs(seconds);
    // The store's times are whole seconds, and the invocation's time-out is 900 s.
    for (written_at, polled_at, expected) in
        [(10, 12, 11.0), (10, 10, 10.0), (10, 80_000, 11.0), (2_000, 2_000, 900.0)]
    {
        for body in [Poll::Output(response_body(1)), Poll::Failure("out of memory")] {
            let engine = engine(settings(), Results::written(later(written_at), [body]));
            let duration = match engine.status(&receipt, later(polled_at)).await {
                RemoteJobStatus::Succeeded(generated) => generated.engine_seconds,
                RemoteJobStatus::Failed { error: EngineError::UnusableResult(_), engine_seconds } => {
                    engine_seconds
                }
                other => panic!("{other:?}"),
            };
            assert_eq!(duration, expected, "written after {written_at} s, polled after {polled_at} s");
        }
    }
}

#[tokio::test]
async fn a_model_that_failed() {
    let fake = accepting_endpoint().await;
    let engine = engine(
        settings_for(&fake.url),
        Results::of([Poll::Missing, Poll::Missing, Poll::Failure("out of memory")]),
    );
    let error = engine.generate(request(1), Arc::new(TestObserver::default())).await.expect_err("an error");
    let EngineError::UnusableResult(cause) = error else { panic!("{error:?}") };
    assert_eq!(cause.to_string(), "the asynchronous model failed: out of memory");
}

#[tokio::test]
async fn an_unusable_result() {
    let fake = accepting_endpoint().await;
    let engine = engine(settings_for(&fake.url), Results::of([Poll::Output("<html>".into())]));
    let error = engine.generate(request(1), Arc::new(TestObserver::default())).await.expect_err("an error");
    assert!(matches!(error, EngineError::UnusableResult(_)), "{error:?}");
}

#[tokio::test]
async fn a_submission_with_an_unknown_outcome() {
    let without =
        Behavior::Respond { status: 202, headers: Vec::new(), body: r#"{"InferenceId":"x"}"#.into() };
    let fake = FakeService::with_behavior(without).await;
    let error =
        engine(settings_for(&fake.url), Results::of([])).invoke(&request(1)).await.expect_err("an error");
    assert!(matches!(error, InvokeError::NoOutputLocation));
    assert!(matches!(EngineError::from(error), EngineError::OutcomeUnknown(_)));

    let fake = FakeService::disconnecting(b"").await;
    let error =
        engine(settings_for(&fake.url), Results::of([])).invoke(&request(1)).await.expect_err("an error");
    assert!(matches!(error, InvokeError::Interrupted(_)), "{error:?}");
    assert_eq!(fake.calls().len(), 1);

    let headers = vec![("x-amzn-errortype", "ServiceUnavailable".to_owned())];
    let fake =
        FakeService::with_behavior(Behavior::Respond { status: 503, headers, body: "{}".into() }).await;
    let error =
        engine(settings_for(&fake.url), Results::of([])).invoke(&request(1)).await.expect_err("an error");
    assert!(matches!(error, InvokeError::Busy { .. }), "{error:?}");
    assert_eq!(fake.calls().len(), 1);
}

#[tokio::test]
async fn engine_time_if_the_stores_clock_is_behind() {
    let receipt = receipt_of_age(100);
    let long_ago = receipt.submitted_at - Duration::from_secs(60);
    let engine = engine(
        EndpointSettings::new("tiger", model()),
        Results::written(long_ago, [Poll::Output(response_body(1))]),
    );
    let RemoteJobStatus::Succeeded(generated) =
        engine.status(&receipt, receipt.submitted_at + Duration::from_secs(7)).await
    else {
        panic!("the result exists")
    };
    assert_eq!(generated.engine_seconds, 7.0);
}

#[tokio::test]
async fn a_job_without_a_result_fails_in_the_end() {
    let engine = |polls: [Poll; 1]| engine(EndpointSettings::new("tiger", model()), Results::of(polls));
    let receipt = receipt_of_age(0);
    // The time to live plus the time-out, or a day if the store is unavailable.
    for (poll, last) in [((|| Poll::Missing) as fn() -> Poll, 4_500), (|| Poll::Unavailable, 86_400)] {
        let poll_after = async |seconds| {
            engine([poll()]).status(&receipt, receipt.submitted_at + Duration::from_secs(seconds)).await
        };
        assert!(matches!(poll_after(last).await, RemoteJobStatus::Pending), "{last}");
        let RemoteJobStatus::Failed { error, engine_seconds } = poll_after(last + 1).await else {
            panic!("{last}")
        };
        assert!(
            matches!(error, EngineError::OutcomeUnknown(_) | EngineError::UnusableResult(_)),
            "{error:?}"
        );
        assert_eq!(engine_seconds, 900.0, "the invocation's time-out limits the engine time");
    }
}

#[test]
fn settings_outside_sagemakers_ranges_are_rejected() {
    let rejected = |async_settings| {
        let made = AsyncEngine::new(EndpointSettings::new("tiger", model()), async_settings, Results::of([]));
        made.err().expect("rejected")
    };
    let seconds = Duration::from_secs;
    for (ttl, timeout) in [(59, 1), (21_601, 1), (60, 0), (60, 3_601)] {
        let async_settings = AsyncSettings {
            request_ttl: seconds(ttl),
            invocation_timeout: seconds(timeout),
            ..AsyncSettings::default()
        };
        assert!(matches!(rejected(async_settings), SettingsError::OutOfRange { .. }), "{ttl} {timeout}");
    }
}
