//! Retries get the job of the first attempt; handles return image files.

use std::time::Duration;

use tintype_core::picture::Format;
use tintype_core::request::{Draft, GenerateRequest};
use tintype_service::{AnonymousAccess, Caller, JobHandle, ServedFrom, ServiceSettings, Submission};
use tintype_testing::NullEngine;

use crate::{Harness, SECOND, draft, wait_seconds};

/// A request without an explicit seed, so that only a retry is served by another job.
fn submission(harness: &Harness, retry: bool) -> Submission {
    Submission { retry, ..Submission::new(request(harness)) }
}

fn request(harness: &Harness) -> GenerateRequest {
    harness.request("x", 4)
}

async fn submit(harness: &Harness, retry: bool) -> JobHandle {
    let submission = submission(harness, retry);
    harness.service.submit(&Caller::anonymous(), submission).await.expect("accepted")
}

#[tokio::test(start_paused = true)]
async fn a_retry_gets_the_answer_that_was_lost() {
    let harness = Harness::new();
    let first = harness.generate(request(&harness)).await.expect("pictures");
    let retry = submit(&harness, true).await;
    assert_eq!((retry.source(), retry.id()), (ServedFrom::Stored, first.id));
    let image = retry.finished().await.expect("pictures");
    assert_eq!((&image.request, image.cost.map(|cost| cost.engine_ms)), (&first.request, Some(0)));
    // That response may be lost too.
    assert_eq!(submit(&harness, true).await.id(), first.id);
    assert_eq!(harness.engine.started(), 1);

    let another = submit(&harness, false).await;
    assert_ne!(another.id(), first.id, "a request that is not a retry gets a new job");
    let joining = submit(&harness, true).await;
    assert_eq!((joining.source(), joining.id()), (ServedFrom::Joined, another.id()));
}

#[tokio::test(start_paused = true)]
async fn a_retry_long_after_the_response_gets_a_new_job() {
    let settings = ServiceSettings { abandon_after: Duration::ZERO, ..ServiceSettings::default() };
    let harness = Harness::with(settings, NullEngine::new(SECOND));
    let first = harness.generate(request(&harness)).await.expect("pictures");
    assert_ne!(submit(&harness, true).await.id(), first.id);
}

#[tokio::test(start_paused = true)]
async fn a_retry_gets_a_detached_job_until_it_is_delivered() {
    let settings = ServiceSettings { abandon_after: Duration::ZERO, ..ServiceSettings::default() };
    let harness = Harness::with(settings, NullEngine::new(SECOND));
    let first = submit(&harness, false).await;
    let id = first.id();
    first.detach().await.expect("kept");
    drop(first);
    wait_seconds(10.0).await;
    let retry = submit(&harness, true).await;
    assert_eq!((retry.source(), retry.id()), (ServedFrom::Stored, id));
    retry.finished().await.expect("pictures");
    // The delivery is recorded in the background.
    wait_seconds(1.0).await;
    assert_ne!(submit(&harness, true).await.id(), id, "the job was delivered");
}

#[tokio::test(start_paused = true)]
async fn a_retry_does_not_share_between_public_callers() {
    let settings = ServiceSettings { anonymous: AnonymousAccess::Public, ..ServiceSettings::default() };
    let harness = Harness::with(settings, NullEngine::new(SECOND));
    let public = harness.service.authenticate(None).await.expect("accepted");
    let first = harness.service.generate(&public, submission(&harness, false)).await.expect("pictures");
    let retry = harness.service.submit(&public, submission(&harness, true)).await.expect("accepted");
    assert_ne!(retry.id(), first.id);
}

#[tokio::test(start_paused = true)]
async fn a_handle_returns_the_files() {
    let harness = Harness::new();
    let two = Draft { n: Some(2), seed: Some(7), format: Some(Format::Png), ..draft("x", 1) };
    let request = harness.service.check(None, two).expect("valid");
    let handle = harness.submit(request.clone()).await.expect("accepted");
    let joining = harness.submit(request.clone()).await.expect("accepted");
    let (image, made) = handle.finished_with_files().await.expect("pictures");
    assert!(image.pictures.is_empty(), "no links were requested");
    let colours: Vec<_> =
        made.iter().map(|file| tintype_picture::decode(file).expect("a PNG").rgb()[..3].to_vec()).collect();
    assert_eq!(colours, [[7, 0, 0], [8, 0, 0]]);
    assert_eq!(joining.finished_with_files().await.expect("pictures").1, made);
    // Later the files come from the store.
    let stored = harness.submit(request).await.expect("accepted");
    assert_eq!(stored.source(), ServedFrom::Stored);
    assert_eq!(stored.finished_with_files().await.expect("pictures").1, made);
    assert_eq!(harness.engine.started(), 1);
}
