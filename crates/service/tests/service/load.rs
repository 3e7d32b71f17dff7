//! Many clients at once that come, hang up and come again at random moments: whatever they do, everything adds up.

use std::collections::HashSet;
use std::time::Duration;

use tintype_core::store::ObjectStore;
use tintype_service::{Caller, ServiceError, ServiceSettings, Submission};
use tintype_testing::NullEngine;
use tokio::time::{sleep, timeout};

use crate::generating::key_of;
use crate::{Bench, SECOND};

#[tokio::test(start_paused = true)]
async fn everything_adds_up() {
    for seed in 0..20 {
        let settings = ServiceSettings { queue: 8, ..ServiceSettings::default() };
        let bench = Bench::with(settings, NullEngine::new(SECOND / 4).with_slots(3));
        let mut random = fastrand::Rng::with_seed(seed);
        let mut clients = Vec::new();
        for _ in 0..200 {
            let request = bench.request(["x", "y", "z"][random.usize(..3)], random.i64(1..40));
            let [arrival, patience] = [60_000, 20_000].map(|most| Duration::from_millis(random.u64(..most)));
            let service = bench.service.clone();
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
                    bench.store.head(&key).await.expect("whoever has a link has a picture");
                    assert!(answered.insert(finished.id), "two who never waited together have one picture");
                }
                Ok(Err(ServiceError::QueueFull { .. })) => full += 1,
                Ok(Err(error)) => panic!("{error}"),
                Err(_hung_up) => {}
            }
        }
        assert!(full > 0 && !answered.is_empty(), "the storm was one: {full} {}", answered.len());
        assert!(bench.engine.finished() >= answered.len() as u64);
        // Whatever is left is nobody's: it ends by itself, and every slot works again.
        timeout(SECOND * 30, bench.generate(bench.request("after", 1)))
            .await
            .expect("a free slot")
            .expect("a picture");
        bench.service.drain(SECOND * 60).await;
        let (engine, store) =
            (std::sync::Arc::downgrade(&bench.engine), std::sync::Arc::downgrade(&bench.store));
        drop(bench);
        sleep(SECOND).await;
        assert_eq!((engine.strong_count(), store.strong_count()), (0, 0));
    }
}
