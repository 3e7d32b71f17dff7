//! A real-time endpoint that answers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use tintype_core::engine::{Engine, EngineError};
use tintype_core::picture::{Picture, Pixels};
use tintype_sagemaker::remote::{Endpoint, EndpointSettings, SageMakerEngine, SettingsError};
use tintype_sagemaker::wire::{Dialect, MAX_BODY};

use crate::fake::Fake;
use crate::{JPEG, Waiter, answer, at, jpeg, model, request};

fn engine(settings: EndpointSettings) -> SageMakerEngine {
    SageMakerEngine::new(settings).expect("sensible settings")
}

#[tokio::test]
async fn one_call_makes_all_pictures() {
    let fake = Fake::answering(answer(2)).await;
    let endpoint = Endpoint {
        name: "tiger".into(),
        custom_attributes: Some("accept_eula=true".into()),
        inference_component: Some("component".into()),
        variant: Some("blue".into()),
        target_model: Some("emoji.tar.gz".into()),
        ..Endpoint::default()
    };
    let engine = engine(EndpointSettings { endpoint, ..at(&fake.url) });
    assert!(!engine.repeatable() && engine.memory_needed(&request(1)) == 0 && engine.model() == &model());
    let waiter = Arc::new(Waiter::default());
    let generated = engine.generate(request(2), Arc::clone(&waiter) as _).await.expect("pictures");
    assert_eq!(generated.pictures, [jpeg(), jpeg()]);
    assert!(generated.engine_seconds > 0.0 && waiter.started.load(Ordering::SeqCst));

    let seen = fake.seen();
    let [call] = seen.as_slice() else { panic!("{} calls", seen.len()) };
    assert_eq!(call.target, "/endpoints/tiger/invocations");
    for (name, value) in [
        ("content-type", "application/json"),
        ("accept", "application/json;jpeg"),
        ("x-amzn-sagemaker-custom-attributes", "accept_eula=true"),
        ("x-amzn-sagemaker-inference-component", "component"),
        ("x-amzn-sagemaker-target-variant", "blue"),
        ("x-amzn-sagemaker-target-model", "emoji.tar.gz"),
    ] {
        assert_eq!(call.header(name), Some(value), "{name}");
    }
    let body: Value = serde_json::from_slice(&call.body).expect("JSON");
    let expected = json!({
        "prompt": "a tiger", "negative_prompt": "blurred", "width": 512, "height": 512, "seed": 9,
        "num_images_per_prompt": 2, "num_inference_steps": 50, "guidance_scale": 7.5,
    });
    assert_eq!(body, expected);
    assert!(call.is_signed(), "{call:?}");
}

#[tokio::test]
async fn answers_of_every_shape() {
    let base64 = base64_simd::STANDARD.encode_to_string(JPEG);
    let pixels = Picture::Pixels(Pixels::new(2, 1, vec![1, 2, 3, 4, 5, 6]).expect("two by one"));
    let cases = [
        (json!({"generated_images": [base64]}), jpeg()),
        (json!({"generated_image": base64, "prompt": "x"}), jpeg()),
        (json!({"artifacts": [{"base64": base64, "finishReason": "SUCCESS", "seed": 9}]}), jpeg()),
        (json!({"generated_images": [[[[1, 2, 3], [4, 5, 6]]]], "prompt": "x"}), pixels),
    ];
    for (body, picture) in cases {
        let fake = Fake::answering(body.to_string()).await;
        let pictures = engine(at(&fake.url)).invoke(&request(1)).await.expect("a picture");
        assert_eq!(pictures, [picture], "{body}");
    }
}

#[tokio::test]
async fn sdxl_is_asked_in_its_own_words() {
    let fake = Fake::answering(answer(1)).await;
    let mut settings = at(&fake.url);
    settings.endpoint.dialect = Dialect::Sdxl;
    engine(settings).invoke(&request(1)).await.expect("a picture");
    let body: Value = serde_json::from_slice(&fake.seen()[0].body).expect("JSON");
    let texts = json!([{"text": "a tiger", "weight": 1.0}, {"text": "blurred", "weight": -1.0}]);
    assert_eq!(
        (&body["text_prompts"], &body["cfg_scale"], &body["samples"]),
        (&texts, &json!(7.5), &json!(1))
    );
}

#[tokio::test]
async fn pictures_larger_than_sagemaker_promises() {
    let large = [JPEG, &vec![7; MAX_BODY]].concat();
    let base64 = base64_simd::STANDARD.encode_to_string(&large);
    let fake = Fake::answering(json!({"generated_images": [base64]}).to_string()).await;
    let pictures = engine(at(&fake.url)).invoke(&request(1)).await.expect("a picture");
    let [Picture::Encoded(file)] = pictures.as_slice() else { panic!("one file") };
    assert!(file.bytes == large);
}

#[tokio::test]
async fn no_call_is_made_on_a_connection_that_may_be_dead() {
    let fake = Fake::answering(answer(1)).await;
    let engine = engine(at(&fake.url));
    for _ in 0..2 {
        engine.invoke(&request(1)).await.expect("a picture");
    }
    let seen = fake.seen();
    let [one, other] = seen.as_slice() else { panic!("{} calls", seen.len()) };
    assert_ne!(one.peer, other.peer);
}

#[tokio::test]
async fn nobody_pays_for_what_nobody_waits_for() {
    let fake = Fake::answering(answer(1)).await;
    let nobody = Arc::new(Waiter { abandoned: true, ..Waiter::default() });
    let error = engine(at(&fake.url)).generate(request(1), nobody).await.expect_err("abandoned");
    assert!(matches!(error, EngineError::Abandoned) && fake.seen().is_empty());
}

#[test]
fn settings_that_make_no_sense() {
    let refused = |settings| SageMakerEngine::new(settings).expect_err("refused");
    for name in ["", "-tiger", "tiger/lion", "tiger two", &"x".repeat(64)] {
        let settings = EndpointSettings::new(name, model());
        assert_eq!(refused(settings), SettingsError::InvalidName(name.into()));
    }
    for url in ["", "127.0.0.1:8080", "ftp://host", "https://"] {
        assert_eq!(refused(at(url)), SettingsError::BadUrl(url.into()));
    }
    for attributes in ["x".repeat(1_025), "a\r\nb: c".into(), "虎".into()] {
        let mut settings = EndpointSettings::new("tiger", model());
        settings.endpoint.custom_attributes = Some(attributes);
        assert_eq!(refused(settings), SettingsError::BadAttributes);
    }
}
