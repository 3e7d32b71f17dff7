//! Arbitrary input.

use proptest::prelude::*;

use super::*;

/// JSON with the fields that the parsers know.
fn likely() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec![
        "prompt",
        "negative_prompt",
        "width",
        "height",
        "seed",
        "num_images_per_prompt",
        "guidance_scale",
        "num_inference_steps",
        "text_prompts",
        "cfg_scale",
        "steps",
        "samples",
        "style_preset",
        "text",
        "weight",
        "generated_images",
        "generated_image",
        "artifacts",
        "base64",
        "finishReason",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[ -~]{0,12}".prop_map(Value::from),
        Just(Value::from("/9j/4AA=")),
    ];
    leaf.prop_recursive(4, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..6).prop_map(|fields| Value::Object(
                fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
            )),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(body in prop::collection::vec(any::<u8>(), 0..200), kind in "[ -~]{0,30}", n in 0u32..12) {
        for content_type in [JSON, TEXT, kind.as_str()] {
            if let Ok(invocation) = Invocation::read(Some(content_type), Some(&kind), &body) {
                prop_assert!(!invocation.drafts().is_empty());
            }
        }
        let _ = read_response(&body, n);
    }

    #[test]
    fn any_json_is_read_without_a_panic(value in likely(), n in 0u32..12) {
        let body = value.to_string();
        for content_type in [JSON, TEXT] {
            if let Ok(invocation) = read(content_type, JSON_JPEG, &body) {
                prop_assert!((1..=10).contains(&invocation.drafts().len()));
                let pictures: Vec<_> = invocation.drafts().iter().map(|_| generated(file(), 1)).collect();
                let response = invocation.write_response(&pictures).expect("files are accepted");
                prop_assert_eq!(read_response(&response, pictures.len() as u32).expect("our own response").len(), pictures.len());
            }
        }
        if let Ok(pictures) = read_response(body.as_bytes(), n) {
            prop_assert_eq!(pictures.len(), n as usize);
        }
    }

    #[test]
    fn every_sample_survives(rgb in prop::collection::vec(any::<u8>(), 12 * 3)) {
        let picture = Picture::Pixels(Pixels::new(4, 3, rgb).expect("four by three"));
        let invocation = read(JSON, JSON, r#"{"prompt":"x"}"#).expect("a valid invocation");
        let response = invocation.write_response(&[generated(picture.clone(), 1)]).expect("a response");
        prop_assert_eq!(read_response(&response, 1).expect("a picture"), [picture]);
    }
}
