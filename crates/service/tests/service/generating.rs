//! Requests end in stored images with links.

use tintype_core::engine::Progress;
use tintype_core::picture::Format;
use tintype_core::request::Draft;
use tintype_core::store::{Key, ObjectStore};
use tintype_service::{JobState, LinkedPicture, ServiceSettings};
use tintype_testing::NullEngine;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{Harness, SECOND, draft, wait_seconds};

/// The key in the store in memory that a link leads to.
pub(crate) fn key_of(picture: &LinkedPicture) -> Key {
    let path = picture.url.strip_prefix("memory:").and_then(|rest| rest.split('?').next());
    Key::new(path.expect("a link to the store in memory")).expect("a key")
}

#[tokio::test(start_paused = true)]
async fn an_image_is_stored_and_its_link_signed() {
    let harness = Harness::new();
    for (format, extension, content_type) in [
        (Format::Jpeg, "jpg", "image/jpeg"),
        (Format::Png, "png", "image/png"),
        (Format::Webp, "webp", "image/webp"),
    ] {
        let draft =
            Draft { format: Some(format), seed: Some(7), expires_in: Some(60), ..draft("a tiger", 4) };
        let request = harness.service.check(None, draft).expect("valid");
        let finished = harness.generate(request).await.expect("a picture");

        let [image] = finished.pictures.as_slice() else { panic!("one picture") };
        assert_eq!((image.seed, image.width, image.height, image.format), (7, 64, 64, format));
        assert_eq!(finished.cost.map(|cost| cost.engine_ms), Some(4_000));
        assert_eq!(finished.id.uuid().get_version_num(), 7);

        let key = key_of(image);
        let parts: Vec<_> = key.as_str().split('/').collect();
        let [images, year, month, day, name] = parts.as_slice() else { panic!("{key}") };
        assert_eq!((*images, year.len(), month.len(), day.len()), ("images", 4, 2, 2));
        assert_eq!(*name, format!("{}.{extension}", finished.id));

        let object = harness.store.get(&key, None).await.expect("it is stored");
        assert_eq!(object.meta.content_type, content_type);
        assert!(!object.bytes.is_empty());
        assert_eq!(image.url, format!("memory:{key}?expires_in=60"));
    }
}

#[tokio::test(start_paused = true)]
async fn several_images_have_consecutive_seeds_and_their_own_keys() {
    let harness = Harness::new();
    let draft = Draft { n: Some(3), seed: Some(10), ..draft("tigers", 2) };
    let request = harness.service.check(None, draft).expect("valid");
    let finished = harness.generate(request).await.expect("pictures");
    let seeds: Vec<_> = finished.pictures.iter().map(|image| image.seed).collect();
    assert_eq!(seeds, [10, 11, 12]);
    let listing = harness.store.list("images/", None, 10).await.expect("list");
    let mut keys: Vec<_> = finished.pictures.iter().map(key_of).collect();
    keys.sort();
    assert_eq!(listing.objects.into_iter().map(|object| object.key).collect::<Vec<_>>(), keys);
    for key in keys {
        let name = key.as_str().rsplit_once('/').expect("a path").1.strip_suffix(".jpg").expect("a JPEG");
        assert_eq!(Uuid::parse_str(name).expect("an id").get_version_num(), 7);
    }
}

#[tokio::test(start_paused = true)]
async fn a_seed_is_drawn_below_two_to_the_32_when_none_is_given() {
    let harness = Harness::new();
    let seeds: Vec<_> = (0..8).map(|_| harness.request("x", 1).seed.value()).collect();
    assert!(seeds.iter().all(|&seed| seed < 1 << 32));
    assert!(seeds.iter().any(|&seed| seed != seeds[0]), "{seeds:?}");
}

#[tokio::test(start_paused = true)]
async fn the_states_report_progress() {
    let harness = Harness::new();
    let ahead = harness.client("first", 2);
    wait_seconds(0.5).await;
    let handle = harness.submit(harness.request("second", 2)).await.expect("accepted");
    let mut states = handle.states();
    assert!(matches!(*states.borrow_and_update(), JobState::Queued));
    let mut seen = Vec::new();
    while states.changed().await.is_ok() {
        let state = states.borrow_and_update().clone();
        if let JobState::Running(progress) = state {
            seen.push(progress);
        }
        if state.is_final() {
            break;
        }
    }
    assert!(seen.contains(&Progress::Step { done: 1, of: 2 }), "{seen:?}");
    let cost = handle.finished().await.expect("a picture").cost;
    assert_eq!(cost.map(|cost| cost.engine_ms), Some(2_000));
    ahead.await.expect("no panic").expect("a picture");
}

#[tokio::test(start_paused = true)]
async fn as_many_run_at_a_time_as_the_engine_has_slots() {
    for (slots, seconds) in [(1, 8), (2, 4), (4, 2)] {
        let engine = NullEngine::new(SECOND).with_slots(slots);
        let harness = Harness::with(ServiceSettings::default(), engine);
        let began = Instant::now();
        let clients: Vec<_> = (0..4).map(|_| harness.client("x", 2)).collect();
        for client in clients {
            client.await.expect("no panic").expect("a picture");
        }
        assert_eq!(began.elapsed().as_secs(), seconds, "{slots} slots");
    }
}
