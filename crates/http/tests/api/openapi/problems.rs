//! How every problem comes about, in our own words and in OpenAI's.

use axum::body::Body;
use axum::http::Request;
use futures::StreamExt;
use serde_json::{Value, json};
use tintype_http::{HostPolicy, HttpSettings};
use tintype_service::ServiceSettings;
use tintype_service::ledger::policy::Policy;
use tintype_testing::{Fault, NullEngine};
use tokio::time::sleep;

use super::Call;
use crate::{Answer, Bench, SECOND, settings_for};

/// In whose words.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Words {
    Ours,
    OpenAi,
}

impl Words {
    /// The call that makes pictures.
    fn make(self, body: Value) -> Call {
        Call::post(if self == Self::Ours { "/v1/images" } else { "/v1/images/generations" }, body)
    }
}

/// Sends what ends in this problem.
pub(super) async fn cause(name: &str, words: Words) -> (Call, Answer) {
    let plain = words.make(json!({"prompt": "a tiger"}));
    let slow = || Bench::with(ServiceSettings::default(), NullEngine::new(SECOND));
    let broken = |fault| Bench::with(ServiceSettings::default(), NullEngine::new(SECOND).with_fault(fault));
    let (bench, call) = match name {
        "invalid-request" | "invalid_value" => {
            (Bench::new(), words.make(json!({"prompt": "a tiger", "n": 11, "seed": 1.5})))
        }
        "unknown_parameter" => (Bench::new(), words.make(json!({"prompt": "a tiger", "cat": "tom"}))),
        "missing_required_parameter" => (Bench::new(), words.make(json!({"seed": 7}))),
        "malformed-json" | "malformed_json" => (Bench::new(), Call { body: json!(["a tiger"]), ..plain }),
        "not-json" | "not_json" => {
            let text = Call::new("POST", plain.path.clone()).header("content-type", "text/plain");
            (Bench::new(), text)
        }
        "too-large" | "too_large" => {
            let bench = Bench::new();
            let call = words.make(json!({"prompt": "x".repeat(70_000)}));
            let answer = call.send(&bench).await;
            return (words.make(json!({"prompt": "more than 65,536 bytes"})), answer);
        }
        "too-slow" | "too_slow" => {
            let first = futures::stream::iter([Ok::<_, std::io::Error>("{")]);
            let body = Body::from_stream(first.chain(futures::stream::pending()));
            let request = Request::post(&plain.path).header("content-type", "application/json");
            let answer = Bench::new().request(request.body(body).expect("a request")).await;
            return (plain, answer);
        }
        "model_not_found" => (Bench::new(), words.make(json!({"prompt": "a tiger", "model": "gpt-5"}))),
        "unauthenticated" | "invalid_api_key" => {
            let unknown = tintype_service::ledger::key::ApiKey::generate().expect("random numbers");
            (Bench::keyed(), plain.header("x-api-key", unknown.secret().expose()))
        }
        "not-admin" => {
            let bench = Bench::keyed();
            let (name, key) = bench.key(Policy::default()).await;
            (bench, Call::new("GET", "/v1/keys").header(name, key))
        }
        "cross-site" | "cross_site" => (Bench::new(), plain.header("origin", "https://evil.example")),
        "wrong-host" | "wrong_host" => {
            let hosts = HostPolicy::Loopback { port: 8080, public: None };
            (Bench::new().settings(settings_for(hosts)), plain.header("host", "evil.example"))
        }
        "get-turned-off" => {
            let settings = HttpSettings { get_enabled: false, ..settings_for(HostPolicy::Any) };
            (Bench::new().settings(settings), Call::new("GET", "/generate?prompt=x"))
        }
        "prefetch" => {
            (Bench::new(), Call::new("GET", "/generate?prompt=x").header("sec-purpose", "prefetch"))
        }
        "not-found" => (Bench::new(), Call::new("GET", "/v1/images/0199d2a4-7c00-7000-8000-000000000001")),
        "not_found" => (Bench::new(), Call::new("GET", "/v1/models/%ff")),
        "no-pictures" => {
            let bench = slow();
            let job = plain.clone().header("prefer", "respond-async").send(&bench).await;
            let path = format!("{}/content", job.header("location").expect("a path"));
            (bench, Call::new("GET", path))
        }
        "invalid-idempotency-key" | "invalid_idempotency_key" => {
            (Bench::new(), plain.header("idempotency-key", "two words"))
        }
        "idempotency-conflict" | "idempotency_conflict" => {
            let bench = Bench::new();
            words.make(json!({"prompt": "a robot"})).header("idempotency-key", "order-1").send(&bench).await;
            (bench, plain.header("idempotency-key", "order-1"))
        }
        "canceled" => {
            let bench = slow();
            let (answer, ()) = tokio::join!(plain.send(&bench), async {
                sleep(SECOND).await;
                let id =
                    bench.get("/v1/images").await.json()["data"][0]["id"].as_str().expect("one").to_owned();
                bench.send("POST", &format!("/v1/images/{id}/cancel"), &[]).await;
            });
            return (plain, answer);
        }
        "queue-full" | "queue_full" => {
            let settings = ServiceSettings { queue: 0, ..ServiceSettings::default() };
            let bench = Bench::with(settings, NullEngine::new(SECOND));
            let (_, answer) = tokio::join!(plain.send(&bench), async {
                sleep(SECOND).await;
                plain.send(&bench).await
            });
            return (plain, answer);
        }
        "rate-limited" | "rate_limit_exceeded" => return refused(json!({"rate": "1/min"}), plain).await,
        "too-many-jobs" => {
            let bench = Bench::keyed();
            let (name, key) = bench.key(limits(json!({"concurrency": 1}))).await;
            plain.clone().header(name, key.clone()).header("prefer", "respond-async").send(&bench).await;
            (bench, plain.header(name, key))
        }
        "budget-spent" | "insufficient_quota" => return refused(json!({"budgets": ["1s/day"]}), plain).await,
        "budget-unpriced" => return refused(json!({"budgets": ["5eur/day"]}), plain).await,
        "internal" => (broken(Fault::Error), plain),
        "outcome-unknown" | "outcome_unknown" => (broken(Fault::OutcomeUnknown), plain),
        "model-error" | "model_error" => (broken(Fault::Model(422, "height is too large")), plain),
        "engine-busy" | "engine_busy" => (broken(Fault::Busy), plain),
        "deadline" => (slow(), words.make(json!({"prompt": "a tiger", "steps": 20, "deadline": 2}))),
        "overrun" => {
            let settings = ServiceSettings { max_job: SECOND * 5, ..ServiceSettings::default() };
            (
                Bench::with(settings, NullEngine::new(SECOND)),
                words.make(json!({"prompt": "a tiger", "steps": 20})),
            )
        }
        "loading" => (Bench::loading(ServiceSettings::default(), NullEngine::new(SECOND)), plain),
        "no-model" | "no_model" => {
            let bench = Bench::loading(ServiceSettings::default(), NullEngine::new(SECOND));
            bench.service.engine_failed("x".into());
            (bench, plain)
        }
        "shutting-down" | "shutting_down" => {
            let bench = slow();
            bench.service.drain(SECOND).await;
            (bench, plain)
        }
        "unavailable" => {
            let bench = Bench::new();
            bench.books.fill_up();
            (bench, plain)
        }
        "on_its_way" => {
            let settings = HttpSettings { time_budget: Some(SECOND), ..settings_for(HostPolicy::Any) };
            (slow().settings(settings), plain)
        }
        other => panic!("nobody knows how {other} comes about"),
    };
    let answer = call.send(&bench).await;
    (call, answer)
}

fn limits(json: Value) -> Policy {
    serde_json::from_value(json).expect("limits")
}

/// The second request of a key with these limits.
async fn refused(policy: Value, call: Call) -> (Call, Answer) {
    let bench = Bench::keyed();
    let (name, key) = bench.key(limits(policy)).await;
    let call = call.header(name, key);
    call.send(&bench).await;
    let answer = call.send(&bench).await;
    (call, answer)
}
