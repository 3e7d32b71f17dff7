//! Successful responses of every operation.

use std::time::Duration;

use serde_json::{Value, json};
use time::OffsetDateTime;
use tintype_http::{HostPolicy, HttpSettings};
use tintype_ledger::policy::Policy;
use tintype_service::ServiceSettings;
use tintype_testing::NullEngine;
use tokio::time::sleep;

use super::Call;
use crate::{SECOND, TestResponse, TestServer, settings_for};

/// A request and its response.
pub(super) struct Exchange {
    /// The id of the operation in the OpenAPI document.
    pub(super) operation: &'static str,
    /// The name of the example.
    pub(super) name: &'static str,
    pub(super) call: Call,
    pub(super) response: TestResponse,
}

/// Sends all requests.
pub(super) async fn all(description: &Value) -> Vec<Exchange> {
    let mut sent = generation(description).await;
    sent.extend(jobs().await);
    sent.extend(keys(description).await);
    sent.extend(server().await);
    sent
}

/// Sends a request, records it and returns the JSON body of the response.
async fn push(
    sent: &mut Vec<Exchange>,
    server: &TestServer,
    operation: &'static str,
    name: &'static str,
    call: Call,
) -> Value {
    let response = call.send(server).await;
    let body = if response.header("content-type").is_some_and(|kind| kind.starts_with("application/json")) {
        response.json()
    } else {
        Value::Null
    };
    sent.push(Exchange { operation, name, call, response });
    body
}

/// The first example of every parameter.
fn parameter_examples(description: &Value, path: &str, method: &str, place: &str) -> Vec<(String, Value)> {
    let call = &description["paths"][path][method];
    let parameters =
        call["parameters"].as_array().into_iter().flatten().filter(|parameter| parameter["in"] == place);
    parameters
        .map(|parameter| {
            (
                parameter["name"].as_str().expect("a name").to_owned(),
                parameter["schema"]["examples"][0].clone(),
            )
        })
        .collect()
}

/// The first example of every member of a body.
fn body_example(description: &Value, path: &str) -> Value {
    let schema = &description["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"];
    let members = schema["properties"].as_object().expect("members");
    let examples = members.iter().map(|(name, member)| (name.clone(), member["examples"][0].clone()));
    Value::Object(examples.filter(|(_, example)| !example.is_null()).collect())
}

/// An engine whose model has the name that the examples of requests have.
fn engine(step: Duration) -> NullEngine {
    NullEngine::new(step).with_name("emoji")
}

fn ready_server(step: Duration) -> TestServer {
    TestServer::with(ServiceSettings::default(), engine(step))
}

fn query(parameters: Vec<(String, Value)>) -> String {
    let pairs = parameters.into_iter().map(|(name, value)| match value {
        Value::String(text) => format!("{name}={}", text.replace(' ', "+")),
        value => format!("{name}={value}"),
    });
    pairs.collect::<Vec<_>>().join("&")
}

async fn generation(description: &Value) -> Vec<Exchange> {
    let (mut sent, server) = (Vec::new(), ready_server(Duration::ZERO));
    let simple = json!({"prompt": "a cyborg tiger", "seed": 7});
    push(
        &mut sent,
        &server,
        "generate",
        "simple",
        Call::new("GET", "/generate?prompt=a+cyborg+tiger&seed=7"),
    )
    .await;
    let all = query(parameter_examples(description, "/generate", "get", "query"));
    push(&mut sent, &server, "generate", "every parameter", Call::new("GET", format!("/generate?{all}")))
        .await;
    let budget = HttpSettings { time_budget: Some(SECOND), ..settings_for(HostPolicy::Any) };
    let slow_server = ready_server(SECOND).settings(budget);
    push(
        &mut sent,
        &slow_server,
        "generate",
        "late",
        Call::new("GET", "/generate?prompt=a+cyborg+tiger&seed=7"),
    )
    .await;

    push(&mut sent, &server, "createImage", "simple", Call::post("/v1/images", simple.clone())).await;
    let full = body_example(description, "/v1/images");
    push(&mut sent, &server, "createImage", "every parameter", Call::post("/v1/images", full)).await;
    let later = Call::post("/v1/images", simple.clone())
        .header("prefer", "respond-async")
        .header("idempotency-key", "order-1");
    push(&mut sent, &slow_server, "createImage", "later", later).await;

    let path = "/v1/images/generations";
    push(&mut sent, &server, "generateImages", "links", Call::post(path, simple)).await;
    let files = json!({"prompt": "a cyborg tiger", "model": "gpt-image-1", "size": "1024x1024", "seed": 7});
    push(&mut sent, &server, "generateImages", "files", Call::post(path, files)).await;
    let mut full = body_example(description, path);
    // These exclude `output_format` and `size`.
    for name in ["format", "width", "height"] {
        full.as_object_mut().expect("an object").remove(name);
    }
    let retry = Call::post(path, full).header("x-stainless-retry-count", "1");
    // The second request gets the stored image, without partial images, whose number varies.
    retry.send(&server).await;
    push(&mut sent, &server, "generateImages", "every parameter", retry).await;
    push(&mut sent, &server, "listModels", "all", Call::new("GET", "/v1/models")).await;
    push(&mut sent, &server, "readModel", "alias", Call::new("GET", "/v1/models/dall-e-3")).await;
    sent
}

