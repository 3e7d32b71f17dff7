//! Clients that try again by themselves: one generation, however often they ask.

use std::time::Duration;

use serde_json::{Value, json};
use tintype_http::HttpSettings;
use tintype_service::ServiceSettings;
use tintype_testing::NullEngine;
use tokio::time::timeout;

use super::{PATH, assert_error};
use crate::{Answer, Bench, HostPolicy, SECOND, settings_for};

async fn attempt(bench: &Bench, number: u32, body: &Value) -> Answer {
    bench.send_json(PATH, body, &[("x-stainless-retry-count", &number.to_string())]).await
}

#[tokio::test(start_paused = true)]
async fn past_the_time_budget_the_retry_waits_for_the_same_picture() {
    let budget = HttpSettings { time_budget: Some(SECOND * 3), ..settings_for(HostPolicy::Any) };
    let bench = Bench::with(ServiceSettings::default(), NullEngine::new(SECOND)).settings(budget);
    let body = json!({"prompt": "x", "response_format": "b64_json", "steps": 8});
    for number in 0..2 {
        let answer = attempt(&bench, number, &body).await;
        assert_error(&answer, (503, "server_error", Some("on_its_way")), true);
        assert_eq!((answer.header("retry-after-ms"), answer.header("retry-after")), (Some("100"), Some("2")));
    }
    let answer = attempt(&bench, 2, &body).await;
    assert_eq!(answer.status(), 200, "{}", answer.text);
    assert!(answer.json()["data"][0]["b64_json"].is_string());
    assert_eq!((bench.engine.started(), bench.engine.finished()), (1, 1));
    // Who asks anew gets another.
    attempt(&bench, 0, &body).await;
    assert_eq!(bench.engine.started(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_given_again() {
    let bench = Bench::with(ServiceSettings::default(), NullEngine::new(SECOND));
    for (format, steps) in [("url", 2), ("b64_json", 3)] {
        let body = json!({"prompt": "x", "response_format": format, "steps": steps});
        let started = bench.engine.started();
        let ids: Vec<_> = [
            attempt(&bench, 0, &body).await.json()["id"].clone(),
            attempt(&bench, 1, &body).await.json()["id"].clone(),
            attempt(&bench, 2, &body).await.json()["id"].clone(),
        ]
        .into();
        assert!(ids[0].is_string() && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        assert_eq!(bench.engine.started(), started + 1);
        let changed = json!({"prompt": "x", "response_format": format, "steps": steps, "seed": 1});
        assert_ne!(attempt(&bench, 1, &changed).await.json()["id"], ids[0]);
    }
}

#[tokio::test(start_paused = true)]
async fn who_was_cut_off_joins_what_is_being_made() {
    let bench = Bench::with(ServiceSettings::default(), NullEngine::new(SECOND));
    let body = json!({"prompt": "x", "response_format": "b64_json", "steps": 8});
    let cut = timeout(Duration::from_secs(4), attempt(&bench, 0, &body)).await;
    assert!(cut.is_err());
    let answer = attempt(&bench, 1, &body).await;
    assert_eq!(answer.status(), 200, "{}", answer.text);
    assert_eq!((bench.engine.started(), bench.engine.finished()), (1, 1));
}
