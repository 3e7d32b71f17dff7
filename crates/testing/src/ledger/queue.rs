//! The queue: order within an owner, turns of owners, positions.

use std::collections::BTreeMap;

use super::{MODEL, accepted, at, completed, cost, lease, new_job, owner, succeeded};
use tintype_ledger::accept::{Acceptance, NewJob, QueueLimit};
use tintype_ledger::job::{JobRecord, Reason, Status};
use tintype_ledger::{Ledger, Load};

pub(super) async fn contract(ledger: &dyn Ledger) {
    assert_eq!(next(ledger, 0).await, None, "the queue is empty at the start");
    an_owners_jobs_are_claimed_in_order(ledger).await;
    owners_take_turns(ledger).await;
    the_owner_with_fewer_running_jobs_comes_first(ledger).await;
    jobs_past_their_deadline_are_skipped(ledger).await;
    a_job_starts_with_the_lease_of_a_ready_worker(ledger).await;
    each_model_has_a_queue_of_its_own(ledger).await;
    assert_eq!(next(ledger, 0).await, None, "the queue is empty at the end");
    assert_eq!(ledger.load().await.expect("load"), BTreeMap::new());
}

async fn next(ledger: &dyn Ledger, seconds: i64) -> Option<JobRecord> {
    ledger.claim_next(MODEL, lease("w", seconds + 60), at(seconds)).await.expect("claim")
}

async fn load(ledger: &dyn Ledger, model: &str) -> Load {
    ledger.load().await.expect("load").get(model).copied().unwrap_or_default()
}

async fn end(ledger: &dyn Ledger, running: &JobRecord, seconds: i64) {
    ledger.finish(&running.run(), succeeded(running.id, 1), cost(), at(seconds)).await.expect("finish");
}

async fn an_owners_jobs_are_claimed_in_order(ledger: &dyn Ledger) {
    let mut jobs = Vec::new();
    for i in 0..5 {
        jobs.push(accepted(ledger, new_job("line", "a"), i).await);
    }
    for (place, job) in jobs.iter().enumerate() {
        let position = ledger.position(&job.owner, job.id).await.expect("position");
        assert_eq!(position, Some(place as u64));
    }
    let other_owner = ledger.position(&owner("else"), jobs[0].id).await.expect("position");
    assert_eq!(other_owner, None);
    for job in &jobs {
        let running = next(ledger, 10).await.expect("a queued job");
        assert_eq!((running.id, running.status, running.runs), (job.id, Status::Running, 1));
        assert_eq!(
            ledger.position(&job.owner, job.id).await.expect("position"),
            None,
            "the job is not queued any more"
        );
        end(ledger, &running, 11).await;
    }
}

async fn owners_take_turns(ledger: &dyn Ledger) {
    let mut waiting = Vec::new();
    for (i, name) in ["many", "many", "many", "many", "many", "one", "two", "two"].into_iter().enumerate() {
        waiting.push(accepted(ledger, new_job(name, "a"), 20 + i as i64).await);
    }
    let mut places = Vec::new();
    for job in &waiting {
        let place = ledger.position(&job.owner, job.id).await.expect("position").expect("a queued job");
        places.push((place, job.id));
    }
    places.sort_unstable();
    let mut taken = Vec::new();
    // One worker: each job ends before the next is claimed.
    while let Some(running) = next(ledger, 40).await {
        taken.push(running.id);
        end(ledger, &running, 41).await;
    }
    let expected: Vec<_> = places.iter().map(|(_, id)| *id).collect();
    assert_eq!(taken, expected, "jobs are claimed in the order of their positions");
    assert!(places.iter().enumerate().all(|(i, (place, _))| *place == i as u64), "{places:?}");
    let one = waiting.iter().position(|job| job.owner == owner("one")).map(|i| waiting[i].id);
    let place = taken.iter().position(|id| Some(*id) == one);
    assert!(
        place.is_some_and(|place| place < 3),
        "at most one job of each other owner comes first: {place:?}"
    );
}

