//! Causes every problem, in the native and in OpenAI's dialect.

use axum::body::Body;
use axum::http::Request;
use futures::StreamExt;
use serde_json::{Value, json};
use tintype_core::engine::CallObstacle;
use tintype_http::{HostPolicy, HttpSettings};
use tintype_ledger::policy::Policy;
use tintype_service::{Caller, ServiceSettings};
use tintype_testing::{Fault, NullEngine};
use tokio::time::sleep;

use super::Call;
use crate::{SECOND, TestResponse, TestServer, settings_for};

/// A dialect of the API.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Native,
    OpenAi,
}

impl Dialect {
    /// The call that generates images.
    fn create(self, body: Value) -> Call {
        Call::post(if self == Self::Native { "/v1/images" } else { "/v1/images/generations" }, body)
    }
}

/// Sends a request that causes this problem.
pub(super) async fn cause(name: &str, dialect: Dialect) -> (Call, TestResponse) {
    let valid = dialect.create(json!({"prompt": "a tiger"}));
    let slow = || TestServer::with(ServiceSettings::default(), NullEngine::new(SECOND));
    let faulty =
        |fault| TestServer::with(ServiceSettings::default(), NullEngine::new(SECOND).with_fault(fault));
    let (server, call) = match name {
        "invalid-request" | "invalid_value" => {
            (TestServer::new(), dialect.create(json!({"prompt": "a tiger", "n": 11, "seed": 1.5})))
        }
        "unknown_parameter" => {
            (TestServer::new(), dialect.create(json!({"prompt": "a tiger", "cat": "tom"})))
        }
        "missing_required_parameter" => (TestServer::new(), dialect.create(json!({"seed": 7}))),
        "malformed-json" | "malformed_json" => {
            (TestServer::new(), Call { body: json!(["a tiger"]), ..valid })
        }
        "not-json" | "not_json" => {
            let text = Call::new("POST", valid.path.clone()).header("content-type", "text/plain");
            (TestServer::new(), text)
        }
        "unsupported-content-encoding" | "unsupported_content_encoding" => {
            (TestServer::new(), valid.header("content-encoding", "br"))
        }
        "too-large" | "too_large" => {
            let server = TestServer::new();
            let call = dialect.create(json!({"prompt": "x".repeat(70_000)}));
            let response = call.send(&server).await;
            return (dialect.create(json!({"prompt": "more than 65,536 bytes"})), response);
        }
        "too-slow" | "too_slow" => {
            let first = futures::stream::iter([Ok::<_, std::io::Error>("{")]);
            let body = Body::from_stream(first.chain(futures::stream::pending()));
            let request = Request::post(&valid.path).header("content-type", "application/json");
            let response = TestServer::new().request(request.body(body).expect("a request")).await;
            return (valid, response);
        }
        "model_not_found" => {
            (TestServer::new(), dialect.create(json!({"prompt": "a tiger", "model": "gpt-5"})))
        }
        "unauthenticated" | "invalid_api_key" => {
            let unknown = tintype_ledger::key::ApiKey::generate().expect("random numbers");
            (TestServer::keyed(), valid.header("x-api-key", unknown.secret().expose()))
        }
        "not-admin" => {
            let server = TestServer::keyed();
            let (name, key) = server.key(Policy::default()).await;
            (server, Call::new("GET", "/v1/keys").header(name, key))
        }
        "cross-site" | "cross_site" => (TestServer::new(), valid.header("origin", "https://evil.example")),
        "wrong-host" | "wrong_host" => {
            let hosts = HostPolicy::Loopback { port: 8080, public: None };
            (TestServer::new().settings(settings_for(hosts)), valid.header("host", "evil.example"))
        }
        "get-turned-off" => {
            let settings = HttpSettings { get_enabled: false, ..settings_for(HostPolicy::Any) };
            (TestServer::new().settings(settings), Call::new("GET", "/generate?prompt=x"))
        }
        "prefetch" => {
            (TestServer::new(), Call::new("GET", "/generate?prompt=x").header("sec-purpose", "prefetch"))
        }
        "not-found" => {
            (TestServer::new(), Call::new("GET", "/v1/images/0199d2a4-7c00-7000-8000-000000000001"))
        }
        "not_found" => (TestServer::new(), Call::new("GET", "/v1/models/%ff")),
        "no-pictures" => {
            let server = slow();
            let job = valid.clone().header("prefer", "respond-async").send(&server).await;
            let path = format!("{}/content", job.header("location").expect("a path"));
            (server, Call::new("GET", path))
        }
        "invalid-idempotency-key" | "invalid_idempotency_key" => {
            (TestServer::new(), valid.header("idempotency-key", "two words"))
        }
        "idempotency-conflict" | "idempotency_conflict" => {
            let server = TestServer::new();
            dialect
                .create(json!({"prompt": "a robot"}))
                .header("idempotency-key", "order-1")
                .send(&server)
                .await;
            (server, valid.header("idempotency-key", "order-1"))
        }
        "canceled" => {
            let server = slow();
            let (response, ()) = tokio::join!(valid.send(&server), async {
                sleep(SECOND).await;
                let id =
                    server.get("/v1/images").await.json()["data"][0]["id"].as_str().expect("one").to_owned();
                server.send("POST", &format!("/v1/images/{id}/cancel"), &[]).await;
            });
            return (valid, response);
        }
        "queue-full" | "queue_full" => {
            let settings = ServiceSettings { queue: 0, ..ServiceSettings::default() };
            let server = TestServer::with(settings, NullEngine::new(SECOND));
            let (_, response) = tokio::join!(valid.send(&server), async {
                sleep(SECOND).await;
                valid.send(&server).await
            });
            return (valid, response);
        }
        "too-many-watchers" => {
            let settings = ServiceSettings { watchers_per_job: 1, ..ServiceSettings::default() };
            let server = TestServer::with(settings, NullEngine::new(SECOND));
            let job = valid.clone().header("prefer", "respond-async").send(&server).await.json();
            let id = job["id"].as_str().expect("an id");
            let first = server.service.follow(&Caller::anonymous(), id.parse().expect("an id")).await;
            let call = Call::new("GET", format!("/v1/images/{id}/events"));
            let response = call.send(&server).await;
            drop(first.expect("room"));
            return (call, response);
        }
        "rate-limited" | "rate_limit_exceeded" => return refused(json!({"rate": "1/min"}), valid).await,
        "too-many-jobs" => {
            let server = TestServer::keyed();
            let (name, key) = server.key(limits(json!({"concurrency": 1}))).await;
            valid.clone().header(name, key.clone()).header("prefer", "respond-async").send(&server).await;
            (server, valid.header(name, key))
        }
        "budget-spent" | "insufficient_quota" => return refused(json!({"budgets": ["1s/day"]}), valid).await,
        "budget-unpriced" => return refused(json!({"budgets": ["5eur/day"]}), valid).await,
        "internal" => (faulty(Fault::Error), valid),
        "not-finite" | "not_finite" => (faulty(Fault::NotFinite), valid),
        "outcome-unknown" | "outcome_unknown" => (faulty(Fault::OutcomeUnknown), valid),
        "model-error" | "model_error" => (faulty(Fault::Model(422, "height is too large")), valid),
        "engine-unavailable" | "engine_unavailable" => {
            let server = TestServer::new();
            server.engine.set_obstacle(Some(CallObstacle::NoCredentials));
            (server, valid)
        }
        "store-full" | "store_full" => {
            let server = TestServer::new();
            server.store.fill_up();
            (server, valid)
        }
        "engine-busy" | "engine_busy" => (faulty(Fault::Busy), valid),
        "deadline" => (slow(), dialect.create(json!({"prompt": "a tiger", "steps": 20, "deadline": 2}))),
        "overrun" => {
            let settings = ServiceSettings { max_job: SECOND * 5, ..ServiceSettings::default() };
            (
                TestServer::with(settings, NullEngine::new(SECOND)),
                dialect.create(json!({"prompt": "a tiger", "steps": 20})),
            )
        }
        "loading" => (TestServer::loading(ServiceSettings::default(), NullEngine::new(SECOND)), valid),
        "no-model" | "no_model" => {
            let server = TestServer::loading(ServiceSettings::default(), NullEngine::new(SECOND));
            server.service.engine_failed("x".into());
            (server, valid)
        }
        "shutting-down" | "shutting_down" => {
            let server = slow();
            server.service.drain(SECOND).await;
            (server, valid)
        }
        "unavailable" => {
            let server = TestServer::new();
            server.ledger_store.fill_up();
            (server, valid)
        }
        "on_its_way" => {
            let settings = HttpSettings { time_budget: Some(SECOND), ..settings_for(HostPolicy::Any) };
            (slow().settings(settings), valid)
        }
        other => panic!("no known cause of {other}"),
    };
    let response = call.send(&server).await;
    (call, response)
}

fn limits(json: Value) -> Policy {
    serde_json::from_value(json).expect("limits")
}

/// The second request with a key that has these limits.
async fn refused(policy: Value, call: Call) -> (Call, TestResponse) {
    let server = TestServer::keyed();
    let (name, key) = server.key(limits(policy)).await;
    let call = call.header(name, key);
    call.send(&server).await;
    let response = call.send(&server).await;
    (call, response)
}
