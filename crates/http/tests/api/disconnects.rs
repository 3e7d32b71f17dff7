//! A disconnected client stops its job, and a retry joins it.

use std::time::Duration;

use tintype_service::ServiceSettings;
use tintype_testing::NullEngine;
use tokio::time::timeout;

use crate::TestServer;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_dropped_request_stops_its_job() {
    let server = TestServer::with(ServiceSettings::default(), NullEngine::new(SECOND));
    let hung_up = timeout(SECOND * 5, server.get("/generate?prompt=x&steps=100")).await;
    assert!(hung_up.is_err(), "it takes 100 s");
    // No client joins the job within 10 s, so the next job starts long before the first would have ended.
    let next =
        timeout(SECOND * 20, server.get("/generate?prompt=y&steps=1")).await.expect("the job ends in time");
    assert_eq!((next.status().as_u16(), server.engine.started(), server.engine.finished()), (200, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_retry_joins_the_job_of_the_first_attempt() {
    let server = TestServer::with(ServiceSettings::default(), NullEngine::new(SECOND));
    let path = "/generate?prompt=x&steps=30";
    assert!(timeout(SECOND * 25, server.get(path)).await.is_err(), "it takes 30 s");
    let response = timeout(SECOND * 6, server.get(path)).await.expect("the job ends in time");
    assert_eq!((response.status().as_u16(), server.engine.started()), (200, 1));
}