async fn the_owner_with_fewer_running_jobs_comes_first(ledger: &dyn Ledger) {
    for i in 0..3 {
        accepted(ledger, new_job("busy", "a"), 50 + i).await;
    }
    let first = next(ledger, 55).await.expect("a queued job");
    let second = next(ledger, 55).await.expect("a queued job");
    assert_eq!(load(ledger, MODEL).await, Load { queued: 1, running: 2 });
    let idle = accepted(ledger, new_job("idle", "a"), 56).await;
    let idle_too = accepted(ledger, new_job("idle", "b"), 57).await;
    let mut taken = Vec::new();
    for _ in 0..3 {
        taken.push(next(ledger, 58).await.expect("a queued job"));
    }
    let owners: Vec<_> = taken.iter().map(|job| job.owner.as_str()).collect();
    assert_eq!(owners, ["idle", "idle", "busy"]);
    assert_eq!((taken[0].id, taken[1].id), (idle.id, idle_too.id));
    for job in taken.iter().chain([&first, &second]) {
        end(ledger, job, 59).await;
    }
}

async fn jobs_past_their_deadline_are_skipped(ledger: &dyn Ledger) {
    let late = accepted(ledger, NewJob { deadline: Some(at(70)), ..new_job("hurry", "a") }, 60).await;
    let patient = accepted(ledger, new_job("hurry", "b"), 61).await;
    let running = next(ledger, 70).await.expect("a queued job");
    assert_eq!(running.id, patient.id);
    let failed = ledger.job(&late.owner, late.id).await.expect("get").expect("a job");
    assert_eq!(failed.status, Status::Failed(Reason::Deadline));
    end(ledger, &running, 71).await;
    let last = accepted(ledger, new_job("hurry", "c"), 72).await;
    completed(ledger, &last, 73).await;
}

/// A ledger that cannot check cheaply whether other jobs are queued may queue the job instead.
async fn a_job_starts_with_the_lease_of_a_ready_worker(ledger: &dyn Ledger) {
    let ready = |prompt| NewJob { start_with: Some(lease("ready", 200)), ..new_job("ready", prompt) };
    let job = accepted(ledger, ready("a"), 80).await;
    let running = match job.status {
        Status::Queued => next(ledger, 80).await.expect("a queued job"),
        _ => job,
    };
    assert_eq!((running.status, running.runs, running.started), (Status::Running, 1, Some(at(80))));
    assert_eq!(ledger.job(&running.owner, running.id).await.expect("get"), Some(running.clone()));
    assert_eq!(load(ledger, MODEL).await, Load { queued: 0, running: 1 });
    let waiting = accepted(ledger, new_job("patient", "a"), 81).await;
    let behind = accepted(ledger, ready("b"), 82).await;
    assert_eq!(behind.status, Status::Queued, "another job is queued");
    for _ in 0..2 {
        let running = next(ledger, 83).await.expect("a queued job");
        assert!([waiting.id, behind.id].contains(&running.id));
        end(ledger, &running, 84).await;
    }
    end(ledger, &running, 85).await;
}

async fn each_model_has_a_queue_of_its_own(ledger: &dyn Ledger) {
    let of = |model: &str, prompt| NewJob { model: model.to_owned(), ..new_job("two", prompt) };
    let limit = Some(QueueLimit { per_owner: 1, total: 1 });
    let slow = accepted(ledger, of("slow", "a"), 90).await;
    let full = ledger.accept(NewJob { queue: limit, ..of("slow", "b") }, at(91)).await.expect("accept");
    assert_eq!(full, Acceptance::QueueFull);
    let fast = accepted(ledger, NewJob { queue: limit, ..of("org/fast", "b") }, 91).await;
    assert_eq!(fast.model(), "org/fast");
    let ready = NewJob { start_with: Some(lease("ready", 200)), ..of("third", "c") };
    let started = accepted(ledger, ready, 92).await;
    for (job, position) in [(&slow, 0), (&fast, 0)] {
        assert_eq!(ledger.position(&job.owner, job.id).await.expect("position"), Some(position));
    }
    let queued = Load { queued: 1, running: 0 };
    assert_eq!((load(ledger, "slow").await, load(ledger, "org/fast").await), (queued, queued));
    assert_eq!(next(ledger, 93).await, None, "no job of this model is queued");
    for (model, job) in [("org/fast", &fast), ("slow", &slow), ("third", &started)] {
        let claimed = match ledger.claim_next(model, lease("w", 160), at(94)).await.expect("claim") {
            Some(claimed) => claimed,
            None => started.clone(),
        };
        assert_eq!(claimed.id, job.id);
        end(ledger, &claimed, 95).await;
    }
}
