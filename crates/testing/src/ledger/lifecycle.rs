//! The life of an accepted job: runs, outcomes, cancellation, worker loss, deletion, lists.

use super::{
    accepted, at, claimed, completed, cost, lease, new_job, new_job_with_key, owner, succeeded, usage_today,
};
use tintype_ledger::accept::{Acceptance, NewJob};
use tintype_ledger::id::JobId;
use tintype_ledger::job::{MAX_RUNS, OnWorkerLoss, Outcome, Reason, RecoveryScope, Status};
use tintype_ledger::money::Spend;
use tintype_ledger::{ClaimReply, EngineTimes, FinishReply, HeartbeatReply, Ledger};

pub(super) async fn contract(ledger: &dyn Ledger) {
    one_worker_holds_the_lease(ledger).await;
    an_outcome_is_charged_once(ledger).await;
    a_queued_job_is_canceled_at_once(ledger).await;
    the_worker_of_a_canceled_job_is_notified(ledger).await;
    a_detached_job_has_no_waiter(ledger).await;
    a_released_run_does_not_count(ledger).await;
    a_job_of_a_dead_worker_runs_again(ledger).await;
    a_paid_call_is_not_repeated(ledger).await;
    a_job_that_crashes_its_worker_fails_in_the_end(ledger).await;
    a_queued_job_fails_at_its_deadline(ledger).await;
    a_deleted_job_is_invisible(ledger).await;
    lists_are_newest_first(ledger).await;
    old_finished_jobs_are_listed(ledger).await;
    the_last_engine_times_are_kept(ledger).await;
}

async fn one_worker_holds_the_lease(ledger: &dyn Ledger) {
    let job = accepted(ledger, new_job("life", "a"), 0).await;
    let claim = |worker: &'static str, until| ledger.claim(&job.owner, job.id, lease(worker, until), at(1));
    let ClaimReply::Granted(running) = claim("w1", 10).await.expect("claim") else {
        panic!("the job was not claimed")
    };
    assert_eq!((running.status, running.runs, running.started), (Status::Running, 1, Some(at(1))));
    assert_eq!(
        claim("w1", 10).await.expect("claim"),
        ClaimReply::Granted(running.clone()),
        "the same claim again"
    );
    assert_eq!(claim("w2", 10).await.expect("claim"), ClaimReply::Unavailable(running.clone()));
    let other_owner = ledger.claim(&owner("else"), job.id, lease("w1", 10), at(1)).await.expect("claim");
    assert_eq!(other_owner, ClaimReply::NotFound);
    assert_eq!(ledger.heartbeat(&running.run(), at(20)).await.expect("heartbeat"), HeartbeatReply::Continue);
    let other_run = tintype_ledger::job::Run { number: 2, ..running.run() };
    assert_eq!(ledger.heartbeat(&other_run, at(99)).await.expect("heartbeat"), HeartbeatReply::LeaseLost);
    let later = ledger.claim(&job.owner, job.id, lease("w2", 40), at(19)).await.expect("claim");
    assert!(matches!(later, ClaimReply::Unavailable(_)), "the heartbeat extended the lease");
    let late = ledger.claim(&job.owner, job.id, lease("w2", 40), at(20)).await.expect("claim");
    let ClaimReply::Granted(second) = late else { panic!("the lease had expired") };
    assert_eq!(second.runs, 2);
    assert_eq!(ledger.heartbeat(&running.run(), at(99)).await.expect("heartbeat"), HeartbeatReply::LeaseLost);
    let stale = ledger.finish(&running.run(), succeeded(job.id, 1), cost(), at(21)).await.expect("finish");
    assert_eq!(stale, FinishReply::Stale);
    let end = ledger.finish(&second.run(), succeeded(job.id, 1), cost(), at(22)).await.expect("finish");
    assert!(matches!(end, FinishReply::Recorded(_)), "{end:?}");
    assert_eq!(usage_today(ledger, "life").await.spent.engine_ms, 700, "run twice, charged once");
}

async fn an_outcome_is_charged_once(ledger: &dyn Ledger) {
    let job = accepted(ledger, new_job("end", "a"), 0).await;
    let run = claimed(ledger, &job, 1).await.run();
    let first = ledger.finish(&run, succeeded(job.id, 2), cost(), at(2)).await.expect("finish");
    let FinishReply::Recorded(ended) = &first else { panic!("{first:?}") };
    assert_eq!((ended.status, ended.finished, ended.cost), (Status::Succeeded, Some(at(2)), Some(cost())));
    assert_eq!((ended.images.len(), ended.warnings.len(), &ended.lease), (2, 1, &None));
    let again = ledger.finish(&run, succeeded(job.id, 2), cost(), at(3)).await.expect("finish");
    assert_eq!(again, first, "the same outcome reported again");
    let other = ledger.finish(&run, Outcome::Canceled, cost(), at(3)).await.expect("finish");
    assert_eq!(other, FinishReply::Stale, "another outcome is rejected");
    let used = usage_today(ledger, "end").await;
    assert_eq!((used.pictures, used.spent.engine_ms), (2, 700));
    assert!(used.reserved.is_zero());
    let claim = ledger.claim(&job.owner, job.id, lease("w", 9), at(4)).await.expect("claim");
    assert_eq!(claim, ClaimReply::Unavailable(ended.clone()));
    let untouched = ledger.cancel(&job.owner, job.id, at(4)).await.expect("cancel");
    assert_eq!(untouched.as_ref(), Some(ended));
}

