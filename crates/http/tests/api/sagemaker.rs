//! SageMaker's dialect: the model container and the paths of the Runtime API.

use axum::body::Body;
use axum::http::Request;
use base64_simd::STANDARD;
use serde_json::{Value, json};
use tintype_core::picture::{Encoded, Format};
use tintype_core::secret::Secret;
use tintype_http::{HostPolicy, RuntimeApi, container, router_with_runtime};
use tintype_sagemaker::sigv4::AccessKeys;
use tintype_service::ServiceSettings;
use tintype_testing::{Fault, NullEngine};

use crate::{SECOND, TestResponse, TestServer, settings_for};

const JPEG: &str = "application/json;jpeg";

impl TestServer {
    /// The same server as a model container.
    fn into_container(mut self) -> Self {
        self.router = container(self.service.clone());
        self
    }

    /// The same server with the Runtime API's paths.
    fn with_runtime(mut self) -> Self {
        let runtime = RuntimeApi {
            keys: AccessKeys { id: "TTKEY".into(), secret: Secret::new("secret") },
            host: None,
            bucket: "tintype".into(),
            store: self.store.clone(),
            buckets: std::sync::Arc::new(|_| None),
        };
        self.router = router_with_runtime(self.service.clone(), settings_for(HostPolicy::Any), runtime);
        self
    }

    async fn invoke(&self, content_type: &str, accept: &str, body: impl Into<Body>) -> TestResponse {
        let request =
            Request::post("/invocations").header("content-type", content_type).header("accept", accept);
        self.request(request.body(body.into()).expect("a request")).await
    }

    async fn invoke_json(&self, body: &Value) -> TestResponse {
        self.invoke("application/json", JPEG, body.to_string()).await
    }
}

fn size_of(base64: &Value, format: Format) -> (u32, u32) {
    let bytes = STANDARD.decode_to_vec(base64.as_str().expect("base64")).expect("base64");
    let pixels = tintype_picture::decode(&Encoded { format, bytes: bytes.into() }).expect("a picture");
    (pixels.width(), pixels.height())
}

#[tokio::test(start_paused = true)]
async fn a_container_reports_its_readiness() {
    let server = TestServer::loading(ServiceSettings::default(), NullEngine::new(SECOND)).into_container();
    assert_eq!(server.get("/ping").await.status(), 503);
    server.invoke_json(&json!({"prompt": "x"})).await.assert_problem(503, "loading");
    server.service.engine_ready(server.engine.clone());
    let response = server.get("/ping").await;
    assert_eq!((response.status().as_u16(), response.text.as_str()), (200, ""));
    server.service.drain(SECOND).await;
    assert_eq!(server.get("/ping").await.status(), 503);
    server.invoke_json(&json!({"prompt": "x"})).await.assert_problem(503, "shutting-down");
}

#[tokio::test(start_paused = true)]
async fn a_container_has_no_other_paths() {
    let server = TestServer::new().into_container();
    for path in ["/", "/generate?prompt=x", "/v1/images", "/metrics", "/healthz", "/endpoints/x/invocations"]
    {
        server.get(path).await.assert_problem(404, "not-found");
    }
    server.send("POST", "/ping", &[]).await.assert_problem(405, "method-not-allowed");
    server.get("/invocations").await.assert_problem(405, "method-not-allowed");
}

