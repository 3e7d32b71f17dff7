//! Compares the OpenAPI document and its examples with the server.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::Call;
use super::problems::{Dialect, cause};
use super::responses::{self, Exchange};
use crate::TestServer;

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/openapi/examples.json");
const DESCRIPTION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../openapi.json");
/// Operations whose responses change with every call or are the document itself.
const WITHOUT_EXAMPLE: [&str; 3] = ["describe", "readDescription", "readMetrics"];

/// Whether the operation has examples; SageMaker's formats have their own tests.
fn has_examples(call: &Value) -> bool {
    call["tags"][0] != "SageMaker"
}

fn description() -> Value {
    serde_json::from_str(tintype_http::openapi()).expect("JSON")
}

fn calls(description: &Value) -> impl Iterator<Item = &Value> {
    let paths = description["paths"].as_object().expect("paths").values();
    paths.flat_map(|calls| calls.as_object().expect("calls").values()).filter(|call| has_examples(call))
}

/// The names of all error examples.
fn problems(description: &Value, media: &str) -> BTreeSet<String> {
    let responses =
        calls(description).flat_map(|call| call["responses"].as_object().expect("responses").values());
    let examples = responses.filter(|response| {
        response["content"][media]["schema"]["$ref"]
            .as_str()
            .is_some_and(|name| name.ends_with("Error") || name.ends_with("Problem"))
    });
    examples
        .flat_map(|response| {
            response["content"][media]["examples"].as_object().expect("examples").keys().cloned()
        })
        .collect()
}

/// Compares a file with its expected content, or writes it with `BLESS`.
#[expect(clippy::disallowed_methods, reason = "an option of the tests, not a setting")]
fn compare(path: &str, current: &str) {
    let path = PathBuf::from(path);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, current).expect("written");
        return;
    }
    let recorded = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = recorded.lines().zip(current.lines()).find(|(recorded, current)| recorded != current);
    assert!(recorded == current, "{} is stale; see tests/api/openapi/mod.rs: {differs:?}", path.display());
}

#[tokio::test(start_paused = true)]
async fn the_recorded_examples_are_current() {
    let description = description();
    let (mut native, mut openai, mut responses) = (Map::new(), Map::new(), Map::new());
    for name in problems(&description, "application/problem+json") {
        let (call, response) = cause(&name, Dialect::Native).await;
        response.assert_problem(response.status().as_u16(), &name);
        native.insert(name, call.recorded(&response));
    }
    for code in problems(&description, "application/json") {
        let (call, response) = cause(&code, Dialect::OpenAi).await;
        assert_eq!(response.json()["error"]["code"], code, "{}", response.text);
        openai.insert(code, call.recorded(&response));
    }
    for Exchange { operation, name, call, response } in responses::all(&description).await {
        assert!(
            response.status().as_u16() < 400 || response.status() == 503,
            "{operation}, {name}: {}",
            response.text
        );
        let examples = responses.entry(operation).or_insert_with(|| json!({}));
        examples[name] = call.recorded(&response);
    }
    for (name, example) in responses.iter().chain(&native).chain(&openai) {
        let text = example.to_string();
        assert!(!text.contains("memory:") && !text.contains("?expires_in=300\""), "{name}: {text}");
    }
    let all = json!({"problems": native, "openai": openai, "answers": responses});
    compare(EXAMPLES, &(serde_json::to_string_pretty(&all).expect("JSON") + "\n"));
}

#[test]
fn every_status_has_an_example() {
    let description = description();
    for call in calls(&description) {
        let id = call["operationId"].as_str().expect("an id");
        for (status, response) in call["responses"].as_object().expect("responses") {
            assert!(status.parse::<u16>().is_ok(), "{id}: {status}");
            for (media, content) in response["content"].as_object().into_iter().flatten() {
                let has_example =
                    content["examples"].as_object().is_some_and(|examples| !examples.is_empty());
                let is_exempt =
                    WITHOUT_EXAMPLE.contains(&id) || (id == "generateImages" && media == "text/event-stream");
                assert!(has_example || is_exempt, "{id}, {status}: no example of {media}");
            }
        }
        for parameter in call["parameters"].as_array().into_iter().flatten() {
            assert!(!parameter["schema"]["examples"][0].is_null(), "{id}: no example of {parameter}");
            assert!(parameter["description"].is_string(), "{id}: {parameter}");
        }
    }
}

#[test]
fn the_file_at_the_root_is_current() {
    compare(DESCRIPTION, tintype_http::openapi());
}

#[tokio::test]
async fn the_document_and_the_page_are_served() {
    let server = TestServer::keyed();
    let served = Call::new("GET", "/openapi.json").send(&server).await;
    assert_eq!((served.status().as_u16(), served.header("content-type")), (200, Some("application/json")));
    assert_eq!(served.text, tintype_http::openapi());
    let page = Call::new("GET", "/docs").send(&server).await;
    assert_eq!(
        (page.status().as_u16(), page.header("content-type")),
        (200, Some("text/html; charset=utf-8"))
    );
    // The page loads no external resources and runs no scripts.
    for outside in ["<script", "src=", "http://", "https://cdn", "@import", "url("] {
        let without_examples = page.text.replace("http://127.0.0.1:8080", "");
        assert!(!without_examples.contains(outside) || outside == "http://", "{outside}");
    }
    assert!(
        page.header("content-security-policy").is_some_and(|policy| policy.starts_with("default-src 'none'"))
    );
    for call in calls(&description()) {
        assert!(
            page.text.contains(call["summary"].as_str().expect("a summary").split('`').next().expect("text"))
        );
    }
}
