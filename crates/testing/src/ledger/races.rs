//! Concurrent calls of a hundred threads: limits, idempotency keys, claims and outcomes.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::sync::{Arc, Barrier};

use futures::executor::block_on;

use super::{
    MODEL, accepted, any_reuse, at, cost, key_id, lease, new_job, new_job_with_key, owner, succeeded,
    usage_today,
};
use tintype_ledger::accept::{Acceptance, NewJob};
use tintype_ledger::id::JobId;
use tintype_ledger::job::JobRecord;
use tintype_ledger::policy::Policy;
use tintype_ledger::{ClaimReply, FinishReply, Ledger};

const RACERS: usize = 100;

pub(super) fn contract(ledgers: &[Arc<dyn Ledger>]) {
    an_idempotency_key_makes_one_job(ledgers);
    identical_requests_make_one_job(ledgers);
    no_budget_is_exceeded(ledgers);
    the_concurrency_limit_holds(ledgers);
    one_claim_wins(ledgers);
    every_job_is_claimed_once(ledgers);
    a_repeated_outcome_is_charged_once(ledgers);
}

/// Calls `run` on all threads at the same time.
fn race<T: Send>(ledgers: &[Arc<dyn Ledger>], run: impl Fn(usize, &dyn Ledger) -> T + Sync) -> Vec<T> {
    let start = Barrier::new(RACERS);
    let (start, run) = (&start, &run);
    std::thread::scope(|scope| {
        let racers: Vec<_> = (0..RACERS)
            .map(|i| {
                let ledger = &*ledgers[i % ledgers.len()];
                scope.spawn(move || {
                    start.wait();
                    run(i, ledger)
                })
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().expect("no panic")).collect()
    })
}

fn accept_all(ledgers: &[Arc<dyn Ledger>], new: impl Fn(usize) -> NewJob + Sync) -> Vec<Acceptance> {
    race(ledgers, |i, ledger| block_on(ledger.accept(new(i), at(0))).expect("accept"))
}

fn jobs_of(answers: &[Acceptance]) -> HashSet<JobId> {
    answers.iter().filter_map(|answer| answer.job().map(|job| job.id)).collect()
}

fn count_accepted(answers: &[Acceptance]) -> usize {
    answers.iter().filter(|answer| matches!(answer, Acceptance::Accepted { .. })).count()
}

fn end_all(ledger: &dyn Ledger) -> u64 {
    let mut ended = 0;
    while let Some(job) = block_on(ledger.claim_next(MODEL, lease("end", 99), at(1))).expect("claim") {
        block_on(ledger.finish(&job.run(), succeeded(job.id, 1), cost(), at(2))).expect("finish");
        ended += 1;
    }
    ended
}

fn an_idempotency_key_makes_one_job(ledgers: &[Arc<dyn Ledger>]) {
    let policy = Policy { rate: "1/day".parse().ok(), ..Policy::default() };
    let answers =
        accept_all(ledgers, |_| NewJob { policy: policy.clone(), ..new_job_with_key("race-key", "a", "k") });
    assert_eq!((count_accepted(&answers), jobs_of(&answers).len()), (1, 1));
    let others =
        |answer: &Acceptance| matches!(answer, Acceptance::Accepted { .. } | Acceptance::Replayed { .. });
    assert!(answers.iter().all(others), "{answers:?}");
    let used = block_on(usage_today(&*ledgers[0], "race-key"));
    assert_eq!((used.jobs, used.reserved.engine_ms), (1, 1_000), "{used:?}");
    assert_eq!(end_all(&*ledgers[0]), 1);
}

fn identical_requests_make_one_job(ledgers: &[Arc<dyn Ledger>]) {
    let reuse = any_reuse();
    // Half of the requests have an idempotency key of their own.
    let new = |i: usize| {
        let idempotency =
            new_job_with_key("race-same", "a", &i.to_string()).idempotency.filter(|_| i.is_multiple_of(2));
        NewJob { reuse, idempotency, ..new_job("race-same", "a") }
    };
    let answers = accept_all(ledgers, new);
    assert_eq!((count_accepted(&answers), jobs_of(&answers).len()), (1, 1));
    assert!(answers.iter().all(|answer| answer.job().is_some()), "{answers:?}");
    let again = accept_all(ledgers, new);
    assert_eq!(jobs_of(&again), jobs_of(&answers));
    assert_eq!(block_on(usage_today(&*ledgers[0], "race-same")).reserved.engine_ms, 1_000);
    assert_eq!(end_all(&*ledgers[0]), 1);
}

fn no_budget_is_exceeded(ledgers: &[Arc<dyn Ledger>]) {
    let policy = Policy { budgets: vec!["30s/day".parse().expect("a budget")], ..Policy::default() };
    let new = |_| NewJob { policy: policy.clone(), ..new_job("race-budget", "a") };
    let answers = accept_all(ledgers, new);
    assert_eq!(count_accepted(&answers), 30, "one second per job");
    let used = block_on(usage_today(&*ledgers[0], "race-budget"));
    assert_eq!((used.jobs, used.reserved.engine_ms), (30, 30_000), "{used:?}");
    assert_eq!(end_all(&*ledgers[0]), 30);
    let used = block_on(usage_today(&*ledgers[0], "race-budget"));
    assert_eq!((used.spent.engine_ms, used.reserved.engine_ms), (21_000, 0));
    assert_eq!(count_accepted(&accept_all(ledgers, new)), 9, "the unspent amount is available again");
    assert_eq!(end_all(&*ledgers[0]), 9);
}

fn the_concurrency_limit_holds(ledgers: &[Arc<dyn Ledger>]) {
    let policy = Policy { concurrency: NonZeroU32::new(4), ..Policy::default() };
    // Each accepted job is run to its end immediately, so that places in the limit become free all the time.
    let accepted_jobs = race(ledgers, |_, ledger| {
        block_on(async {
            let new = NewJob { policy: policy.clone(), ..new_job("race-crowd", "a") };
            let Acceptance::Accepted { job, quotas } = ledger.accept(new, at(0)).await.expect("accept")
            else {
                return false;
            };
            assert!(quotas[0].remaining < 4);
            let claim = ledger.claim(&job.owner, job.id, lease("w", 60), at(1)).await.expect("claim");
            assert!(matches!(claim, ClaimReply::Granted(_)), "{claim:?}");
            let end = ledger.finish(&job_run(&claim), succeeded(job.id, 1), cost(), at(2)).await;
            assert!(matches!(end, Ok(FinishReply::Recorded(_))), "{end:?}");
            true
        })
    });
    let accepted_jobs = accepted_jobs.into_iter().filter(|ran| *ran).count() as u64;
    let used = block_on(usage_today(&*ledgers[0], "race-crowd"));
    assert!(accepted_jobs >= 4);
    assert_eq!(
        (used.jobs, used.pictures, used.spent.engine_ms),
        (accepted_jobs, accepted_jobs, accepted_jobs * 700),
        "{used:?}"
    );
    let quotas = block_on(ledgers[0].quotas(&key_id("race-crowd"), &policy, at(3))).expect("quotas");
    assert_eq!(quotas[0].remaining, 4);
}

fn job_run(claim: &ClaimReply) -> tintype_ledger::job::Run {
    match claim {
        ClaimReply::Granted(job) | ClaimReply::Unavailable(job) => job.run(),
        ClaimReply::NotFound => panic!("the job is gone"),
    }
}

fn one_claim_wins(ledgers: &[Arc<dyn Ledger>]) {
    let job = block_on(accepted(&*ledgers[0], new_job("race-claim", "a"), 0));
    let claims = race(ledgers, |i, ledger| {
        let lease = lease(&format!("w{i}"), 60);
        block_on(ledger.claim(&job.owner, job.id, lease, at(1))).expect("claim")
    });
    let winners: Vec<_> = claims.iter().filter(|claim| matches!(claim, ClaimReply::Granted(_))).collect();
    assert_eq!(winners.len(), 1);
    let end = block_on(ledgers[0].finish(&job_run(winners[0]), succeeded(job.id, 1), cost(), at(2)));
    assert!(matches!(end, Ok(FinishReply::Recorded(_))), "{end:?}");
}

fn every_job_is_claimed_once(ledgers: &[Arc<dyn Ledger>]) {
    let jobs: HashSet<JobId> = (0..30)
        .map(|i| block_on(accepted(&*ledgers[0], new_job(&format!("race-{}", i % 3), "a"), i)).id)
        .collect();
    let taken: Vec<JobRecord> = race(ledgers, |i, ledger| {
        block_on(ledger.claim_next(MODEL, lease(&format!("w{i}"), 99), at(50))).expect("claim")
    })
    .into_iter()
    .flatten()
    .collect();
    assert_eq!(taken.len(), jobs.len(), "each job is claimed");
    assert_eq!(taken.iter().map(|job| job.id).collect::<HashSet<_>>(), jobs);
    for job in &taken {
        block_on(ledgers[0].finish(&job.run(), succeeded(job.id, 1), cost(), at(51))).expect("finish");
    }
}

fn a_repeated_outcome_is_charged_once(ledgers: &[Arc<dyn Ledger>]) {
    let job = block_on(accepted(&*ledgers[0], new_job("race-end", "a"), 0));
    let claim = block_on(ledgers[0].claim(&job.owner, job.id, lease("w", 60), at(1))).expect("claim");
    let run = job_run(&claim);
    let ends = race(ledgers, |_, ledger| {
        block_on(ledger.finish(&run, succeeded(job.id, 1), cost(), at(2))).expect("finish")
    });
    assert!(ends.iter().all(|end| matches!(end, FinishReply::Recorded(_))), "{ends:?}");
    let used = block_on(usage_today(&*ledgers[0], "race-end"));
    assert_eq!((used.spent.engine_ms, used.pictures, used.reserved.is_zero()), (700, 1, true));
    assert_eq!(
        block_on(ledgers[0].job(&owner("race-end"), job.id)).expect("get").map(|job| job.runs),
        Some(1)
    );
}