async fn a_queued_job_is_canceled_at_once(ledger: &dyn Ledger) {
    let job = accepted(ledger, new_job("cancel", "a"), 0).await;
    assert_eq!(ledger.cancel(&owner("else"), job.id, at(1)).await.expect("cancel"), None);
    let canceled = ledger.cancel(&job.owner, job.id, at(1)).await.expect("cancel").expect("a job");
    assert_eq!((canceled.status, canceled.cost), (Status::Canceled, Some(Spend::ZERO)));
    let claim = ledger.claim(&job.owner, job.id, lease("w", 9), at(2)).await.expect("claim");
    assert!(matches!(claim, ClaimReply::Unavailable(_)), "{claim:?}");
    let used = usage_today(ledger, "cancel").await;
    assert!(used.spent.is_zero() && used.reserved.is_zero(), "{used:?}");
}

async fn a_detached_job_has_no_waiter(ledger: &dyn Ledger) {
    let waiter = NewJob { waiter: "here".parse().ok(), ..new_job("detach", "a") };
    let job = accepted(ledger, waiter, 0).await;
    assert_eq!(job.waiter, "here".parse().ok());
    assert_eq!(ledger.detach(&owner("else"), job.id).await.expect("detach"), None);
    for _ in 0..2 {
        let detached = ledger.detach(&job.owner, job.id).await.expect("detach").expect("a job");
        assert_eq!((detached.status, detached.waiter), (Status::Queued, None));
    }
    ledger.cancel(&job.owner, job.id, at(1)).await.expect("cancel");
}

async fn a_released_run_does_not_count(ledger: &dyn Ledger) {
    let job = accepted(ledger, new_job("back", "a"), 0).await;
    // More often than `MAX_RUNS`.
    for second in 0..i64::from(MAX_RUNS) + 2 {
        let run = claimed(ledger, &job, second).await.run();
        assert!(ledger.release(&run, at(second)).await.expect("release"));
        let again = ledger.release(&run, at(second)).await.expect("release");
        assert!(!again, "the run has lost its lease");
    }
    let running = claimed(ledger, &job, 10).await;
    assert_eq!((running.status, running.runs), (Status::Running, 1));
    ledger.finish(&running.run(), Outcome::Canceled, Spend::ZERO, at(11)).await.expect("finish");
}

async fn the_worker_of_a_canceled_job_is_notified(ledger: &dyn Ledger) {
    let job = accepted(ledger, new_job("stop", "a"), 0).await;
    let run = claimed(ledger, &job, 1).await.run();
    let canceled = ledger.cancel(&job.owner, job.id, at(2)).await.expect("cancel").expect("a job");
    assert_eq!((canceled.status, canceled.cancel_requested), (Status::Running, true));
    assert_eq!(ledger.heartbeat(&run, at(99)).await.expect("heartbeat"), HeartbeatReply::CancelRequested);
    let end = ledger.finish(&run, Outcome::Canceled, cost(), at(3)).await.expect("finish");
    assert!(matches!(&end, FinishReply::Recorded(job) if job.status == Status::Canceled), "{end:?}");
    assert_eq!(usage_today(ledger, "stop").await.spent.engine_ms, 700, "the cost until the cancellation");

    let job = accepted(ledger, new_job("stop", "b"), 4).await;
    claimed(ledger, &job, 5).await;
    ledger.cancel(&job.owner, job.id, at(6)).await.expect("cancel").expect("a job");
    let found = ledger.recover(at(7), RecoveryScope::All).await.expect("recover");
    assert_eq!(found.ended.iter().map(|job| job.status).collect::<Vec<_>>(), [Status::Canceled]);
    assert!(found.requeued.is_empty());
}