#[tokio::test(start_paused = true)]
async fn every_format_gets_its_response() {
    let server = TestServer::new().into_container();
    let body = json!({"prompt": "astronaut", "width": 128, "height": 64, "num_images_per_prompt": 2, "seed": 1,
                      "batch_size": 4, "unknown": {"x": 1}});
    let response = server.invoke_json(&body).await;
    assert_eq!(
        (response.status().as_u16(), response.header("content-type")),
        (200, Some("application/json"))
    );
    let response = response.json();
    assert_eq!(response["prompt"], "astronaut");
    assert_eq!(response["generated_images"].as_array().map(Vec::len), Some(2));
    assert_eq!(size_of(&response["generated_images"][1], Format::Jpeg), (128, 64));

    let marked = server.invoke("application/json", JPEG, "\u{feff}{\"prompt\": \"x\"}").await;
    assert_eq!(marked.status(), 200, "{}", marked.text);
    let body = json!({"prompt": ["one", "two"], "negative_prompt": ["a", "b"]}).to_string();
    let response = server.invoke("application/json", "application/json", body).await.json();
    let pictures = response["generated_images"].as_array().expect("a list");
    assert_eq!((pictures.len(), &response["prompt"]), (2, &json!(["one", "two"])));
    assert_eq!(
        (pictures[1].as_array().map(Vec::len), pictures[1][63][63].as_array().map(Vec::len)),
        (Some(64), Some(3))
    );

    // The null engine derives the color from the seed.
    let body = json!({"prompt": "x", "seed": 0x0003_0201}).to_string();
    let response = server.invoke("application/x-text", "application/json", body).await.json();
    assert_eq!((&response["generated_image"][0][0], &response["prompt"]), (&json!([1, 2, 3]), &json!("x")));
    let response = server.invoke("application/x-text", JPEG, "a plain prompt").await.json();
    assert_eq!(size_of(&response["generated_image"], Format::Jpeg), (64, 64));
    assert_eq!(response["prompt"], "a plain prompt");

    let response =
        server.invoke_json(&json!({"text_prompts": [{"text": "x"}], "samples": 2, "seed": 7})).await.json();
    let artifacts = response["artifacts"].as_array().expect("a list");
    assert_eq!(artifacts.iter().map(|one| &one["seed"]).collect::<Vec<_>>(), [7, 8]);
    assert_eq!(size_of(&artifacts[0]["base64"], Format::Jpeg), (64, 64));
}

