//! Every status but 200 and 400, and what the client is told with it.

use std::time::Duration;

use tintype_http::{HostPolicy, HttpSettings};
use tintype_service::ServiceSettings;
use tintype_testing::{Fault, NullEngine};
use tokio::time::sleep;

use crate::Bench;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn what_is_not_there() {
    let bench = Bench::new();
    for path in ["/nothing", "/generate/", "/v1/images", "//", "/%ff", "/healthz/x"] {
        for method in ["GET", "POST", "DELETE"] {
            bench.send(method, path, &[]).await.assert_problem(404, "not-found");
        }
    }
}

#[tokio::test]
async fn methods_that_are_not_allowed() {
    let bench = Bench::new();
    for (path, allowed) in [
        ("/generate?prompt=x", "GET"),
        ("/?prompt=x", "GET"),
        ("/healthz", "GET, HEAD"),
        ("/readyz", "GET, HEAD"),
    ] {
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
            let answer = bench.send(method, path, &[]).await;
            answer.assert_problem(405, "method-not-allowed");
            assert_eq!(answer.header("allow"), Some(allowed), "{method} {path}");
        }
    }
    for path in ["/generate?prompt=x", "/?prompt=x", "/"] {
        let answer = bench.send("HEAD", path, &[]).await;
        assert_eq!((answer.status().as_u16(), answer.header("allow")), (405, Some("GET")), "HEAD {path}");
    }
    assert_eq!(bench.engine.started(), 0);
}

#[tokio::test]
async fn get_can_be_turned_off() {
    let bench = Bench::new().settings(HttpSettings { get_enabled: false, hosts: HostPolicy::Any });
    for path in ["/generate?prompt=x", "/?prompt=x", "/generate"] {
        bench.get(path).await.assert_problem(404, "get-turned-off");
    }
    assert_eq!(bench.engine.started(), 0);
    assert_eq!(bench.get("/readyz").await.status(), 200);
}

#[tokio::test]
async fn while_the_model_is_loaded() {
    let bench = Bench::loading(ServiceSettings::default(), NullEngine::new(SECOND));
    let answer = bench.get("/generate?prompt=x").await;
    answer.assert_problem(503, "loading");
    assert_eq!(answer.header("retry-after"), Some("5"));
    bench.get("/generate?prompt=x&n=2").await.assert_problem(400, "invalid-request");
    bench.service.engine_failed("no such folder: /secret".into());
    let answer = bench.get("/generate?prompt=x").await;
    answer.assert_problem(503, "no-model");
    assert_eq!(answer.header("retry-after"), None);
    assert!(!answer.text.contains("secret"));
}

#[tokio::test(start_paused = true)]
async fn when_the_queue_is_full() {
    let settings = ServiceSettings { queue: 1, ..ServiceSettings::default() };
    let bench = Bench::with(settings, NullEngine::new(SECOND));
    let began = tokio::time::Instant::now();
    // 4 s per picture: one runs, one waits, the third is refused at once.
    let (first, second, third) =
        tokio::join!(bench.get("/generate?prompt=x"), bench.get("/generate?prompt=y"), async {
            sleep(SECOND / 2).await;
            let answer = bench.get("/generate?prompt=z").await;
            assert_eq!(began.elapsed(), SECOND / 2);
            answer
        });
    assert_eq!((first.status().as_u16(), second.status().as_u16()), (200, 200));
    third.assert_problem(429, "queue-full");
    assert_eq!(third.header("retry-after"), Some("5"), "nothing was measured yet");
}

#[tokio::test(start_paused = true)]
async fn while_it_shuts_down() {
    let bench = Bench::with(ServiceSettings::default(), NullEngine::new(SECOND));
    let (running, late, ()) = tokio::join!(
        bench.get("/generate?prompt=x"),
        async {
            sleep(SECOND * 2).await;
            bench.get("/generate?prompt=y").await
        },
        async {
            sleep(SECOND).await;
            bench.service.drain(SECOND).await;
        }
    );
    for refused in [running, late] {
        refused.assert_problem(503, "shutting-down");
        assert_eq!(refused.header("retry-after"), Some("5"));
    }
}

#[tokio::test(start_paused = true)]
async fn what_broke_here_is_not_told() {
    let faults = [Fault::Error, Fault::Panic, Fault::NoPicture].map(Some);
    for fault in faults.into_iter().chain([None]) {
        let engine = NullEngine::new(SECOND);
        let engine = match fault {
            Some(fault) => engine.with_fault(fault),
            None => engine,
        };
        let bench = Bench::with(ServiceSettings::default(), engine);
        if fault.is_none() {
            bench.store.fill_up();
        }
        let answer = bench.get("/generate?prompt=x").await;
        answer.assert_problem(500, "internal");
        assert!(!answer.text.contains("secret"), "{}", answer.text);
    }
}