async fn a_job_of_a_dead_worker_runs_again(ledger: &dyn Ledger) {
    let (dead, alive) =
        (accepted(ledger, new_job("dead", "a"), 0).await, accepted(ledger, new_job("dead", "b"), 0).await);
    let waiting = accepted(ledger, new_job("dead", "c"), 0).await;
    let lost = claimed(ledger, &dead, 1).await;
    let extended = claimed(ledger, &alive, 1).await;
    ledger.heartbeat(&extended.run(), at(200)).await.expect("heartbeat");
    let found = ledger.recover(at(100), RecoveryScope::ExpiredLeases).await.expect("recover");
    assert_eq!(found.requeued.iter().map(|job| job.id).collect::<Vec<_>>(), [dead.id]);
    assert!(found.ended.is_empty());
    assert_eq!(
        ledger.recover(at(100), RecoveryScope::ExpiredLeases).await.expect("recover"),
        Default::default()
    );
    let stale = ledger.finish(&lost.run(), succeeded(dead.id, 1), cost(), at(101)).await.expect("finish");
    assert_eq!(stale, FinishReply::Stale, "the run has lost its lease");

    let found = ledger.recover(at(101), RecoveryScope::All).await.expect("recover");
    assert_eq!(
        found.requeued.iter().map(|job| job.id).collect::<Vec<_>>(),
        [alive.id],
        "the scope has all running jobs"
    );
    let reconciled =
        ledger.reconcile(&owner("dead"), waiting.id, at(101)).await.expect("reconcile").expect("a job");
    assert_eq!(reconciled, waiting, "a queued job is unchanged");
    for job in [&dead, &alive, &waiting] {
        completed(ledger, job, 102).await;
    }
    let used = usage_today(ledger, "dead").await;
    assert_eq!((used.spent.engine_ms, used.reserved.is_zero()), (2_100, true), "each job is charged once");
}

async fn a_paid_call_is_not_repeated(ledger: &dyn Ledger) {
    let paid = NewJob { on_worker_loss: OnWorkerLoss::OutcomeUnknown, ..new_job_with_key("call", "a", "k") };
    let job = accepted(ledger, paid.clone(), 0).await;
    let lost = claimed(ledger, &job, 1).await;
    let reconciled = ledger.reconcile(&job.owner, job.id, at(60)).await.expect("reconcile").expect("a job");
    assert_eq!(reconciled, lost, "the lease expires at 61 s");
    let reconciled = ledger.reconcile(&job.owner, job.id, at(61)).await.expect("reconcile").expect("a job");
    assert_eq!(reconciled.status, Status::Failed(Reason::OutcomeUnknown));
    assert_eq!(reconciled.cost, Some(job.reservation.reserved), "the call may have been charged");
    let late = ledger.finish(&lost.run(), succeeded(job.id, 1), cost(), at(62)).await.expect("finish");
    assert_eq!(late, FinishReply::Stale);
    let replay = ledger.accept(paid, at(63)).await.expect("accept");
    assert!(matches!(&replay, Acceptance::Replayed { job } if *job == reconciled), "{replay:?}");
    assert_eq!(usage_today(ledger, "call").await.spent.engine_ms, 1_000);
    assert_eq!(ledger.reconcile(&owner("else"), job.id, at(99)).await.expect("reconcile"), None);
}

async fn a_job_that_crashes_its_worker_fails_in_the_end(ledger: &dyn Ledger) {
    let job = accepted(ledger, new_job("killer", "a"), 0).await;
    for run in 1..=MAX_RUNS {
        assert_eq!(claimed(ledger, &job, run.into()).await.runs, run);
        ledger.recover(at(run.into()), RecoveryScope::All).await.expect("recover");
    }
    let ended = ledger.job(&job.owner, job.id).await.expect("get").expect("a job");
    assert_eq!((ended.status, ended.cost), (Status::Failed(Reason::Crashed), Some(Spend::ZERO)));
    assert!(usage_today(ledger, "killer").await.reserved.is_zero());
}

async fn a_queued_job_fails_at_its_deadline(ledger: &dyn Ledger) {
    let urgent = |prompt: &str| NewJob { deadline: Some(at(10)), ..new_job("late", prompt) };
    let job = accepted(ledger, urgent("a"), 0).await;
    let claim = ledger.claim(&job.owner, job.id, lease("w", 99), at(10)).await.expect("claim");
    let ClaimReply::Unavailable(failed) = claim else { panic!("{claim:?}") };
    assert_eq!((failed.status, failed.cost), (Status::Failed(Reason::Deadline), Some(Spend::ZERO)));
    let second = accepted(ledger, urgent("b"), 0).await;
    let found = ledger.recover(at(11), RecoveryScope::ExpiredLeases).await.expect("recover");
    assert_eq!(found.ended.iter().map(|job| job.id).collect::<Vec<_>>(), [second.id]);
    assert!(usage_today(ledger, "late").await.reserved.is_zero());
}

