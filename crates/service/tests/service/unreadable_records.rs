//! Records of the ledger that cannot be read.

use std::sync::Arc;

use futures::future::join_all;
use tintype_core::store::{Key, NewObject, ObjectStore};
use tintype_ledger::Error;
use tintype_ledger::job::Status;
use tintype_service::{Caller, ServiceError, ServiceSettings, Submission};
use tintype_testing::{MemoryStore, NullEngine};
use tokio::time::{Instant, timeout};

use crate::{Harness, SECOND, ledger_in, wait_seconds};

/// Damages the only job record in the store.
async fn damage_job(store: &MemoryStore) -> Key {
    let jobs = store.list("jobs/by-owner/", None, 10).await.expect("list").objects;
    let [job] = &jobs[..] else { panic!("{jobs:?}") };
    let text = store.get(&job.key, None).await.expect("a record").bytes;
    let text = String::from_utf8(text.to_vec()).expect("JSON").replace("\"queued\"", "\"paused\"");
    let object = NewObject { bytes: text.into(), content_type: "application/json".into() };
    store.put(&job.key, object).await.expect("written");
    job.key.clone()
}

#[tokio::test(start_paused = true)]
async fn fifty_jobs_run_beside_an_unreadable_queued_job() {
    let store = Arc::new(MemoryStore::default());
    let caller = Caller::anonymous();
    let id = {
        // The first process dies before it runs the job.
        let first =
            Harness::on(ledger_in(store.clone()), ServiceSettings::default(), NullEngine::new(SECOND));
        let detached = Submission { detached: true, ..Submission::new(first.request("poisoned", 1)) };
        first.service.submit(&caller, detached).await.expect("accepted").id()
    };
    let key = damage_job(&store).await;
    let damaged = store.get(&key, None).await.expect("a record").bytes;
    let settings = ServiceSettings { queue: 100, ..ServiceSettings::default() };
    let second = Harness::on(ledger_in(store.clone()), settings, NullEngine::new(SECOND));
    let start = Instant::now();
    let requests = (0..50).map(|index| second.generate(second.request(&format!("tiger {index}"), 1)));
    for image in join_all(requests).await {
        assert_eq!(image.expect("an image").status, Status::Succeeded);
    }
    assert!(start.elapsed() < SECOND * 51, "50 jobs of one second took {:?}", start.elapsed());
    assert_eq!(second.service.images(&caller, None, 100).await.expect("a list").images.len(), 50);
    let direct = second.service.image(&caller, id, SECOND).await;
    assert!(
        matches!(&direct, Err(ServiceError::Ledger(error)) if matches!(**error, Error::Corrupt { .. })),
        "{direct:?}"
    );
    let metrics = second.service.metrics_text().await.expect("metrics");
    for line in [
        "tintype_unreadable_records 1",
        "tintype_jobs_queued{model=\"null\"} 0",
        "tintype_jobs_running{model=\"null\"} 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
    }
    assert_eq!(store.get(&key, None).await.expect("a record").bytes, damaged, "not rewritten");
    // The shutdown does not wait for the unreadable job.
    timeout(SECOND, second.service.drain(SECOND * 60)).await.expect("it stops");
}

#[tokio::test(start_paused = true)]
async fn a_client_of_an_unreadable_queued_job_gets_an_answer() {
    let store = Arc::new(MemoryStore::default());
    let engine = NullEngine::new(SECOND);
    let harness = Harness::on(ledger_in(store.clone()), ServiceSettings::default(), engine);
    let busy = harness.client("busy", 90);
    wait_seconds(0.5).await;
    let waiting = harness.client("poisoned", 1);
    wait_seconds(0.5).await;
    // Newest first.
    let jobs = store.list("jobs/by-owner/", None, 10).await.expect("list").objects;
    let object = NewObject { bytes: "{".into(), content_type: "application/json".into() };
    store.put(&jobs[0].key, object).await.expect("written");
    let ended = timeout(SECOND * 70, waiting).await.expect("in time").expect("no panic");
    assert!(matches!(ended, Err(ServiceError::Ledger(_))), "{ended:?}");
    assert!(busy.await.expect("no panic").is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_job_that_becomes_unreadable_while_it_runs_blocks_no_other() {
    let store = Arc::new(MemoryStore::default());
    let harness = Harness::on(ledger_in(store.clone()), ServiceSettings::default(), NullEngine::new(SECOND));
    let client = harness.client("poisoned", 2);
    wait_seconds(0.5).await;
    let jobs = store.list("jobs/by-owner/", None, 10).await.expect("list").objects;
    let object = NewObject { bytes: "{".into(), content_type: "application/json".into() };
    store.put(&jobs[0].key, object).await.expect("written");
    let next = harness.client("next", 1);
    let ended = timeout(SECOND * 60, client).await.expect("the client gets an answer").expect("no panic");
    assert!(matches!(ended, Err(ServiceError::Ledger(_))), "{ended:?}");
    assert!(timeout(SECOND * 60, next).await.expect("in time").expect("no panic").is_ok());
}
