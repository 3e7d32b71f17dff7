//! A process crashes before or after each single write of a workload. Nevertheless every accepted job ends
//! and is charged once.

use std::collections::HashMap;
use std::num::NonZeroU32;

use super::faults::{CrashPoint, CrashingStore};
use super::*;

use tintype_ledger::job::OnWorkerLoss;
use tintype_ledger::policy::utc_day;
use tintype_testing::ledger::{
    MODEL, any_reuse, at, cost, key_id, lease, new_job, new_job_with_key, owner, succeeded,
};

/// The answers that a client received before the crash.
#[derive(Debug, Default)]
struct Answers {
    accepted: Vec<JobId>,
    by_key: HashMap<String, JobId>,
    ended: HashMap<JobId, Status>,
}

fn limited(new: NewJob) -> NewJob {
    let budgets = vec!["100s/day".parse().expect("a budget")];
    let reuse = any_reuse();
    NewJob { policy: Policy { concurrency: NonZeroU32::new(4), budgets, ..Policy::default() }, reuse, ..new }
}

async fn accept(ledger: &BucketLedger, new: NewJob, answers: &mut Answers) -> Result<JobRecord> {
    let key = new.idempotency.as_ref().map(|idempotency| idempotency.key.clone());
    let answer = ledger.accept(limited(new), at(answers.accepted.len() as i64)).await?;
    let job = answer.job().unwrap_or_else(|| panic!("not accepted: {answer:?}")).clone();
    answers.accepted.push(job.id);
    answers.by_key.extend(key.map(|key| (key, job.id)));
    Ok(job)
}

/// Runs several jobs. Returns at the first error: then the process has crashed.
async fn workload(ledger: &BucketLedger, answers: &mut Answers) -> Result<()> {
    let first = accept(ledger, new_job_with_key("acme", "a", "k1"), answers).await?;
    let second = accept(ledger, new_job("acme", "b"), answers).await?;
    accept(ledger, new_job_with_key("acme", "a", "k2"), answers).await?;
    let running = ledger.claim_next(MODEL, lease("w", 60), at(1)).await?.expect("a queued job");
    assert_eq!(running.id, first.id);
    let paid = NewJob { on_worker_loss: OnWorkerLoss::OutcomeUnknown, ..new_job_with_key("acme", "c", "k3") };
    let paid = accept(ledger, paid, answers).await?;
    ledger.heartbeat(&running.run(), at(90)).await?;
    ledger.finish(&running.run(), succeeded(running.id, 1), cost(), at(2)).await?;
    answers.ended.insert(running.id, Status::Succeeded);
    accept(ledger, new_job("acme", "a"), answers).await?;
    ledger.claim(&paid.owner, paid.id, lease("w", 60), at(3)).await?;
    ledger.cancel(&second.owner, second.id, at(4)).await?;
    answers.ended.insert(second.id, Status::Canceled);
    let last = accept(ledger, new_job("acme", "d"), answers).await?;
    ledger.claim(&last.owner, last.id, lease("w", 60), at(5)).await?;
    ledger.finish(&Run { number: 1, ..last.run() }, succeeded(last.id, 1), cost(), at(6)).await?;
    answers.ended.insert(last.id, Status::Succeeded);
    ledger.delete(&last.owner, last.id, at(7)).await?;
    Ok(())
}