async fn a_deleted_job_is_invisible(ledger: &dyn Ledger) {
    let job = accepted(ledger, new_job("gone", "secret words"), 0).await;
    let ended = completed(ledger, &job, 1).await;
    assert_eq!(ledger.delete(&owner("else"), job.id, at(2)).await.expect("delete"), None);
    let deleted = ledger.delete(&job.owner, job.id, at(2)).await.expect("delete");
    assert_eq!(deleted, Some(ended), "with the keys of its images");
    assert_eq!(ledger.delete(&job.owner, job.id, at(2)).await.expect("delete"), None, "once");
    assert_eq!(ledger.job(&job.owner, job.id).await.expect("get"), None);
    assert_eq!(ledger.cancel(&job.owner, job.id, at(2)).await.expect("cancel"), None);
    assert_eq!(ledger.reconcile(&job.owner, job.id, at(2)).await.expect("reconcile"), None);

    let queued = accepted(ledger, new_job("gone", "b"), 3).await;
    ledger.delete(&job.owner, queued.id, at(4)).await.expect("delete").expect("a job");
    let claim = ledger.claim(&job.owner, queued.id, lease("w", 99), at(5)).await.expect("claim");
    assert_eq!(claim, ClaimReply::NotFound);

    let running = accepted(ledger, new_job("gone", "c"), 6).await;
    let run = claimed(ledger, &running, 7).await.run();
    ledger.delete(&job.owner, running.id, at(8)).await.expect("delete").expect("a job");
    assert_eq!(ledger.job(&job.owner, running.id).await.expect("get"), None, "invisible at once");
    assert_eq!(ledger.heartbeat(&run, at(99)).await.expect("heartbeat"), HeartbeatReply::CancelRequested);
    let end = ledger.finish(&run, succeeded(running.id, 1), cost(), at(9)).await.expect("finish");
    assert!(matches!(&end, FinishReply::Deleted(job) if job.images.len() == 1), "{end:?}");
    let page = ledger.jobs(&job.owner, None, 10).await.expect("list");
    assert_eq!(page.jobs, []);
    let used = usage_today(ledger, "gone").await;
    assert_eq!(
        (used.spent.engine_ms, used.reserved.is_zero()),
        (1_400, true),
        "what was charged stays charged"
    );
}

async fn lists_are_newest_first(ledger: &dyn Ledger) {
    let mut ids = Vec::new();
    for i in 0..7 {
        let job = accepted(ledger, new_job("list", "a"), i).await;
        ids.push(completed(ledger, &job, i).await.id);
    }
    ids.reverse();
    ledger.delete(&owner("list"), ids.remove(3), at(9)).await.expect("delete").expect("a job");
    let mut found: Vec<JobId> = Vec::new();
    let mut before = None;
    loop {
        let page = ledger.jobs(&owner("list"), before, 2).await.expect("list");
        assert_eq!(page.jobs.len(), 2);
        found.extend(page.jobs.iter().map(|job| job.id));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(found, ids);
    assert_eq!(ledger.jobs(&owner("unused"), None, 2).await.expect("list"), Default::default());
}

async fn old_finished_jobs_are_listed(ledger: &dyn Ledger) {
    // A year before the jobs of all other tests.
    let year = -31_536_000;
    let mut jobs = Vec::new();
    for i in 0..4 {
        jobs.push(accepted(ledger, new_job("old", "a"), year + i).await);
    }
    let first = completed(ledger, &jobs[0], year + 10).await;
    completed(ledger, &jobs[1], year + 10).await;
    ledger.delete(&owner("old"), jobs[1].id, at(year + 10)).await.expect("delete").expect("a job");
    let third = completed(ledger, &jobs[3], year + 10).await;
    let old = |seconds, limit| ledger.finished_jobs(at(year + seconds), limit);
    assert_eq!(old(0, 10).await.expect("list"), []);
    assert_eq!(
        old(3, 10).await.expect("list"),
        std::slice::from_ref(&first),
        "one is queued, one is deleted, one is later"
    );
    assert_eq!(old(4, 10).await.expect("list"), [first.clone(), third]);
    assert_eq!(old(4, 1).await.expect("list"), [first]);
    completed(ledger, &jobs[2], year + 11).await;
}

async fn the_last_engine_times_are_kept(ledger: &dyn Ledger) {
    let [slow, fast] =
        [(9.5, 1e-6), (2.0, 3.1e-7)].map(|(per_job, per_work)| EngineTimes { per_job, per_work });
    assert_eq!(ledger.engine_times("org/model").await.expect("times"), None);
    for times in [slow, fast] {
        ledger.save_engine_times("org/model", times).await.expect("saved");
        assert_eq!(ledger.engine_times("org/model").await.expect("times"), Some(times));
    }
    assert_eq!(ledger.engine_times("org/other").await.expect("times"), None);
}
