//! Many clients that come and disconnect at random moments: the service stays consistent.

use std::collections::HashSet;
use std::time::Duration;

use tintype_core::store::ObjectStore;
use tintype_service::{Caller, ServiceError, ServiceSettings, Submission};
use tintype_testing::NullEngine;
use tokio::time::{sleep, timeout};

use crate::generating::key_of;
use crate::{Harness, SECOND};

#[tokio::test(start_paused = true)]
async fn random_arrivals_and_disconnects_leave_a_consistent_service() {
    for seed in 0..20 {
        let settings = ServiceSettings { queue: 8, ..ServiceSettings::default() };
        let harness = Harness::with(settings, NullEngine::new(SECOND / 4).with_slots(3));
        let mut random = fastrand::Rng::with_seed(seed);
        let mut clients = Vec::new();
        for _ in 0..200 {
            let request = harness.request(["x", "y", "z"][random.usize(..3)], random.i64(1..40));
            let [arrival, patience] = [60_000, 20_000].map(|most| Duration::from_millis(random.u64(..most)));
            let service = harness.service.clone();
            let submission = Submission::new(request);
            clients.push(tokio::spawn(async move {
                sleep(arrival).await;
                timeout(patience, service.generate(&Caller::anonymous(), submission)).await
            }));
        }
        let mut answered = HashSet::new();
        let mut full = 0;
        for client in clients {
            match client.await.expect("no panic") {
                Ok(Ok(finished)) => {
                    let key = key_of(&finished.pictures[0]);
                    harness.store.head(&key).await.expect("every link leads to an image");
                    assert!(
                        answered.insert(finished.id),
                        "two clients that did not wait together got the same job"
                    );
                }
                Ok(Err(ServiceError::QueueFull { .. })) => full += 1,
                Ok(Err(error)) => panic!("{error}"),
                Err(_hung_up) => {}
            }
        }
        assert!(full > 0 && !answered.is_empty(), "both outcomes must occur: {full} {}", answered.len());
        assert!(harness.engine.finished() >= answered.len() as u64);
        // Orphaned jobs end by themselves, and every slot is free again.
        timeout(SECOND * 30, harness.generate(harness.request("after", 1)))
            .await
            .expect("a free slot")
            .expect("a picture");
        harness.service.drain(SECOND * 60).await;
        let (engine, store) =
            (std::sync::Arc::downgrade(&harness.engine), std::sync::Arc::downgrade(&harness.store));
        drop(harness);
        sleep(SECOND).await;
        assert_eq!((engine.strong_count(), store.strong_count()), (0, 0));
    }
}
