//! Remote jobs: a remote service works on them, even if the worker that submitted them dies.

use super::{MODEL, accepted, at, claimed, cost, lease, new_job, succeeded, usage_today};
use tintype_ledger::accept::NewJob;
use tintype_ledger::job::{JobRecord, MAX_REMOTE_RUNS, OnWorkerLoss, Outcome, Reason, RecoveryScope, Status};
use tintype_ledger::money::Spend;
use tintype_ledger::{ClaimReply, FinishReply, HeartbeatReply, Ledger};

const RECEIPT: &str = "the location of the result";

pub(super) async fn contract(ledger: &dyn Ledger) {
    a_remote_job_survives_its_worker(ledger).await;
    workers_may_take_turns_with_a_remote_job(ledger).await;
    a_remote_job_has_no_deadline(ledger).await;
    a_canceled_remote_job_is_charged(ledger).await;
    a_canceled_remote_job_is_not_queued_again(ledger).await;
    a_remote_job_that_crashes_its_worker_fails_in_the_end(ledger).await;
}

/// A job whose call to the remote service is paid.
fn paid(name: &str) -> NewJob {
    NewJob { on_worker_loss: OnWorkerLoss::OutcomeUnknown, ..new_job(name, "a") }
}

/// Accepts and claims this job, and saves its receipt.
async fn remote(ledger: &dyn Ledger, new: NewJob, second: i64) -> JobRecord {
    let job = accepted(ledger, new, second).await;
    let running = claimed(ledger, &job, second).await;
    for _ in 0..2 {
        assert!(
            ledger.save_receipt(&running.run(), RECEIPT).await.expect("save the receipt"),
            "also a second time"
        );
    }
    let stored = ledger.job(&job.owner, job.id).await.expect("get").expect("a job");
    assert_eq!(stored, JobRecord { receipt: Some(RECEIPT.into()), ..running });
    stored
}

async fn a_remote_job_survives_its_worker(ledger: &dyn Ledger) {
    let job = remote(ledger, paid("elsewhere"), 0).await;
    let found = ledger.recover(at(1), RecoveryScope::All).await.expect("recover");
    assert_eq!(found.requeued.iter().map(|job| job.id).collect::<Vec<_>>(), [job.id]);
    assert!(found.requeued[0].is_remote() && found.ended.is_empty());
    assert!(
        !ledger.save_receipt(&job.run(), "another").await.expect("save the receipt"),
        "the run has lost its lease"
    );
    let again = claimed(ledger, &job, 2).await;
    assert_eq!((again.runs, again.receipt.as_deref(), again.started), (2, Some(RECEIPT), Some(at(0))));
    assert!(!ledger.save_receipt(&job.run(), "another").await.expect("save the receipt"));
    // The lease expires at 62 s.
    let reconciled = ledger.reconcile(&job.owner, job.id, at(62)).await.expect("reconcile").expect("a job");
    assert!(reconciled.is_remote());
    let third = claimed(ledger, &job, 63).await;
    let late = ledger.finish(&again.run(), succeeded(job.id, 1), cost(), at(64)).await.expect("finish");
    assert_eq!(late, FinishReply::Stale, "the run has lost its lease");
    let end = ledger.finish(&third.run(), succeeded(job.id, 1), cost(), at(65)).await.expect("finish");
    let FinishReply::Recorded(ended) = end else { panic!("{end:?}") };
    assert_eq!((ended.status, ended.receipt), (Status::Succeeded, None));
    let used = usage_today(ledger, "elsewhere").await;
    assert_eq!((used.spent.engine_ms, used.reserved.is_zero()), (700, true), "charged once");
}

async fn workers_may_take_turns_with_a_remote_job(ledger: &dyn Ledger) {
    let job = remote(ledger, paid("turns"), 0).await;
    assert!(ledger.release(&job.run(), at(1)).await.expect("release"));
    for second in 2..2 + 2 * i64::from(MAX_REMOTE_RUNS) {
        let running = claimed(ledger, &job, second).await;
        assert_eq!((running.runs, running.receipt.as_deref()), (1, Some(RECEIPT)));
        assert!(ledger.release(&running.run(), at(second)).await.expect("release"));
    }
    let claim =
        ledger.claim_next(MODEL, lease("w", 200), at(100)).await.expect("claim").expect("a queued job");
    assert_eq!(claim.id, job.id);
    ledger.finish(&claim.run(), succeeded(job.id, 1), cost(), at(101)).await.expect("finish");
    assert_eq!(usage_today(ledger, "turns").await.spent.engine_ms, 700);
}

