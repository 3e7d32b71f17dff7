//! The process dies at every single write of a day's work, heard or unheard: what was accepted ends, and everything
//! is charged once.

use std::collections::HashMap;
use std::num::NonZeroU32;

use super::faults::{Death, DyingStore};
use super::*;
use crate::accept::Reuse;
use crate::job::OnWorkerLoss;
use crate::policy::utc_day;
use crate::testing::{at, cost, key_id, lease, new_job, new_job_with_key, owner, succeeded};

/// What a client was told.
#[derive(Debug, Default)]
struct Told {
    accepted: Vec<JobId>,
    by_key: HashMap<String, JobId>,
    ended: HashMap<JobId, Status>,
}

fn limited(new: NewJob) -> NewJob {
    let budgets = vec!["100s/day".parse().expect("a budget")];
    let reuse = Reuse { in_flight: true, stored: true, retry: None };
    NewJob { policy: Policy { concurrency: NonZeroU32::new(4), budgets, rate: None }, reuse, ..new }
}

async fn accept(ledger: &BucketLedger, new: NewJob, told: &mut Told) -> Result<JobRecord> {
    let key = new.idempotency.as_ref().map(|given| given.key.clone());
    let answer = ledger.accept(limited(new), at(told.accepted.len() as i64)).await?;
    let job = answer.job().unwrap_or_else(|| panic!("let in: {answer:?}")).clone();
    told.accepted.push(job.id);
    told.by_key.extend(key.map(|key| (key, job.id)));
    Ok(job)
}

/// A day's work. Returns at the first error: then the process is dead.
async fn work(ledger: &BucketLedger, told: &mut Told) -> Result<()> {
    let first = accept(ledger, new_job_with_key("acme", "a", "k1"), told).await?;
    let second = accept(ledger, new_job("acme", "b"), told).await?;
    accept(ledger, new_job_with_key("acme", "a", "k2"), told).await?;
    let running = ledger.claim_next(lease("w", 60), at(1)).await?.expect("one waits");
    assert_eq!(running.id, first.id);
    let paid = NewJob { on_worker_loss: OnWorkerLoss::OutcomeUnknown, ..new_job_with_key("acme", "c", "k3") };
    let paid = accept(ledger, paid, told).await?;
    ledger.heartbeat(&running.run(), at(90)).await?;
    ledger.finish(&running.run(), succeeded(running.id, 1), cost(), at(2)).await?;
    told.ended.insert(running.id, Status::Succeeded);
    accept(ledger, new_job("acme", "a"), told).await?;
    ledger.claim(&paid.owner, paid.id, lease("w", 60), at(3)).await?;
    ledger.cancel(&second.owner, second.id, at(4)).await?;
    told.ended.insert(second.id, Status::Canceled);
    let last = accept(ledger, new_job("acme", "d"), told).await?;
    ledger.claim(&last.owner, last.id, lease("w", 60), at(5)).await?;
    ledger.finish(&last.run_of(1), succeeded(last.id, 1), cost(), at(6)).await?;
    told.ended.insert(last.id, Status::Succeeded);
    ledger.delete(&last.owner, last.id, at(7)).await?;
    Ok(())
}

impl JobRecord {
    fn run_of(&self, number: u32) -> Run {
        Run { number, ..self.run() }
    }
}

/// The next process: cleans up, runs what waits, and everything must add up.
async fn aftermath(store: Arc<MemoryStore>, told: &Told, what: &str) {
    let ledger = BucketLedger::new(store.clone(), quick());
    let later = at(3_600);
    ledger.recover(later, RecoveryScope::All).await.expect("recover");
    while let Some(job) = ledger.claim_next(lease("next", 9_000), later).await.expect("claim") {
        ledger.finish(&job.run(), succeeded(job.id, 1), cost(), later).await.expect("finish");
    }
    for id in &told.accepted {
        let job = ledger.record(&owner("acme"), *id).await.expect("get");
        let job = job.unwrap_or_else(|| panic!("{what}: {id} was accepted"));
        assert!(job.status.is_final(), "{what}: {job:?}");
        assert!(told.ended.get(id).is_none_or(|status| *status == job.status), "{what}: {job:?}");
    }
    // Every job there is, deleted ones included, charged once and nothing else.
    let paths = ledger.cells.list(&paths::jobs(&owner("acme")), None, 1_000).await.expect("list");
    let jobs = ledger.cells.read_all::<JobRecord>(paths).await.expect("read");
    let charged: u64 = jobs.iter().filter_map(|(_, job)| job.cost).map(|cost| cost.engine_ms).sum();
    let book = ledger.book(&key_id("acme")).await.expect("read");
    let day = book.account.days.get(&utc_day(at(0))).cloned().unwrap_or_default();
    assert_eq!((day.spent.engine_ms, day.jobs), (charged, jobs.len() as u64), "{what}");
    assert_eq!((book.account.in_flight, day.reserved.is_zero()), (0, true), "{what}");
    assert_eq!(ledger.cells.list(paths::OPEN, None, 10).await.expect("list"), Vec::<String>::new(), "{what}");
    // A retry of what was answered gets the same answer; of what was not, a job.
    for (key, prompt) in [("k1", "a"), ("k2", "a"), ("k3", "c")] {
        let answer =
            ledger.accept(limited(new_job_with_key("acme", prompt, key)), at(3_601)).await.expect("accept");
        let job = answer.job().unwrap_or_else(|| panic!("{what}: {answer:?}"));
        assert!(told.by_key.get(key).is_none_or(|id| *id == job.id), "{what}: {key}");
    }
}

