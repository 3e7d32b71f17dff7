//! The log: every line of a request carries its id, none its prompt.

use std::io;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use tintype_service::ServiceSettings;
use tintype_testing::{Fault, NullEngine};
use tokio::time::timeout;
use tracing::Dispatch;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::TestServer;

/// What was logged.
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

/// With a single subscriber in the process, tracing asks only the thread that comes to a log line first whether it listens,
/// and keeps its no for all threads. This one makes two.
static ANOTHER: LazyLock<Dispatch> =
    LazyLock::new(|| Dispatch::new(tracing_subscriber::fmt().with_writer(io::sink).finish()));

/// Logs what this thread does; the tests' runtimes have no other.
fn listen() -> (Log, tracing::subscriber::DefaultGuard) {
    LazyLock::force(&ANOTHER);
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    (log, tracing::subscriber::set_default(subscriber))
}

#[tokio::test(start_paused = true)]
async fn every_line_has_the_id_and_none_the_prompt() {
    let second = Duration::from_secs(1);
    for fault in [None, Some(Fault::Error), Some(Fault::NoPicture)] {
        let (log, _guard) = listen();
        let engine = NullEngine::new(second);
        let engine = match fault {
            Some(fault) => engine.with_fault(fault),
            None => engine,
        };
        let server = TestServer::with(ServiceSettings::default(), engine);
        let path = "/generate?prompt=zebra&negative_prompt=zebra&steps=5";
        let id = [("x-request-id", "req-7")];
        // One that is answered, one that hangs up, one that is refused.
        server.send("GET", path, &id).await;
        assert!(timeout(second, server.send("GET", path, &id)).await.is_err());
        server.send("GET", "/generate?prompt=zebra&size=1", &id).await;
        tokio::time::sleep(second * 20).await;

        let text = log.text();
        assert_eq!(text.matches("answered").count(), 2, "{text}");
        assert!(text.lines().all(|line| line.contains("req-7")), "{text}");
        assert!(!text.contains("zebra"), "{text}");
        // The cause, from whoever met it: once for the work that was waited for, once for the work that was not any more.
        let errors: Vec<_> = text.lines().filter(|line| line.contains(" ERROR ")).collect();
        assert_eq!(errors.len(), if fault.is_some() { 2 } else { 0 }, "{text}");
        if fault == Some(Fault::Error) {
            assert!(errors.iter().all(|line| line.contains("a secret cause")), "{text}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_cause_of_a_problem_is_logged_under_its_id() {
    let (log, _guard) = listen();
    let server = TestServer::new();
    server.ledger_store.fill_up();
    let response = server.send("GET", "/generate?prompt=zebra", &[("x-request-id", "req-7")]).await;
    response.assert_problem(503, "unavailable");
    let text = log.text();
    let line = text.lines().find(|line| line.contains("the request failed")).expect("a line");
    assert!(line.contains("req-7") && line.contains("a secret cause"), "{text}");
    assert!(!text.contains("zebra"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn every_call_that_makes_pictures_has_a_span_for_reading_it() {
    LazyLock::force(&ANOTHER);
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
    let (log, _guard) = listen();
    let server = TestServer::keyed();
    let (name, admin) = server.admin_key().await;
    let made = server.send_json("/v1/keys", &serde_json::json!({"name": "acme"}), &[(name, &admin)]).await;
    let key = made.json()["key"].as_str().expect("a key").to_owned();
    server.send("GET", "/generate?prompt=x", &[("x-api-key", &key)]).await;
    server.send("GET", "/generate?prompt=x", &[("x-api-key", &key[..40])]).await;
    let text = log.text();
    assert_eq!(text.matches("answered").count(), 3, "{text}");
    assert!(!text.contains(&key[3..20]) && !text.contains(&admin[10..20]), "{text}");
}
