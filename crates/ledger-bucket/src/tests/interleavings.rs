//! A process accepts a job, and another process acts between two of its writes.

use super::faults::{CrashPoint, CrashingStore, HookedStore};
use super::*;
use tintype_ledger::accept::Reuse;
use tintype_testing::ledger::{MODEL, at, lease, new_job, new_job_with_key, usage_today};

/// Accepts a job in another process.
fn accept_elsewhere(store: &Arc<MemoryStore>, new: NewJob) -> Box<dyn FnOnce() + Send> {
    let ledger = BucketLedger::new(store.clone(), fast_sleep());
    Box::new(move || {
        let answer = block_on(ledger.accept(new, at(1))).expect("accept");
        assert!(matches!(answer, Acceptance::Accepted { .. }), "{answer:?}");
    })
}

#[test]
fn the_second_creator_of_a_job_releases_its_reservation() {
    let memory = Arc::new(MemoryStore::default());
    let new = || NewJob { reuse: Reuse::default(), ..new_job_with_key("acme", "a", "k") };
    let store = HookedStore::before_write(memory.clone(), "jobs/by-owner/", accept_elsewhere(&memory, new()));
    let ledger = BucketLedger::new(Arc::new(store), fast_sleep());
    let answer = block_on(ledger.accept(new(), at(0))).expect("accept");
    let Acceptance::Replayed { job } = answer else { panic!("{answer:?}") };
    assert_eq!(job.created, at(1), "the other process's job");
    let used = block_on(usage_today(&ledger, "acme"));
    assert_eq!((used.jobs, used.reserved.engine_ms), (1, 1_000), "{used:?}");
    assert_eq!(block_on(ledger.jobs(&job.owner, None, 9)).expect("list").jobs, [job]);
}

#[test]
fn a_request_whose_pointer_was_overwritten_starts_again() {
    let memory = Arc::new(MemoryStore::default());
    let reuse = Reuse { in_flight: true, ..Reuse::default() };
    let new = || NewJob { reuse, ..new_job_with_key("acme", "a", "k") };
    let store = HookedStore::before_write(memory.clone(), "jobs/same/", accept_elsewhere(&memory, new()));
    let ledger = BucketLedger::new(Arc::new(store), fast_sleep());
    let answer = block_on(ledger.accept(new(), at(0))).expect("accept");
    let Acceptance::Replayed { job } = answer else { panic!("{answer:?}") };
    let used = block_on(usage_today(&ledger, "acme"));
    assert_eq!((used.jobs, used.joined, used.reserved.engine_ms), (1, 0, 1_000), "{used:?}");
    assert_eq!(block_on(ledger.jobs(&job.owner, None, 9)).expect("list").jobs, [job]);
}

#[test]
fn a_reservation_whose_answer_was_lost_is_not_repeated() {
    let memory = Arc::new(MemoryStore::default());
    // The other process writes the same account between the first attempt and its repetition.
    let store =
        HookedStore::after_write(memory.clone(), "usage/", accept_elsewhere(&memory, new_job("acme", "b")));
    let ledger = BucketLedger::new(Arc::new(store), fast_sleep());
    let answer = block_on(ledger.accept(new_job("acme", "a"), at(0))).expect("accept");
    assert!(matches!(answer, Acceptance::Accepted { .. }), "{answer:?}");
    let used = block_on(usage_today(&ledger, "acme"));
    assert_eq!((used.jobs, used.reserved.engine_ms), (2, 2_000), "{used:?}");
}

#[test]
fn a_recovery_keeps_the_marker_of_a_job_that_is_being_created() {
    let memory = Arc::new(MemoryStore::default());
    // A process writes a pointer to a job and crashes.
    let crashing = Arc::new(CrashingStore::new(memory.clone(), 1, CrashPoint::BeforeWrite));
    let crashed =
        block_on(BucketLedger::new(crashing, fast_sleep()).accept(new_job_with_key("acme", "a", "k"), at(0)));
    assert!(crashed.is_err(), "{crashed:?}");
    // Much later another process creates the job, and at that moment a recovery finds the marker without a
    // job.
    let other = BucketLedger::new(memory.clone(), fast_sleep());
    let recovery = Box::new(move || {
        let found = block_on(other.recover(at(900), RecoveryScope::ExpiredLeases)).expect("recover");
        assert_eq!(found, Recovered::default());
    });
    let store = HookedStore::before_write(memory.clone(), "jobs/by-owner/", recovery);
    let accepted = block_on(
        BucketLedger::new(Arc::new(store), fast_sleep()).accept(new_job_with_key("acme", "a", "k"), at(900)),
    );
    let Ok(Acceptance::Accepted { job, .. }) = accepted else { panic!("{accepted:?}") };
    assert!(job.id.created() < at(1), "the id in the pointer");
    let next = block_on(BucketLedger::new(memory, fast_sleep()).claim_next(MODEL, lease("w", 999), at(901)))
        .expect("claim");
    assert_eq!(next.map(|next| next.id), Some(job.id));
}
