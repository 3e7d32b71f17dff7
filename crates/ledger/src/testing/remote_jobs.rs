//! Jobs that others work on, whatever becomes of the worker that gave them the work.

use super::{accepted, at, claimed, cost, lease, new_job, succeeded, usage_today};
use crate::accept::NewJob;
use crate::job::{JobRecord, MAX_REMOTE_RUNS, OnWorkerLoss, Outcome, Reason, RecoveryScope, Status};
use crate::ledger::{ClaimReply, FinishReply, HeartbeatReply, Ledger};
use crate::money::Spend;

const RECEIPT: &str = "where the result will be";

pub(super) async fn contract(ledger: &dyn Ledger) {
    it_is_not_lost_with_its_worker(ledger).await;
    it_may_be_asked_for_by_turns(ledger).await;
    it_is_not_late(ledger).await;
    it_cannot_be_called_back(ledger).await;
    one_that_is_to_stop_is_not_handed_on(ledger).await;
    one_that_kills_is_given_up_in_the_end(ledger).await;
}

/// A paid job of this owner's.
fn paid(name: &str) -> NewJob {
    NewJob { on_worker_loss: OnWorkerLoss::OutcomeUnknown, ..new_job(name, "a") }
}

/// The same, accepted, claimed and given to others at that second.
async fn given(ledger: &dyn Ledger, new: NewJob, second: i64) -> JobRecord {
    let job = accepted(ledger, new, second).await;
    let running = claimed(ledger, &job, second).await;
    for _ in 0..2 {
        assert!(
            ledger.save_receipt(&running.run(), RECEIPT).await.expect("note"),
            "also if it is noted again"
        );
    }
    let noted = ledger.job(&job.owner, job.id).await.expect("get").expect("a job");
    assert_eq!(noted, JobRecord { receipt: Some(RECEIPT.into()), ..running });
    noted
}

async fn it_is_not_lost_with_its_worker(ledger: &dyn Ledger) {
    let job = given(ledger, paid("elsewhere"), 0).await;
    let found = ledger.recover(at(1), RecoveryScope::All).await.expect("recover");
    assert_eq!(found.requeued.iter().map(|job| job.id).collect::<Vec<_>>(), [job.id]);
    assert!(found.requeued[0].is_remote() && found.ended.is_empty());
    assert!(
        !ledger.save_receipt(&job.run(), "another").await.expect("note"),
        "it is not that worker's any more"
    );
    let again = claimed(ledger, &job, 2).await;
    assert_eq!((again.runs, again.receipt.as_deref(), again.started), (2, Some(RECEIPT), Some(at(0))));
    assert!(!ledger.save_receipt(&job.run(), "another").await.expect("note"));
    // Its lease is until 62.
    let revised = ledger.reconcile(&job.owner, job.id, at(62)).await.expect("revise").expect("a job");
    assert!(revised.is_remote());
    let third = claimed(ledger, &job, 63).await;
    let late = ledger.finish(&again.run(), succeeded(job.id, 1), cost(), at(64)).await.expect("finish");
    assert_eq!(late, FinishReply::Stale, "it was taken for dead");
    let end = ledger.finish(&third.run(), succeeded(job.id, 1), cost(), at(65)).await.expect("finish");
    let FinishReply::Recorded(ended) = end else { panic!("{end:?}") };
    assert_eq!((ended.status, ended.receipt), (Status::Succeeded, None));
    let used = usage_today(ledger, "elsewhere").await;
    assert_eq!((used.spent.engine_ms, used.reserved.is_zero()), (700, true), "charged once");
}

async fn it_may_be_asked_for_by_turns(ledger: &dyn Ledger) {
    let job = given(ledger, paid("turns"), 0).await;
    assert!(ledger.release(&job.run(), at(1)).await.expect("hand back"));
    for second in 2..2 + 2 * i64::from(MAX_REMOTE_RUNS) {
        let running = claimed(ledger, &job, second).await;
        assert_eq!((running.runs, running.receipt.as_deref()), (1, Some(RECEIPT)));
        assert!(ledger.release(&running.run(), at(second)).await.expect("hand back"));
    }
    let claim = ledger.claim_next(lease("w", 200), at(100)).await.expect("claim").expect("it waits");
    assert_eq!(claim.id, job.id);
    ledger.finish(&claim.run(), succeeded(job.id, 1), cost(), at(101)).await.expect("finish");
    assert_eq!(usage_today(ledger, "turns").await.spent.engine_ms, 700);
}