async fn jobs() -> Vec<Exchange> {
    let (mut sent, server) = (Vec::new(), ready_server(SECOND));
    let body = json!({"prompt": "a cyborg tiger", "seed": 7});
    let made = Call::post("/v1/images", body).send(&server).await.json();
    let job = format!("/v1/images/{}", made["id"].as_str().expect("an id"));
    push(&mut sent, &server, "readImage", "succeeded", Call::new("GET", format!("{job}?expires_in=60")))
        .await;
    push(&mut sent, &server, "listImages", "all", Call::new("GET", "/v1/images?limit=2")).await;
    let page = Call::new("GET", "/v1/images?cursor=0199d2a4-7c00-7000-8000-000000000001");
    push(&mut sent, &server, "listImages", "page", page).await;
    push(&mut sent, &server, "readPicture", "first", Call::new("GET", format!("{job}/content?index=0")))
        .await;
    push(&mut sent, &server, "watchImage", "succeeded", Call::new("GET", format!("{job}/events"))).await;
    let seen = Call::new("GET", format!("{job}/events")).header("last-event-id", "end");
    push(&mut sent, &server, "watchImage", "seen", seen).await;
    let waiting = json!({"prompt": "a robot", "seed": 7});
    let slow = ready_server(SECOND);
    let later = Call::post("/v1/images", waiting).header("prefer", "respond-async").send(&slow).await;
    let running = later.header("location").expect("a path").to_owned();
    sleep(SECOND / 2).await;
    push(&mut sent, &slow, "cancelImage", "stopped", Call::new("POST", format!("{running}/cancel"))).await;
    push(&mut sent, &server, "deleteImage", "gone", Call::new("DELETE", job)).await;
    let link = "/v1/images/files/2025/11/23/019aaf60-ac00-7000-8000-000000000000.png?X-Amz-Signature=0f";
    push(&mut sent, &server, "followLink", "signed", Call::new("GET", link)).await;
    sent
}

async fn keys(description: &Value) -> Vec<Exchange> {
    let mut sent = Vec::new();
    let server = TestServer::keyed_with(engine(SECOND));
    let (name, key) = server.admin_key().await;
    let call = |method, path: &str| Call::new(method, path).header(name, key.clone());
    let full = body_example(description, "/v1/keys");
    let create = Call::post("/v1/keys", full).header(name, key.clone());
    let made = push(&mut sent, &server, "createKey", "every parameter", create).await;
    let path = format!("/v1/keys/{}", made["id"].as_str().expect("an id"));
    push(&mut sent, &server, "readKey", "one", call("GET", &path)).await;
    push(&mut sent, &server, "revokeKey", "revoked", call("DELETE", &path)).await;
    let (other, other_key) =
        server.new_key("customer", limits(json!({"budgets": ["3600s/day"], "rate": "60/min"}))).await;
    Call::post("/v1/images", json!({"prompt": "a cyborg tiger"}))
        .header(other, other_key.clone())
        .send(&server)
        .await;
    let today = OffsetDateTime::now_utc().date();
    let usage = Call::new("GET", format!("/v1/usage?from={today}&to={today}")).header(other, other_key);
    push(&mut sent, &server, "readUsage", "days", usage).await;

    let single_key = TestServer::keyed_with(engine(SECOND));
    let (name, key) = single_key.admin_key().await;
    push(&mut sent, &single_key, "listKeys", "all", Call::new("GET", "/v1/keys").header(name, key.clone()))
        .await;
    // Metrics differ in every run and have no example.
    let metrics = Call::new("GET", "/metrics").header(name, key).send(&single_key).await;
    assert_eq!(
        metrics.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    sent
}

fn limits(json: Value) -> Policy {
    serde_json::from_value(json).expect("limits")
}

async fn server() -> Vec<Exchange> {
    let (mut sent, server) = (Vec::new(), ready_server(Duration::ZERO));
    push(&mut sent, &server, "root", "text", Call::new("GET", "/")).await;
    push(&mut sent, &server, "isAlive", "alive", Call::new("GET", "/healthz")).await;
    push(&mut sent, &server, "isReady", "ready", Call::new("GET", "/readyz")).await;
    let loading = TestServer::loading(ServiceSettings::default(), engine(SECOND));
    push(&mut sent, &loading, "isReady", "loading", Call::new("GET", "/readyz")).await;
    sent
}
