//! An asynchronous endpoint.

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
    AsyncEngine, AsyncSettings, EndpointSettings, FetchError, FetchResult, InvokeError, S3Location,
    SettingsError, Submitted,
};

use crate::fake::{Act, Fake};
use crate::{Waiter, answer, at, jpeg, model, request};

/// What a look at one of the locations finds.
#[derive(Debug)]
enum Sight {
    Nothing,
    Output(String),
    Failure(&'static str),
    Broken,
}

/// Results that appear after so many looks; afterwards there is nothing any more.
#[derive(Debug)]
struct Results {
    looks: Mutex<VecDeque<Sight>>,
    /// When they were written.
    modified: OffsetDateTime,
}

impl Results {
    fn of(looks: impl IntoIterator<Item = Sight>) -> Arc<Self> {
        Self::written(OffsetDateTime::now_utc(), looks)
    }

    fn written(modified: OffsetDateTime, looks: impl IntoIterator<Item = Sight>) -> Arc<Self> {
        Arc::new(Self { looks: Mutex::new(looks.into_iter().collect()), modified })
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
        let mut looks = self.looks.lock().expect("no panic while locked");
        let is_output = location.key.starts_with("out");
        match looks.pop_front() {
            Some(Sight::Output(body)) if is_output => Ok(Some(self.object(body))),
            Some(Sight::Failure(body)) if !is_output => Ok(Some(self.object(body))),
            Some(Sight::Broken) => Err(FetchError::Unavailable("a bad minute".into())),
            Some(Sight::Failure(body)) => {
                looks.push_front(Sight::Failure(body));
                Ok(None)
            }
            _ => Ok(None),
        }
    }
}

async fn accepting() -> Fake {
    let headers = vec![
        ("x-amzn-sagemaker-outputlocation", "s3://bucket/out/1.out".to_owned()),
        ("x-amzn-sagemaker-failurelocation", "s3://bucket/err/1.out".to_owned()),
    ];
    Fake::doing(Act::Answer { status: 202, headers, body: r#"{"InferenceId":"theirs"}"#.into() }).await
}

fn engine(settings: EndpointSettings, results: Arc<Results>) -> AsyncEngine {
    let how = AsyncSettings { longest_pause: Duration::from_millis(1), ..AsyncSettings::default() };
    AsyncEngine::new(settings, how, results).expect("sensible settings")
}

#[tokio::test]
async fn the_work_is_handed_over_inline_and_its_result_awaited() {
    let fake = accepting().await;
    let results = Results::of([Sight::Nothing, Sight::Nothing, Sight::Broken, Sight::Output(answer(2))]);
    let mut settings = at(&fake.url);
    settings.endpoint.custom_attributes = Some("accept_eula=true".into());
    let engine = engine(settings, results);
    assert!(!engine.repeatable());
    let generated = engine.generate(request(2), Arc::new(Waiter::default())).await.expect("pictures");
    assert_eq!(generated.pictures, [jpeg(), jpeg()]);

    let seen = fake.seen();
    let [call] = seen.as_slice() else { panic!("{} calls", seen.len()) };
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
async fn accepted_work_can_be_written_down_and_found_by_another() {
    let fake = accepting().await;
    let first = engine(at(&fake.url), Results::of([]));
    let receipt = first.submit(request(1), Arc::new(Waiter::default())).await.expect("accepted");
    let work: Submitted = serde_json::from_str(&receipt).expect("JSON");
    assert_eq!((work.inference_id.as_str(), work.n), ("theirs", 1));
    assert!(receipt.contains(r#""output":"s3://bucket/out/1.out""#), "{receipt}");
    drop(first);

    let other =
        engine(at(&fake.url), Results::of([Sight::Nothing, Sight::Nothing, Sight::Output(answer(1))]));
    let other = other.remote_jobs().expect("that is how it works");
    assert!(matches!(other.poll(&receipt).await, RemoteJobStatus::Pending));
    let RemoteJobStatus::Succeeded(generated) = other.poll(&receipt).await else { panic!("it was there") };
    assert_eq!(generated.pictures, [jpeg()]);
    assert_eq!(fake.seen().len(), 1);
    let RemoteJobStatus::Failed { error, .. } = other.poll("another engine's").await else {
        panic!("no receipt")
    };
    assert!(matches!(error, EngineError::OutcomeUnknown(_)), "{error:?}");
}

/// Work that was handed over so many seconds ago.
fn handed_over(ago: i64) -> Submitted {
    let location = |text: &str| text.parse().expect("a location");
    Submitted {
        inference_id: "1".into(),
        output: location("s3://bucket/out/1.out"),
        failure: Some(location("s3://bucket/err/1.out")),
        n: 1,
        at: OffsetDateTime::now_utc() - Duration::from_secs(ago.unsigned_abs()),
    }
}

#[tokio::test]
async fn what_it_took_does_not_depend_on_who_looks_when() {
    let settings = || EndpointSettings::new("tiger", model());
    let work = handed_over(100);
    let later = |seconds| work.at + Duration::from_secs(seconds);
    // The store tells whole seconds, and the model may take 900.
    for (written_at, looked_at, expected) in
        [(10, 12, 11.0), (10, 10, 10.0), (10, 80_000, 11.0), (2_000, 2_000, 900.0)]
    {
        for body in [Sight::Output(answer(1)), Sight::Failure("out of memory")] {
            let engine = engine(settings(), Results::written(later(written_at), [body]));
            let took = match engine.find(&work, later(looked_at)).await {
                RemoteJobStatus::Succeeded(generated) => generated.engine_seconds,
                RemoteJobStatus::Failed { error: EngineError::UnusableResult(_), engine_seconds } => {
                    engine_seconds
                }
                other => panic!("{other:?}"),
            };
            assert_eq!(took, expected, "written after {written_at} s, seen after {looked_at} s");
        }
    }
}

#[tokio::test]
async fn a_model_that_failed() {
    let fake = accepting().await;
    let engine =
        engine(at(&fake.url), Results::of([Sight::Nothing, Sight::Nothing, Sight::Failure("out of memory")]));
    let error = engine.generate(request(1), Arc::new(Waiter::default())).await.expect_err("no picture");
    let EngineError::UnusableResult(cause) = error else { panic!("{error:?}") };
    assert_eq!(cause.to_string(), "the asynchronous model failed: out of memory");
}

#[tokio::test]
async fn a_result_that_is_none() {
    let fake = accepting().await;
    let engine = engine(at(&fake.url), Results::of([Sight::Output("<html>".into())]));
    let error = engine.generate(request(1), Arc::new(Waiter::default())).await.expect_err("no picture");
    assert!(matches!(error, EngineError::UnusableResult(_)), "{error:?}");
}

#[tokio::test]
async fn work_that_may_or_may_not_have_been_accepted() {
    let without = Act::Answer { status: 202, headers: Vec::new(), body: r#"{"InferenceId":"x"}"#.into() };
    let fake = Fake::doing(without).await;
    let error = engine(at(&fake.url), Results::of([])).invoke(&request(1)).await.expect_err("nowhere");
    assert!(matches!(error, InvokeError::NoLocation));
    assert!(matches!(EngineError::from(error), EngineError::OutcomeUnknown(_)));

    let fake = Fake::breaking(b"").await;
    let error = engine(at(&fake.url), Results::of([])).invoke(&request(1)).await.expect_err("broken");
    assert!(matches!(error, InvokeError::Interrupted(_)), "{error:?}");
    assert_eq!(fake.seen().len(), 1);

    let headers = vec![("x-amzn-errortype", "ServiceUnavailable".to_owned())];
    let fake = Fake::doing(Act::Answer { status: 503, headers, body: "{}".into() }).await;
    let error = engine(at(&fake.url), Results::of([])).invoke(&request(1)).await.expect_err("busy");
    assert!(matches!(error, InvokeError::Busy { .. }), "{error:?}");
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test]
async fn a_store_whose_clock_is_behind_makes_nothing_free() {
    let work = handed_over(100);
    let long_ago = work.at - Duration::from_secs(60);
    let engine = engine(
        EndpointSettings::new("tiger", model()),
        Results::written(long_ago, [Sight::Output(answer(1))]),
    );
    let RemoteJobStatus::Succeeded(generated) = engine.find(&work, work.at + Duration::from_secs(7)).await
    else {
        panic!("it was there")
    };
    assert_eq!(generated.engine_seconds, 7.0);
}

#[tokio::test]
async fn nothing_is_waited_for_for_ever() {
    let engine = |looks: [Sight; 1]| engine(EndpointSettings::new("tiger", model()), Results::of(looks));
    let work = handed_over(0);
    // The time to live and the time-out; and a day for a store that is not to be had.
    for (sight, last) in [((|| Sight::Nothing) as fn() -> Sight, 4_500), (|| Sight::Broken, 86_400)] {
        let look =
            async |seconds| engine([sight()]).find(&work, work.at + Duration::from_secs(seconds)).await;
        assert!(matches!(look(last).await, RemoteJobStatus::Pending), "{last}");
        let RemoteJobStatus::Failed { error, engine_seconds } = look(last + 1).await else {
            panic!("{last}")
        };
        assert!(
            matches!(error, EngineError::OutcomeUnknown(_) | EngineError::UnusableResult(_)),
            "{error:?}"
        );
        assert_eq!(engine_seconds, 900.0, "the model cannot have taken longer");
    }
}

#[test]
fn settings_that_sagemaker_does_not_allow() {
    let refused = |how| {
        let made = AsyncEngine::new(EndpointSettings::new("tiger", model()), how, Results::of([]));
        made.err().expect("refused")
    };
    let seconds = Duration::from_secs;
    for (ttl, timeout) in [(59, 1), (21_601, 1), (60, 0), (60, 3_601)] {
        let how = AsyncSettings {
            request_ttl: seconds(ttl),
            invocation_timeout: seconds(timeout),
            ..AsyncSettings::default()
        };
        assert!(matches!(refused(how), SettingsError::OutOfRange { .. }), "{ttl} {timeout}");
    }
}
