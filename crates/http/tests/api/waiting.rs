//! How long a client waits: `Prefer`, and the operator's time budget.

use std::time::Duration;

use serde_json::{Value, json};
use tintype_http::{HostPolicy, HttpSettings};
use tintype_service::ServiceSettings;
use tintype_testing::NullEngine;
use tokio::time::{Instant, sleep};

use crate::{Bench, SECOND};

fn slow() -> Bench {
    Bench::with(ServiceSettings::default(), NullEngine::new(SECOND))
}

/// A job of 4 s, asked for with these `Prefer` headers: seconds waited, status, what was applied.
async fn ask(bench: &Bench, prefer: &[&str], prompt: &str) -> (f64, u16, Option<String>, Value) {
    let began = Instant::now();
    let headers: Vec<_> = prefer.iter().map(|value| ("prefer", *value)).collect();
    let answer = bench.post(&json!({"prompt": prompt}), &headers).await;
    let waited = began.elapsed().as_secs_f64();
    if answer.status() == 202 {
        assert_eq!(answer.header("retry-after"), Some("2"));
    }
    let location = format!("/v1/images/{}", answer.json()["id"].as_str().expect("an id"));
    assert_eq!(answer.header("location"), Some(&*location));
    let applied = answer.header("preference-applied").map(str::to_owned);
    (waited.round(), answer.status().as_u16(), applied, answer.json())
}

#[tokio::test(start_paused = true)]
async fn a_client_says_how_long_it_waits() {
    for (prefer, waited, status, applied) in [
        (&[][..], 4.0, 201, None),
        (&["respond-async"], 0.0, 202, Some("respond-async")),
        (&["wait=2"], 2.0, 202, Some("wait=2")),
        (&["wait=0"], 0.0, 202, Some("wait=0")),
        (&["wait=20"], 4.0, 201, Some("wait=20")),
        (&["wait=20, respond-async"], 4.0, 201, Some("wait=20")),
        (&["respond-async", "wait=2; x=y"], 2.0, 202, Some("respond-async, wait=2")),
        (&["handling=lenient"], 4.0, 201, None),
        (&["wait=soon"], 4.0, 201, None),
        (&["wait=9999"], 4.0, 201, Some("wait=600")),
    ] {
        let bench = slow();
        let answer = ask(&bench, prefer, "x").await;
        let expected = (waited, status, applied.map(str::to_owned));
        assert_eq!((answer.0, answer.1, answer.2), expected, "{prefer:?}");
        // Whether it was waited for or not, it is made.
        sleep(SECOND * 30).await;
        let path = format!("/v1/images/{}", answer.3["id"].as_str().expect("an id"));
        assert_eq!(bench.get(&path).await.json()["status"], "succeeded", "{prefer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn past_the_time_budget_a_picture_is_on_its_way() {
    let budget = |seconds| HttpSettings {
        time_budget: Some(Duration::from_secs(seconds)),
        ..crate::settings_for(HostPolicy::Any)
    };
    let bench = slow().settings(budget(2));
    let began = Instant::now();
    let answer = bench.get("/generate?prompt=x").await;
    assert_eq!((answer.status().as_u16(), began.elapsed().as_secs()), (202, 2), "{}", answer.text);
    let body = answer.json();
    let path = format!("/v1/images/{}", body["id"].as_str().expect("an id"));
    assert_eq!((answer.header("location"), answer.header("retry-after")), (Some(&*path), Some("2")));
    assert_eq!((&body["status"], &body["prompt"]), (&json!("running"), &json!("x")));
    // Nobody waits for it, and still it is made.
    sleep(SECOND * 30).await;
    assert_eq!(bench.get(&path).await.json()["status"], "succeeded");
    // A client may wait for less than the budget, not for more.
    assert_eq!(ask(&bench, &["wait=1"], "y").await.0, 1.0);
    sleep(SECOND * 30).await;
    assert_eq!(ask(&bench, &["wait=20"], "z").await.0, 2.0);

    let bench = slow().settings(budget(20));
    assert_eq!(bench.get("/generate?prompt=x").await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn who_waits_not_is_refused_when_too_many_wait() {
    let settings = ServiceSettings { backlog: 1, ..ServiceSettings::default() };
    let bench = Bench::with(settings, NullEngine::new(SECOND));
    let prefer = [("prefer", "respond-async")];
    let mut answers = Vec::new();
    for prompt in ["x", "y", "z"] {
        answers.push(bench.post(&json!({"prompt": prompt}), &prefer).await);
        sleep(SECOND / 10).await;
    }
    assert_eq!((answers[0].status().as_u16(), answers[1].status().as_u16()), (202, 202));
    answers[2].assert_problem(429, "queue-full");
    assert_eq!(answers[2].header("retry-after"), Some("5"), "nothing was measured yet");
}