async fn it_is_not_late(ledger: &dyn Ledger) {
    let hurried = NewJob { deadline: Some(at(10)), ..paid("not-late") };
    let job = given(ledger, hurried, 0).await;
    ledger.release(&job.run(), at(1)).await.expect("hand back");
    let revised = ledger.reconcile(&job.owner, job.id, at(20)).await.expect("revise").expect("a job");
    assert!(revised.is_remote());
    let running = claimed(ledger, &job, 21).await;
    ledger.finish(&running.run(), succeeded(job.id, 1), cost(), at(22)).await.expect("finish");
}

async fn it_cannot_be_called_back(ledger: &dyn Ledger) {
    // A second was reserved, for a cent.
    for (second, spent, amount) in [(0, 0, "0usd"), (10, 1_000, "0.01usd")] {
        let job = given(ledger, paid("no-return"), 0).await;
        ledger.release(&job.run(), at(0)).await.expect("hand back");
        let canceled = ledger.cancel(&job.owner, job.id, at(second)).await.expect("cancel").expect("a job");
        let cost = Spend { engine_ms: spent, amount: amount.parse().ok() };
        assert_eq!((canceled.status, canceled.cost), (Status::Canceled, Some(cost)));
        assert_eq!(canceled.receipt, None);
    }
    let job = given(ledger, paid("no-return"), 0).await;
    ledger.release(&job.run(), at(0)).await.expect("hand back");
    ledger.delete(&job.owner, job.id, at(10)).await.expect("delete").expect("a job");
    let claim = ledger.claim(&job.owner, job.id, lease("w", 99), at(11)).await.expect("claim");
    assert_eq!(claim, ClaimReply::NotFound);
    let used = usage_today(ledger, "no-return").await;
    assert_eq!((used.spent.engine_ms, used.reserved.is_zero()), (2_000, true), "nobody is paid for nothing");
}

async fn one_that_is_to_stop_is_not_handed_on(ledger: &dyn Ledger) {
    let name = "stops-there";
    let job = given(ledger, paid(name), 0).await;
    ledger.cancel(&job.owner, job.id, at(1)).await.expect("cancel");
    assert_eq!(ledger.heartbeat(&job.run(), at(99)).await.expect("beat"), HeartbeatReply::CancelRequested);
    assert!(ledger.release(&job.run(), at(2)).await.expect("hand back"));
    let ended = ledger.job(&job.owner, job.id).await.expect("get").expect("a job");
    assert_eq!((ended.status, ended.cost.map(|cost| cost.engine_ms)), (Status::Canceled, Some(1_000)));

    let job = given(ledger, paid(name), 0).await;
    ledger.delete(&job.owner, job.id, at(1)).await.expect("delete");
    assert!(ledger.release(&job.run(), at(2)).await.expect("hand back"));
    let job = given(ledger, paid(name), 0).await;
    ledger.cancel(&job.owner, job.id, at(1)).await.expect("cancel");
    let found = ledger.recover(at(2), RecoveryScope::All).await.expect("recover");
    assert_eq!(found.ended.iter().map(|job| job.status).collect::<Vec<_>>(), [Status::Canceled]);
    assert_eq!(ledger.claim_next(lease("w", 99), at(3)).await.expect("claim"), None);
    let used = usage_today(ledger, name).await;
    assert_eq!((used.spent.engine_ms, used.reserved.is_zero()), (3_000, true));

    // One that nobody works on costs nothing.
    let job = accepted(ledger, new_job(name, "b"), 4).await;
    let run = claimed(ledger, &job, 5).await.run();
    ledger.delete(&job.owner, job.id, at(6)).await.expect("delete");
    assert!(ledger.release(&run, at(7)).await.expect("hand back"));
    let used = usage_today(ledger, name).await;
    assert_eq!((used.spent.engine_ms, used.reserved.is_zero()), (3_000, true));
}

async fn one_that_kills_is_given_up_in_the_end(ledger: &dyn Ledger) {
    let job = given(ledger, paid("kills"), 0).await;
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
    assert_eq!(ended.cost, Some(job.reservation.reserved), "somebody was paid");
    let late = ledger.finish(&job.run(), Outcome::Canceled, cost(), at(99)).await.expect("finish");
    assert_eq!(late, FinishReply::Stale);
}