async fn a_remote_job_has_no_deadline(ledger: &dyn Ledger) {
    let urgent = NewJob { deadline: Some(at(10)), ..paid("not-late") };
    let job = remote(ledger, urgent, 0).await;
    ledger.release(&job.run(), at(1)).await.expect("release");
    let reconciled = ledger.reconcile(&job.owner, job.id, at(20)).await.expect("reconcile").expect("a job");
    assert!(reconciled.is_remote());
    let running = claimed(ledger, &job, 21).await;
    ledger.finish(&running.run(), succeeded(job.id, 1), cost(), at(22)).await.expect("finish");
}

async fn a_canceled_remote_job_is_charged(ledger: &dyn Ledger) {
    // The job reserves 1 s for 0.01 usd.
    for (second, spent, amount) in [(0, 0, "0usd"), (10, 1_000, "0.01usd")] {
        let job = remote(ledger, paid("no-return"), 0).await;
        ledger.release(&job.run(), at(0)).await.expect("release");
        let canceled = ledger.cancel(&job.owner, job.id, at(second)).await.expect("cancel").expect("a job");
        let cost = Spend { engine_ms: spent, amount: amount.parse().ok() };
        assert_eq!((canceled.status, canceled.cost), (Status::Canceled, Some(cost)));
        assert_eq!(canceled.receipt, None);
    }
    let job = remote(ledger, paid("no-return"), 0).await;
    ledger.release(&job.run(), at(0)).await.expect("release");
    ledger.delete(&job.owner, job.id, at(10)).await.expect("delete").expect("a job");
    let claim = ledger.claim(&job.owner, job.id, lease("w", 99), at(11)).await.expect("claim");
    assert_eq!(claim, ClaimReply::NotFound);
    let used = usage_today(ledger, "no-return").await;
    assert_eq!(
        (used.spent.engine_ms, used.reserved.is_zero()),
        (2_000, true),
        "charged for the elapsed time"
    );
}

async fn a_canceled_remote_job_is_not_queued_again(ledger: &dyn Ledger) {
    let name = "stops-there";
    let job = remote(ledger, paid(name), 0).await;
    ledger.cancel(&job.owner, job.id, at(1)).await.expect("cancel");
    assert_eq!(
        ledger.heartbeat(&job.run(), at(99)).await.expect("heartbeat"),
        HeartbeatReply::CancelRequested
    );
    assert!(ledger.release(&job.run(), at(2)).await.expect("release"));
    let ended = ledger.job(&job.owner, job.id).await.expect("get").expect("a job");
    assert_eq!((ended.status, ended.cost.map(|cost| cost.engine_ms)), (Status::Canceled, Some(1_000)));

    let job = remote(ledger, paid(name), 0).await;
    ledger.delete(&job.owner, job.id, at(1)).await.expect("delete");
    assert!(ledger.release(&job.run(), at(2)).await.expect("release"));
    let job = remote(ledger, paid(name), 0).await;
    ledger.cancel(&job.owner, job.id, at(1)).await.expect("cancel");
    let found = ledger.recover(at(2), RecoveryScope::All).await.expect("recover");
    assert_eq!(found.ended.iter().map(|job| job.status).collect::<Vec<_>>(), [Status::Canceled]);
    assert_eq!(ledger.claim_next(MODEL, lease("w", 99), at(3)).await.expect("claim"), None);
    let used = usage_today(ledger, name).await;
    assert_eq!((used.spent.engine_ms, used.reserved.is_zero()), (3_000, true));

    // A job without a receipt costs nothing.
    let job = accepted(ledger, new_job(name, "b"), 4).await;
    let run = claimed(ledger, &job, 5).await.run();
    ledger.delete(&job.owner, job.id, at(6)).await.expect("delete");
    assert!(ledger.release(&run, at(7)).await.expect("release"));
    let used = usage_today(ledger, name).await;
    assert_eq!((used.spent.engine_ms, used.reserved.is_zero()), (3_000, true));
}

async fn a_remote_job_that_crashes_its_worker_fails_in_the_end(ledger: &dyn Ledger) {
    let job = remote(ledger, paid("kills"), 0).await;
    for run in 1..=MAX_REMOTE_RUNS {
        assert_eq!(ledger.job(&job.owner, job.id).await.expect("get").map(|job| job.runs), Some(run));
        let found = ledger.recover(at(run.into()), RecoveryScope::All).await.expect("recover");
        assert_eq!(found.ended.len(), usize::from(run == MAX_REMOTE_RUNS));
        if found.ended.is_empty() {
            claimed(ledger, &job, run.into()).await;
        }
    }
    let ended = ledger.job(&job.owner, job.id).await.expect("get").expect("a job");
    assert_eq!(ended.status, Status::Failed(Reason::OutcomeUnknown));
    assert_eq!(ended.cost, Some(job.reservation.reserved), "the call was charged");
    let late = ledger.finish(&job.run(), Outcome::Canceled, cost(), at(99)).await.expect("finish");
    assert_eq!(late, FinishReply::Stale);
}
