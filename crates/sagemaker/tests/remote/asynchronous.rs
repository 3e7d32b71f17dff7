//! An asynchronous endpoint.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};
use tintype_core::engine::{Engine, EngineError};
use tintype_sagemaker::remote::{
    AsyncEngine, AsyncSettings, EndpointSettings, FetchError, FetchResult, InvokeError, S3Location,
    SettingsError, Submitted,
};

use crate::fake::{Act, Fake};
use crate::{Waiter, answer, at, jpeg, model, request};

/// What a look at one of the locations finds.
#[derive(Debug)]
enum Look {
    Nothing,
    Output(String),
    Failure(&'static str),
    Broken,
}

/// Results that appear after so many looks; afterwards there is nothing any more.
#[derive(Debug, Default)]
struct Results(Mutex<VecDeque<Look>>);

impl Results {
    fn of(looks: impl IntoIterator<Item = Look>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(looks.into_iter().collect())))
    }
}

#[async_trait]
impl FetchResult for Results {
    async fn fetch(&self, location: &S3Location, _: u64) -> Result<Option<Bytes>, FetchError> {
        let mut looks = self.0.lock().expect("no panic while locked");
        let is_output = location.key.starts_with("out");
        match looks.pop_front() {
            Some(Look::Output(body)) if is_output => Ok(Some(body.into())),
            Some(Look::Failure(body)) if !is_output => Ok(Some(body.into())),
            Some(Look::Broken) => Err(FetchError::Unavailable("a bad minute".into())),
            Some(Look::Failure(body)) => {
                looks.push_front(Look::Failure(body));
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
    let results = Results::of([Look::Nothing, Look::Nothing, Look::Broken, Look::Output(answer(2))]);
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
    let work = engine(at(&fake.url), Results::of([])).submit(&request(1)).await.expect("accepted");
    assert_eq!(work.inference_id, "theirs");
    let text = serde_json::to_string(&work).expect("JSON");
    assert!(text.contains(r#""output":"s3://bucket/out/1.out""#), "{text}");
    let read: Submitted = serde_json::from_str(&text).expect("the same");
    assert_eq!(read, work);

    let other = engine(at(&fake.url), Results::of([Look::Nothing, Look::Nothing, Look::Output(answer(1))]));
    assert_eq!(other.look(&read).await.expect("a look"), None);
    assert_eq!(other.look(&read).await.expect("a look"), Some(vec![jpeg()]));
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test]
async fn a_model_that_failed() {
    let fake = accepting().await;
    let engine =
        engine(at(&fake.url), Results::of([Look::Nothing, Look::Nothing, Look::Failure("out of memory")]));
    let error = engine.generate(request(1), Arc::new(Waiter::default())).await.expect_err("no picture");
    let EngineError::Wasted(cause) = error else { panic!("{error:?}") };
    assert_eq!(cause.to_string(), "the asynchronous model failed: out of memory");
}

#[tokio::test]
async fn a_result_that_is_none() {
    let fake = accepting().await;
    let engine = engine(at(&fake.url), Results::of([Look::Output("<html>".into())]));
    let error = engine.generate(request(1), Arc::new(Waiter::default())).await.expect_err("no picture");
    assert!(matches!(error, EngineError::Wasted(_)), "{error:?}");
}

#[tokio::test]
async fn work_that_may_or_may_not_have_been_accepted() {
    let without = Act::Answer { status: 202, headers: Vec::new(), body: r#"{"InferenceId":"x"}"#.into() };
    let fake = Fake::doing(without).await;
    let error = engine(at(&fake.url), Results::of([])).submit(&request(1)).await.expect_err("nowhere");
    assert!(matches!(error, InvokeError::NoLocation));
    assert!(matches!(EngineError::from(error), EngineError::OutcomeUnknown(_)));

    let fake = Fake::breaking(b"").await;
    let error = engine(at(&fake.url), Results::of([])).submit(&request(1)).await.expect_err("broken");
    assert!(matches!(error, InvokeError::Interrupted(_)), "{error:?}");
    assert_eq!(fake.seen().len(), 1);

    let headers = vec![("x-amzn-errortype", "ServiceUnavailable".to_owned())];
    let fake = Fake::doing(Act::Answer { status: 503, headers, body: "{}".into() }).await;
    let error = engine(at(&fake.url), Results::of([])).submit(&request(1)).await.expect_err("busy");
    assert!(matches!(error, InvokeError::Busy { .. }), "{error:?}");
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_waited_for_for_ever() {
    let location = |text: &str| text.parse().expect("a location");
    let work = Submitted {
        inference_id: "1".into(),
        output: location("s3://bucket/out/1.out"),
        failure: None,
        n: 1,
    };
    let settings = EndpointSettings::new("tiger", model());
    let engine =
        AsyncEngine::new(settings, AsyncSettings::default(), Results::of([])).expect("sensible settings");
    let began = tokio::time::Instant::now();
    let error = engine.wait(&work).await.expect_err("nothing came");
    assert!(matches!(error, InvokeError::TimedOut(_)), "{error:?}");
    // The time to live, the time-out, and at most one pause.
    assert!((4_500..4_506).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
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
