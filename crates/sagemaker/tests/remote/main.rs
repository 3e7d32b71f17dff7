//! The engines against a fake of SageMaker's Runtime API.

mod asynchronous;
mod availability;
mod errors;
mod fake;
mod real_time;
mod results;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tintype_core::engine::{Observer, Progress};
use tintype_core::model::ModelCard;
use tintype_core::picture::{Encoded, Format, Picture};
use tintype_core::request::{Draft, GenerateRequest, RequestLimits};
use tintype_core::secret::Secret;
use tintype_sagemaker::remote::{EndpointSettings, Service};
use tintype_sagemaker::sigv4::AccessKeys;

/// Bytes that begin like a JPEG.
const JPEG: &[u8] = b"\xff\xd8\xff\xe0 the shortest picture";

fn model() -> ModelCard {
    ModelCard {
        name: "jumpstart".into(),
        width: 512,
        height: 512,
        steps: 50,
        guidance: 7.5,
        ..ModelCard::default()
    }
}

fn keys() -> AccessKeys {
    AccessKeys { id: "AKID".into(), secret: Secret::new("wJalrXUtnFEMI") }
}

/// The settings for an endpoint `tiger` at this URL.
fn settings_for(url: &str) -> EndpointSettings {
    let keys = keys();
    let service = Service {
        url: Some(url.to_owned()),
        region: Some("eu-central-1".into()),
        credentials: Some((keys.id, keys.secret)),
    };
    EndpointSettings { service, ..EndpointSettings::new("tiger", model()) }
}

fn request(n: i64) -> Arc<GenerateRequest> {
    let draft = Draft {
        prompt: Some("a tiger".into()),
        negative_prompt: Some("blurred".into()),
        seed: Some(9),
        n: Some(n),
        ..Draft::default()
    };
    let limits = RequestLimits { max_pixels: 1 << 24, max_work: u64::MAX };
    Arc::new(draft.check(&model(), &limits, 7).expect("a valid request"))
}

fn jpeg() -> Picture {
    Picture::Encoded(Encoded { format: Format::Jpeg, bytes: Bytes::from_static(JPEG) })
}

/// JumpStart's response with this many pictures.
fn response_body(n: usize) -> String {
    let base64 = base64_simd::STANDARD.encode_to_string(JPEG);
    serde_json::json!({"generated_images": vec![base64; n], "prompt": "a tiger"}).to_string()
}

/// An observer that records the start, and may be abandoned.
#[derive(Default)]
struct TestObserver {
    abandoned: bool,
    started: AtomicBool,
}

impl Observer for TestObserver {
    fn progress(&self, progress: Progress) {
        assert_eq!(progress, Progress::Started);
        self.started.store(true, Ordering::SeqCst);
    }

    fn is_abandoned(&self) -> bool {
        self.abandoned
    }
}
