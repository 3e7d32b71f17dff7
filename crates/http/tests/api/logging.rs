//! The log: every line of a request has its id, and none has the prompt or a key.

use std::io;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use tintype_service::ServiceSettings;
use tintype_testing::{Fault, NullEngine};
use tokio::time::timeout;
use tracing::Dispatch;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::TestServer;

/// The captured log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("no panic").clone()).expect("UTF-8")
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A second subscriber: with a single one, tracing caches the interest of the first thread that reaches a
/// log line for all threads.
static SECOND_SUBSCRIBER: LazyLock<Dispatch> =
    LazyLock::new(|| Dispatch::new(tracing_subscriber::fmt().with_writer(io::sink).finish()));

/// Captures the log of this thread; the tests' runtimes are single-threaded.
fn capture() -> (Log, tracing::subscriber::DefaultGuard) {
    LazyLock::force(&SECOND_SUBSCRIBER);
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    (log, tracing::subscriber::set_default(subscriber))
}

#[tokio::test(start_paused = true)]
async fn every_line_has_the_id_and_none_the_prompt() {
    let second = Duration::from_secs(1);
    for fault in [None, Some(Fault::Error), Some(Fault::NoPicture)] {
        let (log, _guard) = capture();
        let engine = NullEngine::new(second);
        let engine = match fault {
            Some(fault) => engine.with_fault(fault),
            None => engine,
        };
        let server = TestServer::with(ServiceSettings::default(), engine);
        let path = "/generate?prompt=zebra&negative_prompt=zebra&steps=5";
        let id = [("x-request-id", "req-7")];
        // One request completes, one disconnects, one is rejected.
        server.send("GET", path, &id).await;
        assert!(timeout(second, server.send("GET", path, &id)).await.is_err());
        server.send("GET", "/generate?prompt=zebra&size=1", &id).await;
        tokio::time::sleep(second * 20).await;

        let text = log.text();
        assert_eq!(text.matches("request completed").count(), 2, "{text}");
        assert!(text.lines().all(|line| line.contains("req-7")), "{text}");
        assert!(!text.contains("zebra"), "{text}");
        // The cause is logged once for the job with a client and once for the abandoned job.
        let errors: Vec<_> = text.lines().filter(|line| line.contains(" ERROR ")).collect();
        assert_eq!(errors.len(), if fault.is_some() { 2 } else { 0 }, "{text}");
        if fault == Some(Fault::Error) {
            assert!(errors.iter().all(|line| line.contains("a secret cause")), "{text}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_cause_of_a_problem_is_logged_under_its_id() {
    let (log, _guard) = capture();
    let server = TestServer::new();
    server.ledger_store.fill_up();
    let response = server.send("GET", "/generate?prompt=zebra", &[("x-request-id", "req-7")]).await;
    response.assert_problem(503, "unavailable");
    let text = log.text();
    let line = text.lines().find(|line| line.contains("failed to process request")).expect("a line");
    assert!(line.contains("req-7") && line.contains("a secret cause"), "{text}");
    assert!(!text.contains("zebra"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn every_call_that_creates_images_has_a_parse_span() {
    LazyLock::force(&SECOND_SUBSCRIBER);
    for path in ["/generate?prompt=x", "/v1/images", "/v1/images/generations"] {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(tracing::Level::TRACE)
            .with_span_events(FmtSpan::NEW)
            .with_writer(move || writer.clone())
            .finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let server = TestServer::new();
        let response = match path.starts_with("/generate") {
            true => server.get(path).await,
            false => server.send_json(path, &serde_json::json!({"prompt": "x"}), &[]).await,
        };
        assert!(response.status().is_success(), "{}", response.text);
        let text = log.text();
        let parse = text.lines().filter(|line| line.contains(":exchange{") && line.contains(":parse: "));
        assert_eq!(parse.count(), 1, "{path}: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_line_has_a_key() {
    let (log, _guard) = capture();
    let server = TestServer::keyed();
    let (name, admin) = server.admin_key().await;
    let made = server.send_json("/v1/keys", &serde_json::json!({"name": "acme"}), &[(name, &admin)]).await;
    let key = made.json()["key"].as_str().expect("a key").to_owned();
    server.send("GET", "/generate?prompt=x", &[("x-api-key", &key)]).await;
    server.send("GET", "/generate?prompt=x", &[("x-api-key", &key[..40])]).await;
    let text = log.text();
    assert_eq!(text.matches("request completed").count(), 3, "{text}");
    assert!(!text.contains(&key[3..20]) && !text.contains(&admin[10..20]), "{text}");
}