#[tokio::test(start_paused = true)]
async fn bodies_are_decoded_as_in_the_native_api() {
    let server = TestServer::new().into_container();
    let send = async |encoding: &str, content_type: &str, body: Vec<u8>| {
        let request = Request::post("/invocations")
            .header("content-type", content_type)
            .header("content-encoding", encoding)
            .header("accept", JPEG);
        server.request(request.body(Body::from(body)).expect("a request")).await
    };
    let json = "application/json";
    for (body, prompt) in [
        (r#"{"prompt": "a cat \ud83d"}"#, "a cat \u{fffd}"),
        (r#"{"prompt": "\uDE00 a"}"#, "\u{fffd} a"),
        (r#"{"prompt": "a \ud83d\ude00"}"#, "a 😀"),
        ("\u{feff}{\"prompt\": \"x\"}", "x"),
    ] {
        for (encoding, bytes) in [("identity", body.as_bytes().to_vec()), ("gzip", gzip(body.as_bytes()))] {
            let response = send(encoding, json, bytes).await;
            assert_eq!(response.status(), 200, "{body}: {}", response.text);
            assert_eq!(response.json()["prompt"], prompt, "{body}");
        }
    }
    // A backslash is nothing special in plain text.
    let text = r#"say "\ud83d""#;
    let response = send("gzip", "application/x-text", gzip(format!("\u{feff}{text}").as_bytes())).await;
    assert_eq!(response.json()["prompt"], text);

    send("gzip", json, b"{}".to_vec()).await.assert_problem(400, "malformed-json");
    send("identity", json, vec![0xff, 0xfe, b'{', 0]).await.assert_problem(400, "malformed-json");
    send("identity", json, b"{\"prompt\": \"caf\xe9\"}".to_vec()).await.assert_problem(400, "malformed-json");
    send("gzip", json, gzip(&vec![b' '; (6 << 20) + 1])).await.assert_problem(413, "too-large");
    let refused = send("br", json, b"x".to_vec()).await;
    refused.assert_problem(415, "unsupported-content-encoding");
    assert_eq!(refused.header("accept-encoding"), Some("gzip"));
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, plain).expect("memory");
    encoder.finish().expect("memory")
}

#[tokio::test(start_paused = true)]
async fn violations_have_the_names_of_the_dialect() {
    let server = TestServer::new().into_container();
    for (body, parameter) in [
        (json!({"prompt": "x", "num_inference_steps": 151}), "num_inference_steps"),
        (json!({"prompt": "x", "guidance_scale": 31}), "guidance_scale"),
        (json!({"prompt": "x", "num_images_per_prompt": 11}), "num_images_per_prompt"),
        (json!({"prompt": "x", "width": 65}), "width"),
        (json!({"prompt": 1}), "prompt"),
        (json!({}), "prompt"),
        (json!({"text_prompts": [{"text": "x"}], "cfg_scale": 31}), "cfg_scale"),
    ] {
        let problem = server.invoke_json(&body).await.assert_problem(400, "invalid-request");
        assert_eq!(problem["errors"][0]["parameter"], parameter, "{body}");
    }
    // The second prompt is invalid, so the first is not generated either.
    server.invoke_json(&json!({"prompt": ["x", ""]})).await.assert_problem(400, "invalid-request");
    server.invoke("image/png", JPEG, "x").await.assert_problem(415, "unsupported-content-type");
    server.invoke("application/json", "image/png", "{}").await.assert_problem(406, "not-acceptable");
    server.invoke("application/json", JPEG, "{").await.assert_problem(400, "malformed-invocation");
    server.invoke("application/json", JPEG, "[]").await.assert_problem(400, "malformed-invocation");
    server.invoke("application/x-text", JPEG, vec![0xff]).await.assert_problem(400, "malformed-invocation");
    server.invoke("application/json", JPEG, vec![b' '; (6 << 20) + 1]).await.assert_problem(413, "too-large");
    assert_eq!(server.engine.started(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_engine_failure_is_an_internal_error() {
    let server =
        TestServer::with(ServiceSettings::default(), NullEngine::new(SECOND).with_fault(Fault::Error))
            .into_container();
    let response = server.invoke_json(&json!({"prompt": "x"})).await;
    response.assert_problem(500, "internal");
    assert!(!response.text.contains("secret"), "{}", response.text);
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_not_finite_has_its_own_problem() {
    let engine = || NullEngine::new(SECOND).with_fault(Fault::NotFinite);
    let container = TestServer::with(ServiceSettings::default(), engine()).into_container();
    let response = container.invoke_json(&json!({"prompt": "x"})).await;
    let problem = response.assert_problem(500, "not-finite");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("`seed`")), "{problem}");
    assert!(!response.text.contains("secret"), "{}", response.text);
}

#[tokio::test(start_paused = true)]
async fn the_runtime_api_requires_a_signature() {
    let server = TestServer::new().with_runtime();
    for path in ["/endpoints/any/invocations", "/endpoints/any/async-invocations"] {
        let response = server.send_json(path, &json!({"prompt": "x"}), &[]).await;
        assert_eq!(response.status(), 403, "{}", response.text);
        assert_eq!(response.header("x-amzn-errortype"), Some("MissingAuthenticationTokenException"));
        assert!(response.header("x-amzn-requestid").is_some_and(|id| !id.is_empty()));
        assert!(response.json()["Message"].is_string(), "{}", response.text);
        let scope = "AWS4-HMAC-SHA256 Credential=OTHER/20260101/us-east-1/sagemaker/aws4_request, \
                     SignedHeaders=host, Signature=0";
        let response = server.send_json(path, &json!({"prompt": "x"}), &[("authorization", scope)]).await;
        assert_eq!(response.status(), 403, "{}", response.text);
        server.get(path).await.assert_problem(405, "method-not-allowed");
    }
    assert_eq!(server.engine.started(), 0);
    // Without access keys the path does not exist.
    TestServer::new().get("/endpoints/any/invocations").await.assert_problem(404, "not-found");
}