#[test]
fn a_death_at_any_write_loses_nothing_and_charges_once() {
    for death in [Death::Before, Death::After] {
        let mut writes = 0;
        loop {
            let memory = Arc::new(MemoryStore::default());
            let store = Arc::new(DyingStore::new(memory.clone(), writes, death));
            let ledger = BucketLedger::new(store.clone(), quick());
            let mut told = Told::default();
            let worked = block_on(work(&ledger, &mut told));
            block_on(aftermath(memory, &told, &format!("{death:?} write {writes}")));
            if worked.is_ok() && !store.is_dead() {
                break;
            }
            writes += 1;
        }
        assert!(writes > 30, "a day's work has many writes, not {writes}");
    }
}

#[test]
fn a_recovery_that_dies_can_be_made_again() {
    for writes in 0..40 {
        let memory = Arc::new(MemoryStore::default());
        let mut told = Told::default();
        // The first process dies late, with work in every state.
        let store = Arc::new(DyingStore::new(memory.clone(), 30, Death::After));
        let died = block_on(work(&BucketLedger::new(store, quick()), &mut told));
        assert!(died.is_err());
        let store = Arc::new(DyingStore::new(memory.clone(), writes, Death::After));
        let second = block_on(BucketLedger::new(store, quick()).recover(at(3_500), RecoveryScope::All));
        assert!(second.is_ok() || writes < 20, "{second:?}");
        block_on(aftermath(memory, &told, &format!("recovery's write {writes}")));
    }
}

#[test]
fn a_limit_that_a_crash_left_taken_comes_free() {
    let memory = Arc::new(MemoryStore::default());
    let one = |prompt: &str| NewJob {
        policy: Policy { concurrency: NonZeroU32::new(1), ..Policy::default() },
        ..new_job("acme", prompt)
    };
    // Dies with the reservation written and the job not.
    let store = Arc::new(DyingStore::new(memory.clone(), 1, Death::Before));
    let died = block_on(BucketLedger::new(store, quick()).accept(one("a"), at(0)));
    assert!(matches!(died, Err(Error::Unavailable(_))), "{died:?}");
    let ledger = BucketLedger::new(memory, quick());
    let soon = block_on(ledger.accept(one("b"), at(60))).expect("accept");
    assert!(matches!(soon, Acceptance::LimitExceeded { .. }), "it may still be on its way: {soon:?}");
    let later = block_on(ledger.accept(one("b"), at(301))).expect("accept");
    assert!(matches!(later, Acceptance::Accepted { .. }), "{later:?}");
}

#[test]
fn what_is_read_is_checked() {
    let memory = Arc::new(MemoryStore::default());
    let ledger = BucketLedger::new(memory.clone(), quick());
    let id: KeyId = "0123456789abcdef".parse().expect("a name");
    let put = |text: &'static str| {
        let key = tintype_core::store::Key::new(paths::key(&id)).expect("a key");
        let object = tintype_core::store::NewObject { bytes: text.into(), content_type: "text/plain".into() };
        block_on(memory.put(&key, object)).expect("put");
        block_on(ledger.key(&id))
    };
    assert!(matches!(put("no json"), Err(Error::Corrupt { .. })));
    assert!(matches!(
        put(r#"{"v":1,"write":"00000000-0000-0000-0000-000000000000","record":{}}"#),
        Err(Error::Corrupt { .. })
    ));
    assert!(matches!(
        put(r#"{"v":2,"write":"00000000-0000-0000-0000-000000000000","then":1}"#),
        Err(Error::NewerVersion { found: 2, .. })
    ));
}
