//! A process that stalls in the middle of accepting a job, and another that goes on in its place.

use super::faults::{Death, DyingStore, HookedStore};
use super::*;
use crate::accept::Reuse;
use crate::testing::{at, lease, new_job, new_job_with_key, usage_today};

/// Accepts on another process, which must let the job in or find it.
fn meanwhile(store: &Arc<MemoryStore>, new: NewJob) -> Box<dyn FnOnce() + Send> {
    let ledger = BucketLedger::new(store.clone(), quick());
    Box::new(move || {
        let answer = block_on(ledger.accept(new, at(1))).expect("accept");
        assert!(matches!(answer, Acceptance::Accepted { .. }), "{answer:?}");
    })
}

#[test]
fn who_comes_second_gives_back_what_it_reserved() {
    let memory = Arc::new(MemoryStore::default());
    let new = || NewJob { reuse: Reuse::default(), ..new_job_with_key("acme", "a", "k") };
    let store = HookedStore::before(memory.clone(), "jobs/by-owner/", meanwhile(&memory, new()));
    let ledger = BucketLedger::new(Arc::new(store), quick());
    let answer = block_on(ledger.accept(new(), at(0))).expect("accept");
    let Acceptance::Replayed { job } = answer else { panic!("{answer:?}") };
    assert_eq!(job.created, at(1), "the other one's");
    let used = block_on(usage_today(&ledger, "acme"));
    assert_eq!((used.jobs, used.reserved.engine_ms), (1, 1_000), "{used:?}");
    assert_eq!(block_on(ledger.jobs(&job.owner, None, 9)).expect("list").jobs, [job]);
}

#[test]
fn who_lost_its_signpost_looks_again() {
    let memory = Arc::new(MemoryStore::default());
    let reuse = Reuse { in_flight: true, ..Reuse::default() };
    let new = || NewJob { reuse, ..new_job_with_key("acme", "a", "k") };
    let store = HookedStore::before(memory.clone(), "jobs/same/", meanwhile(&memory, new()));
    let ledger = BucketLedger::new(Arc::new(store), quick());
    let answer = block_on(ledger.accept(new(), at(0))).expect("accept");
    let Acceptance::Replayed { job } = answer else { panic!("{answer:?}") };
    let used = block_on(usage_today(&ledger, "acme"));
    assert_eq!((used.jobs, used.joined, used.reserved.engine_ms), (1, 0, 1_000), "{used:?}");
    assert_eq!(block_on(ledger.jobs(&job.owner, None, 9)).expect("list").jobs, [job]);
}

#[test]
fn what_was_reserved_unheard_is_not_reserved_again() {
    let memory = Arc::new(MemoryStore::default());
    // The other process writes the same account between the write and its repetition.
    let store = HookedStore::unheard(memory.clone(), "usage/", meanwhile(&memory, new_job("acme", "b")));
    let ledger = BucketLedger::new(Arc::new(store), quick());
    let answer = block_on(ledger.accept(new_job("acme", "a"), at(0))).expect("accept");
    assert!(matches!(answer, Acceptance::Accepted { .. }), "{answer:?}");
    let used = block_on(usage_today(&ledger, "acme"));
    assert_eq!((used.jobs, used.reserved.engine_ms), (2, 2_000), "{used:?}");
}

#[test]
fn a_recovery_does_not_hide_a_job_that_is_just_being_made() {
    let memory = Arc::new(MemoryStore::default());
    // Somebody announces a job and dies.
    let dying = Arc::new(DyingStore::new(memory.clone(), 1, Death::Before));
    let died = block_on(BucketLedger::new(dying, quick()).accept(new_job_with_key("acme", "a", "k"), at(0)));
    assert!(died.is_err(), "{died:?}");
    // Somebody else makes it in his place, much later; a recovery finds the mark and no job.
    let other = BucketLedger::new(memory.clone(), quick());
    let recovery = Box::new(move || {
        let found = block_on(other.recover(at(900), RecoveryScope::ExpiredLeases)).expect("recover");
        assert_eq!(found, Recovered::default());
    });
    let store = HookedStore::before(memory.clone(), "jobs/by-owner/", recovery);
    let accepted = block_on(
        BucketLedger::new(Arc::new(store), quick()).accept(new_job_with_key("acme", "a", "k"), at(900)),
    );
    let Ok(Acceptance::Accepted { job, .. }) = accepted else { panic!("{accepted:?}") };
    assert!(job.id.created() < at(1), "under the name that was announced");
    let next =
        block_on(BucketLedger::new(memory, quick()).claim_next(lease("w", 999), at(901))).expect("claim");
    assert_eq!(next.map(|next| next.id), Some(job.id));
}
