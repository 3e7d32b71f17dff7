//! Secrets in the output of `tintype config`, in `Debug` and in errors.

use super::*;
use crate::config::shape::Shape;

/// Everything that prints settings, for valid ones.
fn printed(start: &Start) -> Vec<String> {
    let layers = start.layers();
    vec![
        as_toml(&layers),
        as_json(&layers).to_string(),
        format!("{layers:?}"),
        format!("{:?} {:?}", start.environment, start.flags),
        start.load().map_or_else(|error| format!("{error:#} {error:?}"), |config| format!("{config:?}")),
    ]
}

#[test]
fn secrets_are_not_shown() {
    let start = Start::new()
        .file("api_key = 'hunter2'")
        .variable("TINTYPE_S3_ACCESS_KEY_ID", "AKIA")
        .flag("s3_secret_access_key", "hunter2");
    for shown in printed(&start) {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    for shown in
        [as_toml(&start.layers()), start.shown().to_string(), format!("{:?}", start.load().expect("valid"))]
    {
        assert!(shown.contains("AKIA") && shown.contains("[redacted]"), "{shown}");
    }
    let half = Start::new().variable("TINTYPE_S3_SECRET_ACCESS_KEY", "hunter2").error();
    assert!(half.contains("set both or neither") && !half.contains("hunter2"), "{half}");
}

#[test]
fn the_type_decides_what_is_a_secret() {
    let Shape::Table(fields) = sections::shape() else { panic!("a table") };
    let secrets: Vec<_> = fields.iter().filter(|(_, shape)| shape.is_secret()).map(|(key, _)| *key).collect();
    assert_eq!(secrets, ["s3_secret_access_key", "api_key"]);
}

#[test]
fn a_secret_of_the_wrong_kind_is_not_shown() {
    for file in [
        "api_key = ['hunter2']",
        "api_key = {a = 'hunter2'}",
        "[api_key]\nhunter = 'hunter2'",
        "api_kye = 'hunter2'",
    ] {
        let error = Start::new().file(file).error();
        assert!(error.contains("api_k") && !error.contains("hunter2"), "{error}");
    }
}

#[test]
fn passwords_in_urls_are_not_shown() {
    for key in [
        "ledger",
        "s3_endpoint",
        "s3_public_endpoint",
        "public_url",
        "store",
        "model",
        "listen",
        "keep",
        "queue",
        "price",
        "data_dir",
        "hub_cache",
        "s3_region",
        "sagemaker_attributes",
    ] {
        for url in [
            "postgres://u:hunter2@h/db",
            "https://u:hunter2@h",
            "HTTPS://:hunter2@h:80/x?y",
            "s3://a:hun/ter2@b",
        ] {
            let shown = [
                printed(&Start::new().flag(key, url)),
                printed(&Start::new().file(&format!("{key} = '{url}'"))),
            ];
            for shown in shown.iter().flatten().filter(|shown| !shown.contains("Config")) {
                assert!(!shown.contains("hunter2") && !shown.contains("ter2"), "{key}: {shown}");
            }
        }
    }
    assert_eq!(
        Start::new().file("ledger = 'postgres://user:hunter2@host/db'").error(),
        "`ledger` is `postgres://user:***@host/db` (tintype.toml, line 1); it must be sqlite or bucket"
    );
    let list = Start::new().file("aliases = ['https://u:hunter2@h x']").error();
    assert!(list.contains("https://u:***@h x"), "{list}");
    let engine = Start::new().file("[models.a]\nengine = 'https://u:hunter2@h'").error();
    assert!(engine.contains("`models.a.engine` is `https://u:***@h` (tintype.toml, line 2)"), "{engine}");
    let selected =
        Start::new().file("[models.a]\nengine = 'builtin'").flag("model", "https://u:hunter2@h").error();
    assert!(selected.contains("https://u:***@h") && !selected.contains("hunter2"), "{selected}");
}

#[test]
fn headers_and_the_url_of_a_collector_are_not_shown() {
    let mut start = Start::new();
    start.environment.metrics = Some(Collector {
        url: tintype_core::secret::SecretUrl::new("https://u:hunter2@collector"),
        headers: Some(Secret::new("authorization=hunter2")),
        protocol: None,
        timeout: None,
        interval: None,
    });
    let shown = format!("{:?}", start.load().expect("valid"));
    assert!(shown.contains("https://u:***@collector") && !shown.contains("hunter2"), "{shown}");
}
