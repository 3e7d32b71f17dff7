//! Examples of every form.

use serde_json::{Value, json};
use tintype_core::model::ModelCard;
use tintype_core::picture::{Encoded, Format, Picture, Pixels};
use tintype_core::request::{Draft, GenerateRequest, RequestLimits};
use tintype_core::violation::Violation;

use super::*;

mod arbitrary;

const JPEG: &[u8] = b"\xff\xd8\xff\xe0 the shortest picture";

fn read(content_type: &str, accept: &str, body: &str) -> Result<Invocation, InvocationError> {
    Invocation::read(Some(content_type), Some(accept), body.as_bytes())
}

fn read_json(body: &Value) -> Invocation {
    read(JSON, JSON_JPEG, &body.to_string()).expect("a valid invocation")
}

fn file() -> Picture {
    Picture::Encoded(Encoded { format: Format::Jpeg, bytes: JPEG.into() })
}

fn pixels() -> Picture {
    let rgb = vec![0, 9, 10, 99, 100, 255, 1, 2, 3, 4, 5, 6];
    Picture::Pixels(Pixels::new(2, 2, rgb).expect("two by two"))
}

fn generated(picture: Picture, seed: u64) -> GeneratedPicture {
    GeneratedPicture { picture, seed }
}

fn respond(invocation: &Invocation, pictures: &[GeneratedPicture]) -> Value {
    let body = invocation.write_response(pictures).expect("a response");
    serde_json::from_slice(&body).expect("JSON")
}

fn checked(draft: Draft) -> GenerateRequest {
    let model = ModelCard {
        name: "m".into(),
        width: 512,
        height: 512,
        steps: 50,
        guidance: 7.5,
        ..ModelCard::default()
    };
    let limits = RequestLimits { max_pixels: 1 << 24, max_work: u64::MAX };
    draft.check(&model, &limits, 7).expect("a valid request")
}

#[test]
fn jumpstart_one_prompt() {
    let invocation = read_json(&json!({
        "prompt": "astronaut on a horse", "width": 512, "height": 384.0, "num_images_per_prompt": 2,
        "num_inference_steps": 50, "guidance_scale": 7.5, "negative_prompt": "blurred", "seed": 1,
        "batch_size": 3, "eta": {"any": "thing"},
    }));
    let expected = Draft {
        prompt: Some("astronaut on a horse".into()),
        negative_prompt: Some("blurred".into()),
        width: Some(512),
        height: Some(384),
        steps: Some(50),
        guidance: Some(7.5),
        seed: Some(1),
        n: Some(2),
        format: Some(Format::Jpeg),
        compression: None,
        expires_in: None,
    };
    assert_eq!(invocation.drafts(), [expected]);
    assert_eq!(invocation.picture_encoding(), PictureEncoding::Files);
    let base64 = base64_simd::STANDARD.encode_to_string(JPEG);
    assert_eq!(
        respond(&invocation, &[generated(file(), 1), generated(file(), 2)]),
        json!({"generated_images": [base64, base64], "prompt": "astronaut on a horse"})
    );
}

#[test]
fn jumpstart_many_prompts() {
    let invocation = read_json(&json!({
        "prompt": ["a \"cat\"", "a dog"], "negative_prompt": ["x", "y"], "seed": 10, "num_images_per_prompt": 3,
    }));
    let drafts: Vec<_> = invocation
        .drafts()
        .iter()
        .map(|draft| (draft.prompt.as_deref(), draft.negative_prompt.as_deref(), draft.seed))
        .collect();
    assert_eq!(drafts, [(Some("a \"cat\""), Some("x"), Some(10)), (Some("a dog"), Some("y"), Some(13))]);
    assert_eq!(respond(&invocation, &[])["prompt"], json!(["a \"cat\"", "a dog"]));
    let shared = read_json(&json!({"prompt": ["a", "b"], "negative_prompt": "x"}));
    assert!(shared.drafts().iter().all(|draft| draft.negative_prompt.as_deref() == Some("x")));
    let random = read_json(&json!({"prompt": ["a", "b"], "seed": -1}));
    assert!(random.drafts().iter().all(|draft| draft.seed.is_none()));
}