/// Recovers in a new process, runs all queued jobs, and checks the jobs and the account.
async fn recover_and_check(store: Arc<MemoryStore>, answers: &Answers, what: &str) {
    let ledger = BucketLedger::new(store.clone(), fast_sleep());
    let later = at(3_600);
    ledger.recover(later, RecoveryScope::All).await.expect("recover");
    while let Some(job) = ledger.claim_next(MODEL, lease("next", 9_000), later).await.expect("claim") {
        ledger.finish(&job.run(), succeeded(job.id, 1), cost(), later).await.expect("finish");
    }
    for id in &answers.accepted {
        let job = ledger.job_record(&owner("acme"), *id).await.expect("get");
        let job = job.unwrap_or_else(|| panic!("{what}: {id} was accepted"));
        assert!(job.status.is_final(), "{what}: {job:?}");
        assert!(answers.ended.get(id).is_none_or(|status| *status == job.status), "{what}: {job:?}");
    }
    // The account contains each job once, including deleted jobs, and nothing else.
    let paths = ledger.store.list(&paths::jobs(&owner("acme")), None, 1_000).await.expect("list");
    let jobs = ledger.store.read_all::<JobRecord>(paths).await.expect("read");
    let charged: u64 = jobs.iter().filter_map(|(_, job)| job.cost).map(|cost| cost.engine_ms).sum();
    let record = ledger.account_record(&key_id("acme")).await.expect("read");
    let day = record.account.days.get(&utc_day(at(0))).cloned().unwrap_or_default();
    assert_eq!((day.spent.engine_ms, day.jobs), (charged, jobs.len() as u64), "{what}");
    assert_eq!((record.account.in_flight, day.reserved.is_zero()), (0, true), "{what}");
    assert_eq!(
        ledger.store.list(paths::OPEN_MARKERS, None, 10).await.expect("list"),
        Vec::<String>::new(),
        "{what}"
    );
    // A retry of an answered request gets the same job; a retry of another request gets some job.
    for (key, prompt) in [("k1", "a"), ("k2", "a"), ("k3", "c")] {
        let answer =
            ledger.accept(limited(new_job_with_key("acme", prompt, key)), at(3_601)).await.expect("accept");
        let job = answer.job().unwrap_or_else(|| panic!("{what}: {answer:?}"));
        assert!(answers.by_key.get(key).is_none_or(|id| *id == job.id), "{what}: {key}");
    }
}

#[test]
fn a_crash_at_any_write_loses_no_job_and_charges_once() {
    for crash in [CrashPoint::BeforeWrite, CrashPoint::AfterWrite] {
        let mut writes = 0;
        loop {
            let memory = Arc::new(MemoryStore::default());
            let store = Arc::new(CrashingStore::new(memory.clone(), writes, crash));
            let ledger = BucketLedger::new(store.clone(), fast_sleep());
            let mut answers = Answers::default();
            let result = block_on(workload(&ledger, &mut answers));
            block_on(recover_and_check(memory, &answers, &format!("{crash:?} {writes}")));
            if result.is_ok() && !store.has_crashed() {
                break;
            }
            writes += 1;
        }
        assert!(writes > 30, "the workload has only {writes} writes");
    }
}

#[test]
fn a_recovery_that_crashes_can_be_repeated() {
    for writes in 0..40 {
        let memory = Arc::new(MemoryStore::default());
        let mut answers = Answers::default();
        // The first process crashes late, with jobs in every state.
        let store = Arc::new(CrashingStore::new(memory.clone(), 30, CrashPoint::AfterWrite));
        let crashed = block_on(workload(&BucketLedger::new(store, fast_sleep()), &mut answers));
        assert!(crashed.is_err());
        let store = Arc::new(CrashingStore::new(memory.clone(), writes, CrashPoint::AfterWrite));
        let second = block_on(BucketLedger::new(store, fast_sleep()).recover(at(3_500), RecoveryScope::All));
        assert!(second.is_ok() || writes < 20, "{second:?}");
        block_on(recover_and_check(memory, &answers, &format!("write {writes} of the recovery")));
    }
}

#[test]
fn the_reservation_of_a_crashed_process_is_released() {
    let memory = Arc::new(MemoryStore::default());
    let one = |prompt: &str| NewJob {
        policy: Policy { concurrency: NonZeroU32::new(1), ..Policy::default() },
        ..new_job("acme", prompt)
    };
    // Crashes after the reservation and before the job record.
    let store = Arc::new(CrashingStore::new(memory.clone(), 1, CrashPoint::BeforeWrite));
    let crashed = block_on(BucketLedger::new(store, fast_sleep()).accept(one("a"), at(0)));
    assert!(matches!(crashed, Err(Error::Unavailable(_))), "{crashed:?}");
    let ledger = BucketLedger::new(memory, fast_sleep());
    let soon = block_on(ledger.accept(one("b"), at(60))).expect("accept");
    assert!(matches!(soon, Acceptance::LimitExceeded { .. }), "the job may still be written: {soon:?}");
    let later = block_on(ledger.accept(one("b"), at(301))).expect("accept");
    assert!(matches!(later, Acceptance::Accepted { .. }), "{later:?}");
}

#[test]
fn unreadable_and_newer_records_are_errors() {
    let memory = Arc::new(MemoryStore::default());
    let ledger = BucketLedger::new(memory.clone(), fast_sleep());
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
        put(r#"{"v":3,"write":"00000000-0000-0000-0000-000000000000","then":1}"#),
        Err(Error::NewerVersion { found: 3, .. })
    ));
}
