//! [`SageMakerEngine`] against a fake service that responds.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use tintype_core::engine::{Engine, EngineError};
use tintype_core::picture::{Picture, Pixels};
use tintype_sagemaker::remote::{Endpoint, EndpointSettings, SageMakerEngine, SettingsError};
use tintype_sagemaker::wire::{Dialect, MAX_BODY};

use crate::fake::FakeService;
use crate::{JPEG, TestObserver, jpeg, model, request, response_body, settings_for};

fn engine(settings: EndpointSettings) -> SageMakerEngine {
    SageMakerEngine::new(settings).expect("valid settings")
}

#[tokio::test]
async fn one_call_makes_all_pictures() {
    let fake = FakeService::responding(response_body(2)).await;
    let endpoint = Endpoint {
        name: "tiger".into(),
        custom_attributes: Some("accept_eula=true".into()),
        inference_component: Some("component".into()),
        variant: Some("blue".into()),
        target_model: Some("emoji.tar.gz".into()),
        ..Endpoint::default()
    };
    let engine = engine(EndpointSettings { endpoint, ..settings_for(&fake.url) });
    assert!(!engine.info().repeatable && engine.model() == &model());
    let observer = Arc::new(TestObserver::default());
    let generated = engine.generate(request(2), Arc::clone(&observer) as _).await.expect("pictures");
    assert_eq!(generated.pictures, [jpeg(), jpeg()]);
    assert!(generated.engine_seconds > 0.0 && observer.started.load(Ordering::SeqCst));

    let calls = fake.calls();
    let [call] = calls.as_slice() else { panic!("{} calls", calls.len()) };
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
async fn responses_of_every_form() {
    let base64 = base64_simd::STANDARD.encode_to_string(JPEG);
    let pixels = Picture::Pixels(Pixels::new(2, 1, vec![1, 2, 3, 4, 5, 6]).expect("two by one"));
    let cases = [
        (json!({"generated_images": [base64]}), jpeg()),
        (json!({"generated_image": base64, "prompt": "x"}), jpeg()),
        (json!({"artifacts": [{"base64": base64, "finishReason": "SUCCESS", "seed": 9}]}), jpeg()),
        (json!({"generated_images": [[[[1, 2, 3], [4, 5, 6]]]], "prompt": "x"}), pixels),
    ];
    for (body, picture) in cases {
        let fake = FakeService::responding(body.to_string()).await;
        let pictures = engine(settings_for(&fake.url)).invoke(&request(1)).await.expect("a picture");
        assert_eq!(pictures, [picture], "{body}");
    }
}

#[tokio::test]
async fn requests_in_sdxls_dialect() {
    let fake = FakeService::responding(response_body(1)).await;
    let mut settings = settings_for(&fake.url);
    settings.endpoint.dialect = Dialect::Sdxl;
    engine(settings).invoke(&request(1)).await.expect("a picture");
    let body: Value = serde_json::from_slice(&fake.calls()[0].body).expect("JSON");
    let texts = json!([{"text": "a tiger", "weight": 1.0}, {"text": "blurred", "weight": -1.0}]);
    assert_eq!(
        (&body["text_prompts"], &body["cfg_scale"], &body["samples"]),
        (&texts, &json!(7.5), &json!(1))
    );
}

#[tokio::test]
async fn responses_larger_than_sagemaker_guarantees() {
    let large = [JPEG, &vec![7; MAX_BODY]].concat();
    let base64 = base64_simd::STANDARD.encode_to_string(&large);
    let fake = FakeService::responding(json!({"generated_images": [base64]}).to_string()).await;
    let pictures = engine(settings_for(&fake.url)).invoke(&request(1)).await.expect("a picture");
    let [Picture::Encoded(file)] = pictures.as_slice() else { panic!("one file") };
    assert!(file.bytes == large);
}

#[tokio::test]
async fn every_call_opens_its_own_connection() {
    let fake = FakeService::responding(response_body(1)).await;
    let engine = engine(settings_for(&fake.url));
    for _ in 0..2 {
        engine.invoke(&request(1)).await.expect("a picture");
    }
    let calls = fake.calls();
    let [one, other] = calls.as_slice() else { panic!("{} calls", calls.len()) };
    assert_ne!(one.peer, other.peer);
}

#[tokio::test]
async fn no_call_is_made_for_an_abandoned_job() {
    let fake = FakeService::responding(response_body(1)).await;
    let observer = Arc::new(TestObserver { abandoned: true, ..TestObserver::default() });
    let error = engine(settings_for(&fake.url)).generate(request(1), observer).await.expect_err("abandoned");
    assert!(matches!(error, EngineError::Abandoned) && fake.calls().is_empty());
}

#[test]
fn invalid_settings_are_rejected() {
    let rejected = |settings| SageMakerEngine::new(settings).expect_err("rejected");
    for name in ["", "-tiger", "tiger/lion", "tiger two", &"x".repeat(64)] {
        let settings = EndpointSettings::new(name, model());
        assert_eq!(rejected(settings), SettingsError::InvalidName(name.into()));
    }
    for url in ["", "127.0.0.1:8080", "ftp://host", "https://"] {
        assert_eq!(rejected(settings_for(url)), SettingsError::InvalidUrl(url.into()));
    }
    for attributes in ["x".repeat(1_025), "a\r\nb: c".into(), "虎".into()] {
        let mut settings = EndpointSettings::new("tiger", model());
        settings.endpoint.custom_attributes = Some(attributes);
        assert_eq!(rejected(settings), SettingsError::InvalidCustomAttributes);
    }
}
