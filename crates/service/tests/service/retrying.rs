//! A client that tries again by itself gets what its first try has made, and the files of who waits.

use std::time::Duration;

use tintype_core::picture::Format;
use tintype_core::request::{Draft, GenerateRequest};
use tintype_service::{AnonymousAccess, Caller, JobHandle, ServedFrom, ServiceSettings, Submission};
use tintype_testing::NullEngine;

use crate::{Bench, SECOND, draft, pass};

/// A request without a seed of its own, so that only a retry gets another's picture.
fn submission(bench: &Bench, retry: bool) -> Submission {
    Submission { retry, ..Submission::new(request(bench)) }
}

fn request(bench: &Bench) -> GenerateRequest {
    bench.request("x", 4)
}

async fn submit(bench: &Bench, retry: bool) -> JobHandle {
    let submission = submission(bench, retry);
    bench.service.submit(&Caller::anonymous(), submission).await.expect("accepted")
}

#[tokio::test(start_paused = true)]
async fn a_retry_gets_the_answer_that_was_lost() {
    let bench = Bench::new();
    let first = bench.generate(request(&bench)).await.expect("pictures");
    let retry = submit(&bench, true).await;
    assert_eq!((retry.source(), retry.id()), (ServedFrom::Stored, first.id));
    let image = retry.finished().await.expect("pictures");
    assert_eq!((&image.request, image.cost.map(|cost| cost.engine_ms)), (&first.request, Some(0)));
    // That answer may be lost too.
    assert_eq!(submit(&bench, true).await.id(), first.id);
    assert_eq!(bench.engine.started(), 1);

    let another = submit(&bench, false).await;
    assert_ne!(another.id(), first.id, "who does not retry means another picture");
    let joining = submit(&bench, true).await;
    assert_eq!((joining.source(), joining.id()), (ServedFrom::Joined, another.id()));
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_long_ago_has_arrived() {
    let settings = ServiceSettings { abandon_after: Duration::ZERO, ..ServiceSettings::default() };
    let bench = Bench::with(settings, NullEngine::new(SECOND));
    let first = bench.generate(request(&bench)).await.expect("pictures");
    assert_ne!(submit(&bench, true).await.id(), first.id);
}

#[tokio::test(start_paused = true)]
async fn what_was_left_behind_waits_to_be_collected() {
    let settings = ServiceSettings { abandon_after: Duration::ZERO, ..ServiceSettings::default() };
    let bench = Bench::with(settings, NullEngine::new(SECOND));
    let first = submit(&bench, false).await;
    let id = first.id();
    first.detach().await.expect("kept");
    drop(first);
    pass(10.0).await;
    let retry = submit(&bench, true).await;
    assert_eq!((retry.source(), retry.id()), (ServedFrom::Stored, id));
    retry.finished().await.expect("pictures");
    // That it was collected is written down beside the answer.
    pass(1.0).await;
    assert_ne!(submit(&bench, true).await.id(), id, "it was collected");
}

#[tokio::test(start_paused = true)]
async fn strangers_get_nothing_of_each_other() {
    let settings = ServiceSettings { anonymous: AnonymousAccess::Public, ..ServiceSettings::default() };
    let bench = Bench::with(settings, NullEngine::new(SECOND));
    let is_anonymous_public = bench.service.authenticate(None).await.expect("let in");
    let first =
        bench.service.generate(&is_anonymous_public, submission(&bench, false)).await.expect("pictures");
    let retry = bench.service.submit(&is_anonymous_public, submission(&bench, true)).await.expect("accepted");
    assert_ne!(retry.id(), first.id);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_may_have_the_files() {
    let bench = Bench::new();
    let two = Draft { n: Some(2), seed: Some(7), format: Some(Format::Png), ..draft("x", 1) };
    let request = bench.service.check(two).expect("valid");
    let handle = bench.submit(request.clone()).await.expect("accepted");
    let joining = bench.submit(request.clone()).await.expect("accepted");
    let (image, made) = handle.finished_with_files().await.expect("pictures");
    assert!(image.pictures.is_empty(), "no links were asked for");
    let colours: Vec<_> =
        made.iter().map(|file| tintype_picture::decode(file).expect("a PNG").rgb()[..3].to_vec()).collect();
    assert_eq!(colours, [[7, 0, 0], [8, 0, 0]]);
    assert_eq!(joining.finished_with_files().await.expect("pictures").1, made);
    // Later they come from the store.
    let stored = bench.submit(request).await.expect("accepted");
    assert_eq!(stored.source(), ServedFrom::Stored);
    assert_eq!(stored.finished_with_files().await.expect("pictures").1, made);
    assert_eq!(bench.engine.started(), 1);
}
