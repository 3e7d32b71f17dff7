use serde_json::json;
use tintype_core::engine::Engine;
use tintype_core::request::{Draft, RequestLimits};
use tintype_testing::NullEngine;

use super::*;

fn info() -> EngineInfo {
    let mut info = NullEngine::new(Duration::ZERO).with_revision("abc").info().clone();
    info.numerics = "f32.1".to_owned();
    info
}

fn request(draft: Draft, fresh_seed: u32) -> GenerateRequest {
    let draft = Draft { prompt: Some("x".into()), ..draft };
    let model = info().model;
    draft.check(&model, &RequestLimits::for_model(&model), fresh_seed).expect("valid")
}

fn key(draft: Draft, fresh_seed: u32) -> Fingerprint {
    request_key("null", &request(draft, fresh_seed))
}

#[test]
fn the_key_has_the_seed_only_if_the_client_chose_it() {
    let drawn = key(Draft::default(), 1);
    assert_eq!(drawn, key(Draft::default(), 2));
    let chosen = |seed| key(Draft { seed: Some(seed), ..Draft::default() }, 1);
    assert_eq!(chosen(0), chosen(0));
    assert_ne!(chosen(0), chosen(1));
    assert_ne!(chosen(0), drawn);
}

#[test]
fn the_key_ignores_the_links_expiry_only() {
    let first = key(Draft::default(), 1);
    assert_eq!(first, key(Draft { expires_in: Some(60), ..Draft::default() }, 1));
    assert_eq!(first, key(Draft { width: Some(64), ..Draft::default() }, 1), "a default written out");
    for other in [
        Draft { steps: Some(5), ..Draft::default() },
        Draft { negative_prompt: Some("y".into()), ..Draft::default() },
        Draft { width: Some(72), ..Draft::default() },
        Draft { height: Some(72), ..Draft::default() },
        Draft { guidance: Some(2.0), ..Draft::default() },
        Draft { n: Some(2), ..Draft::default() },
        Draft { format: Some(Format::Png), ..Draft::default() },
        Draft { compression: Some(50), ..Draft::default() },
    ] {
        assert_ne!(first, key(other.clone(), 1), "{other:?}");
    }
    assert_ne!(first, request_key("other", &request(Draft::default(), 1)));
}

#[test]
fn the_picture_key_also_has_what_the_request_does_not_decide() {
    let request = request(Draft { seed: Some(7), ..Draft::default() }, 1);
    let first = picture_key(&info(), &request);
    assert_eq!(first, picture_key(&EngineInfo { slots: 9, ..info() }, &request));
    let rolled = EngineInfo { revision: "other".into(), ..info() };
    assert_ne!(first, picture_key(&rolled, &request));
    assert_ne!(first, picture_key(&EngineInfo { numerics: "f16.1".into(), ..info() }, &request));
    assert_ne!(first, request_key("null", &request));
}

/// Keys are in stored records: they change only if the same request must not find them any more.
#[test]
fn the_keys_do_not_change() {
    let draft = Draft {
        negative_prompt: Some("blur".into()),
        seed: Some(7),
        guidance: Some(7.5),
        n: Some(2),
        ..Draft::default()
    };
    let request = request(draft, 1);
    let key = request_key("null", &request).to_string();
    assert_eq!(key, "f97231ff40ed0aac9390859820c2e1f68afbba00c97863736506f917b22c1ee6");
    assert_eq!(
        picture_key(&info(), &request).to_string(),
        "b6d5bcb3c86c84e936f6b979b14d357af1118fadf0ca54e77594c76bdfeed389"
    );
}

#[test]
fn the_stored_form_does_not_change() {
    let request =
        request(Draft { seed: Some(7), guidance: Some(7.3), compression: Some(80), ..Draft::default() }, 1);
    let stored = StoredRequest::new("null", &request, Some(Duration::from_millis(5)));
    let expected = json!({
        "v": 1, "model": "null", "cap_ms": 5,
        "request": {
            "prompt": "x", "negative_prompt": "", "width": 64, "height": 64, "steps": 4, "guidance": 7.3,
            "seed": {"explicit": 7}, "n": 1, "format": "jpeg", "compression": 80,
            "expires_in": {"secs": 300, "nanos": 0},
        },
    });
    assert_eq!(stored.to_value(), expected);
    assert_eq!(StoredRequest::deserialize(&expected).expect("readable").request(), request);
}

#[test]
fn a_request_of_version_0_1_is_read() {
    let text = json!({
        "model": "emoji",
        "request": {
            "prompt": "a fox", "negative_prompt": "", "width": 256, "height": 256, "steps": 20, "guidance": 4.0,
            "seed": {"drawn": 11}, "n": 1, "format": "webp", "expires_in": {"secs": 300, "nanos": 0},
        },
    });
    let stored = StoredRequest::deserialize(&text).expect("readable");
    let read = stored.request();
    assert_eq!((read.prompt.as_str(), read.seed, read.format), ("a fox", Seed::Random(11), Format::Webp));
}