#[test]
fn pixels_are_nested_arrays() {
    for accept in [Some(JSON), Some("*/*"), Some(" "), None] {
        let invocation =
            Invocation::read(Some("application/json; charset=utf-8"), accept, br#"{"prompt":"x"}"#)
                .expect("a valid invocation");
        assert_eq!(
            (invocation.picture_encoding(), invocation.drafts()[0].format),
            (PictureEncoding::Pixels, Some(Format::Png))
        );
        assert_eq!(
            respond(&invocation, &[generated(pixels(), 1)])["generated_images"],
            json!([[[[0, 9, 10], [99, 100, 255]], [[1, 2, 3], [4, 5, 6]]]])
        );
    }
}

#[test]
fn a_prompt_as_text() {
    let invocation = read(TEXT, JSON, "虎 in the snow").expect("a valid invocation");
    assert_eq!(invocation.drafts()[0].prompt.as_deref(), Some("虎 in the snow"));
    let response = respond(&invocation, &[generated(pixels(), 1)]);
    assert_eq!(response["prompt"], "虎 in the snow");
    assert_eq!(response["generated_image"][1][1], json!([4, 5, 6]));
    assert_eq!(invocation.write_response(&[]), Err(InvalidPictures::WrongCount(0)));

    let json = read(TEXT, JSON_JPEG, r#" {"prompt":"a cat","seed":3}"#).expect("a valid invocation");
    assert_eq!((json.drafts()[0].prompt.as_deref(), json.drafts()[0].seed), (Some("a cat"), Some(3)));
    assert!(respond(&json, &[generated(file(), 3)])["generated_image"].is_string());
    let curly = read(TEXT, JSON, "{a cat}").expect("a valid invocation");
    assert_eq!(curly.drafts()[0].prompt.as_deref(), Some("{a cat}"));
}

#[test]
fn sdxl() {
    let invocation = read_json(&json!({
        "text_prompts": [{"text": "a cat"}, {"text": "snow", "weight": 0.5}, {"text": "blurred", "weight": -1}, {"text": "no", "weight": 0}],
        "cfg_scale": 7, "steps": 30, "seed": 42, "style_preset": "pixel-art", "width": 1024, "height": 1024, "sampler": "X",
    }));
    let [draft] = invocation.drafts() else { panic!("one draft") };
    assert_eq!(draft.prompt.as_deref(), Some("a cat, snow, pixel art style"));
    assert_eq!(draft.negative_prompt.as_deref(), Some("blurred"));
    assert_eq!((draft.guidance, draft.steps, draft.seed), (Some(7.0), Some(30), Some(42)));
    let artifact = &respond(&invocation, &[generated(file(), 42)])["artifacts"][0];
    assert_eq!((&artifact["finishReason"], &artifact["seed"]), (&json!("SUCCESS"), &json!(42)));
    assert!(artifact["base64"].is_string());
    let any = read_json(&json!({"text_prompts": [{"text": "a cat"}], "seed": 0}));
    assert_eq!(any.drafts()[0].seed, None);
}

#[test]
fn errors_name_the_field() {
    let eleven: Vec<_> = (0..11).map(|_| "x").collect();
    let cases = [
        (json!({"prompt": 1}), "`prompt` must be a string or a list of strings"),
        (json!({"prompt": ["x", 1]}), "`prompt` must be a string or a list of strings"),
        (json!({"prompt": []}), "`prompt` must not be empty"),
        (json!({"prompt": eleven}), "`prompt` must be at most 10 prompts"),
        (
            json!({"prompt": "x", "negative_prompt": ["a", "b"]}),
            "`negative_prompt` must be a list as long as",
        ),
        (
            json!({"prompt": ["x", "y"], "num_images_per_prompt": 6}),
            "`num_images_per_prompt` must be such that",
        ),
        (json!({"prompt": "x", "width": "512"}), "`width` must be a whole number"),
        (json!({"prompt": "x", "height": 1.5}), "`height` must be a whole number"),
        (json!({"prompt": "x", "num_inference_steps": []}), "`num_inference_steps` must be a whole number"),
        (json!({"prompt": "x", "guidance_scale": "7"}), "`guidance_scale` must be a number"),
        (json!({"prompt": "x", "seed": true}), "`seed` must be a whole number"),
        (json!({"text_prompts": "x"}), "`text_prompts` must be a list of objects"),
        (json!({"text_prompts": []}), "`text_prompts` must not be empty"),
        (json!({"text_prompts": [{"weight": 1}]}), "`text_prompts` must be a list of objects"),
        (json!({"text_prompts": [{"text": "x", "weight": "1"}]}), "`text_prompts` must be a list of objects"),
        (json!({"text_prompts": [{"text": "x"}], "style_preset": 3}), "`style_preset` must be a string"),
        (json!({"text_prompts": [{"text": "x"}], "cfg_scale": "7"}), "`cfg_scale` must be a number"),
        (json!([1, 2]), "the body must be a JSON object"),
    ];
    for (body, expected) in cases {
        let error = read(JSON, JSON_JPEG, &body.to_string()).expect_err("an error").to_string();
        assert!(error.starts_with(expected), "{body}: {error}");
    }
    assert!(matches!(read(JSON, JSON, "{"), Err(InvocationError::NotJson(_))));
    assert!(matches!(read("image/png", JSON, "{}"), Err(InvocationError::UnsupportedContentType)));
    assert!(matches!(read(JSON, "image/png, text/html;jpeg", "{}"), Err(InvocationError::NotAcceptable)));
    assert_eq!(Invocation::read(Some(TEXT), None, b"\xff"), Err(InvocationError::NotUtf8));
    let two = read(TEXT, JSON, r#"{"prompt":"x","num_images_per_prompt":2}"#).expect_err("two");
    assert!(two.to_string().starts_with("`num_images_per_prompt` must be 1"), "{two}");
    assert!(read(TEXT, JSON, r#"{"prompt":["x","y"]}"#).is_err());
}

#[test]
fn violations_use_the_dialects_names() {
    let named = |invocation: &Invocation, name: &str| {
        invocation.rename_violation(Violation::malformed(name, "else")).parameter
    };
    let jumpstart = read_json(&json!({"prompt": "x"}));
    let names: Vec<_> =
        ["steps", "guidance", "n", "width", "prompt"].map(|name| named(&jumpstart, name)).into();
    assert_eq!(names, ["num_inference_steps", "guidance_scale", "num_images_per_prompt", "width", "prompt"]);
    let sdxl = read_json(&json!({"text_prompts": [{"text": "x"}]}));
    let names: Vec<_> = ["steps", "guidance", "n", "prompt"].map(|name| named(&sdxl, name)).into();
    assert_eq!(names, ["steps", "cfg_scale", "samples", "text_prompts"]);
}

#[test]
fn numbers_out_of_range_are_left_to_the_range_check() {
    let invocation =
        read_json(&json!({"prompt": "x", "seed": 1e300, "width": u64::MAX, "guidance_scale": -3}));
    let draft = &invocation.drafts()[0];
    assert_eq!((draft.seed, draft.width, draft.guidance), (Some(i64::MAX), Some(i64::MAX), Some(0.0)));
}

#[test]
fn pictures_of_the_wrong_encoding_are_rejected() {
    let files = read_json(&json!({"prompt": "x"}));
    assert_eq!(files.write_response(&[generated(pixels(), 1)]), Err(InvalidPictures::NotAFile(0)));
    let numbers = read(JSON, JSON, r#"{"prompt":"x"}"#).expect("a valid invocation");
    assert_eq!(
        numbers.write_response(&[generated(pixels(), 1), generated(file(), 2)]),
        Err(InvalidPictures::NotPixels(1))
    );
}

#[test]
fn our_own_requests_and_responses_round_trip() {
    let request = checked(Draft {
        prompt: Some("a \"tiger\"\n虎".into()),
        negative_prompt: Some("blurred".into()),
        width: Some(640),
        seed: Some(5),
        n: Some(4),
        guidance: Some(9.25),
        ..Draft::default()
    });
    for dialect in [Dialect::JumpStart, Dialect::Sdxl] {
        let body = write_request(dialect, &request);
        let invocation = Invocation::read(Some(JSON), Some(JSON_JPEG), &body).expect("a valid invocation");
        assert_eq!(checked(invocation.drafts()[0].clone()), request, "{dialect:?}");
        let pictures: Vec<_> = (5..9).map(|seed| generated(file(), seed)).collect();
        let response = invocation.write_response(&pictures).expect("a response");
        assert_eq!(read_response(&response, 4).expect("pictures"), vec![file(); 4]);
    }
}

#[test]
fn responses_of_every_form() {
    let base64 = base64_simd::STANDARD.encode_to_string(JPEG);
    let lines = format!("{}\n{}", &base64[..8], &base64[8..]);
    let cases = [
        json!({"generated_images": [base64], "prompt": "x"}),
        json!({"generated_images": [lines]}),
        json!({"generated_image": format!("data:image/jpeg;base64,{base64}"), "prompt": "x"}),
        json!({"artifacts": [{"seed": 1, "base64": base64, "finishReason": "SUCCESS"}], "result": "success"}),
        json!({"artifacts": [{"base64": base64}], "generated_images": null}),
    ];
    for response in cases {
        assert_eq!(
            read_response(response.to_string().as_bytes(), 1).expect("a picture"),
            [file()],
            "{response}"
        );
    }
    assert_eq!(read_response(JPEG, 1).expect("a picture"), [file()]);
    let nested = json!({"generated_image": [[[0, 9, 10], [99, 100, 255]], [[1, 2, 3], [4, 5, 6]]]});
    assert_eq!(read_response(nested.to_string().as_bytes(), 1).expect("a picture"), [pixels()]);
}

#[test]
fn invalid_responses() {
    let base64 = base64_simd::STANDARD.encode_to_string(JPEG);
    let malformed = [
        json!("text"),
        json!({"generated_images": ["bm8gcGljdHVyZQ=="]}),
        json!({"generated_images": ["!"]}),
        json!({"generated_images": [[[1, 2, 3], [1, 2, 3]]]}),
        json!({"generated_image": [[[1, 2, 256]]]}),
        json!({"generated_image": [[[1, 2]]]}),
        json!({"generated_image": [[[1, 2, 3]], [[1, 2, 3], [1, 2, 3]]]}),
        json!({"generated_image": []}),
        json!({"generated_image": [[], []]}),
        json!({"generated_images": vec![base64.as_str(); 11]}),
    ];
    for response in malformed {
        let error = read_response(response.to_string().as_bytes(), 1).expect_err("an error");
        assert!(matches!(error, ResponseError::Malformed(_)), "{response}: {error:?}");
    }
    let two = json!({"generated_images": [base64, base64]});
    let error = read_response(two.to_string().as_bytes(), 1).expect_err("one too many");
    assert!(matches!(error, ResponseError::Count { expected: 1, actual: 2 }));
    assert!(matches!(read_response(b"{}", 1), Err(ResponseError::Count { actual: 0, .. })));
    let withheld = json!({"artifacts": [{"base64": base64, "finishReason": "CONTENT_FILTERED"}]});
    let error = read_response(withheld.to_string().as_bytes(), 1).expect_err("withheld");
    assert_eq!(error.to_string(), "the model withheld image 0: CONTENT_FILTERED");
}

#[test]
fn errors_as_botocore_reads_them() {
    let model = RuntimeApiError::Model { status: 500, message: "CUDA out of memory".into() };
    assert_eq!((model.status(), model.code()), (424, "ModelError"));
    let body: Value = serde_json::from_slice(&model.body()).expect("JSON");
    assert_eq!(
        (&body["OriginalStatusCode"], &body["OriginalMessage"]),
        (&json!(500), &json!("CUDA out of memory"))
    );
    assert_eq!(body["Message"], "Received error 500 from the model: CUDA out of memory");
    let errors = [
        RuntimeApiError::Validation("x".into()),
        RuntimeApiError::NotReady("x".into()),
        RuntimeApiError::Internal,
        RuntimeApiError::Unavailable,
        crate::sigv4::SignatureError::Missing.into(),
        crate::sigv4::SignatureError::Incomplete("x").into(),
    ];
    let errors = errors.map(|error| (error.status(), error.code()));
    let expected = [
        (400, "ValidationError"),
        (429, "ModelNotReadyException"),
        (500, "InternalFailure"),
        (503, "ServiceUnavailable"),
        (403, "MissingAuthenticationTokenException"),
        (400, "IncompleteSignatureException"),
    ];
    assert_eq!(errors, expected);
}
