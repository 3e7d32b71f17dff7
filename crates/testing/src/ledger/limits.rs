//! Limits: which requests are admitted and rejected, and what they leave in the account.

use std::num::NonZeroU32;

use time::Duration;

use super::{
    accepted, any_reuse, at, claimed, completed, cost, key_id, new_job, new_job_with_key, owner,
    picture_keys, usage_today,
};
use tintype_ledger::Ledger;
use tintype_ledger::accept::{Acceptance, NewJob, Reuse};
use tintype_ledger::job::{Outcome, Reason};
use tintype_ledger::limits::{Limit, LimitExceeded, RetryTime};
use tintype_ledger::money::Spend;
use tintype_ledger::policy::Policy;

pub(super) async fn contract(ledger: &dyn Ledger) {
    rate(ledger).await;
    concurrency(ledger).await;
    budgets(ledger).await;
    a_rejected_request_changes_nothing(ledger).await;
    a_job_counts_for_the_day_it_was_accepted(ledger).await;
}

async fn rejected(ledger: &dyn Ledger, new: NewJob, seconds: i64) -> LimitExceeded {
    match ledger.accept(new, at(seconds)).await.expect("accept") {
        Acceptance::LimitExceeded { exceeded, .. } => exceeded,
        other => panic!("not refused: {other:?}"),
    }
}

fn policy(rate: Option<&str>, concurrency: u32, budgets: &[&str]) -> Policy {
    Policy {
        rate: rate.map(|rate| rate.parse().expect("a rate")),
        concurrency: NonZeroU32::new(concurrency),
        budgets: budgets.iter().map(|budget| budget.parse().expect("a budget")).collect(),
        ..Policy::default()
    }
}

async fn rate(ledger: &dyn Ledger) {
    let policy = policy(Some("2/min"), 0, &[]);
    let limited = |prompt: &str| NewJob { policy: policy.clone(), ..new_job("rate", prompt) };
    let stored = NewJob { reuse: Reuse { stored: Some(picture_keys()), ..Reuse::default() }, ..limited("a") };
    let first = accepted(ledger, limited("a"), 0).await;
    completed(ledger, &first, 0).await;
    let Acceptance::Stored { quotas, .. } = ledger.accept(stored.clone(), at(0)).await.expect("accept")
    else {
        panic!("a stored image counts towards the rate limit");
    };
    assert_eq!((quotas[0].remaining, quotas[0].resets_at), (0, Some(at(60))));
    let third = rejected(ledger, limited("b"), 1).await;
    assert_eq!(
        third,
        LimitExceeded { limit: Limit::Rate("2/min".parse().expect("rate")), retry: RetryTime::At(at(30)) }
    );
    assert_eq!(rejected(ledger, stored, 29).await.retry, RetryTime::At(at(30)));
    let job = accepted(ledger, limited("b"), 30).await;
    completed(ledger, &job, 31).await;
    let left = ledger.quotas(&key_id("rate"), &policy, at(60)).await.expect("quotas");
    assert_eq!((left.len(), left[0].remaining), (1, 1));
}

async fn concurrency(ledger: &dyn Ledger) {
    let limited = |prompt: &str| NewJob { policy: policy(None, 2, &[]), ..new_job("crowd", prompt) };
    let first = accepted(ledger, limited("a"), 0).await;
    let second = accepted(ledger, limited("b"), 0).await;
    let third = rejected(ledger, limited("c"), 1).await;
    assert!(
        matches!(third, LimitExceeded { limit: Limit::Concurrency(_), retry: RetryTime::WhenJobEnds }),
        "{third:?}"
    );
    let running = claimed(ledger, &first, 1).await;
    assert!(
        matches!(rejected(ledger, limited("c"), 1).await.limit, Limit::Concurrency(_)),
        "running jobs count"
    );
    let failed = Outcome::Failed(Reason::Engine.into());
    ledger.finish(&running.run(), failed, Spend::ZERO, at(2)).await.expect("finish");
    let third = accepted(ledger, limited("c"), 3).await;
    ledger.cancel(&owner("crowd"), third.id, at(4)).await.expect("cancel").expect("a job");
    let fourth = accepted(ledger, limited("d"), 5).await;
    for job in [&second, &fourth] {
        completed(ledger, job, 6).await;
    }
}

async fn budgets(ledger: &dyn Ledger) {
    let budget = |limits: &[&str]| policy(None, 0, limits);
    let timed = |prompt: &str| NewJob { policy: budget(&["2.5s/day"]), ..new_job("time", prompt) };
    let (first, second) = (accepted(ledger, timed("a"), 0).await, accepted(ledger, timed("b"), 0).await);
    let third = rejected(ledger, timed("c"), 0).await;
    let midnight = at(12 * 3_600);
    assert_eq!(third.retry, RetryTime::At(midnight), "reservations count");
    completed(ledger, &first, 1).await;
    assert_eq!(
        rejected(ledger, timed("c"), 1).await.retry,
        RetryTime::At(midnight),
        "0.7 s spent and 1 s reserved"
    );
    completed(ledger, &second, 2).await;
    let third = accepted(ledger, timed("c"), 3).await;
    let running = claimed(ledger, &third, 4).await;
    let overrun = Spend { engine_ms: 1_900, amount: None };
    ledger
        .finish(&running.run(), Outcome::Failed(Reason::Overrun.into()), overrun, at(5))
        .await
        .expect("finish");
    let used = usage_today(ledger, "time").await;
    assert_eq!(
        (used.spent.engine_ms, used.reserved.engine_ms),
        (3_300, 0),
        "a failed job is charged its cost"
    );
    assert_eq!(rejected(ledger, timed("d"), 6).await.retry, RetryTime::At(midnight));
    let left = ledger.quotas(&key_id("time"), &budget(&["2.5s/day"]), at(6)).await.expect("quotas");
    assert_eq!((left[0].remaining, left[0].resets_at), (0, Some(midnight)));
    let next_day = accepted(ledger, timed("d"), 12 * 3_600).await;
    completed(ledger, &next_day, 12 * 3_600).await;

    let paid = |prompt: &str| NewJob { policy: budget(&["0.01usd/month"]), ..new_job("paid", prompt) };
    let job = accepted(ledger, paid("a"), 0).await;
    completed(ledger, &job, 1).await;
    let over = rejected(ledger, paid("b"), 12 * 3_600).await;
    let first_of_december = at(0).replace_day(1).expect("a day") + Duration::days(30) - Duration::hours(12);
    assert_eq!(over.retry, RetryTime::At(first_of_december), "the budget starts again next month");
    let never = NewJob { reserve: Spend { engine_ms: 1, amount: "0.02usd".parse().ok() }, ..paid("c") };
    assert_eq!(rejected(ledger, never, 0).await.retry, RetryTime::Never);
    let foreign = NewJob { reserve: Spend { engine_ms: 1, amount: "9eur".parse().ok() }, ..paid("d") };
    let foreign = accepted(ledger, foreign, 2).await;
    completed(ledger, &foreign, 3).await;
}

async fn a_rejected_request_changes_nothing(ledger: &dyn Ledger) {
    let reuse = any_reuse();
    let new = |prompt: &str, key: &str| NewJob {
        policy: policy(None, 1, &[]),
        reuse,
        ..new_job_with_key("refused", prompt, key)
    };
    let first = accepted(ledger, new("a", "k1"), 0).await;
    rejected(ledger, new("b", "k2"), 1).await;
    rejected(ledger, new("c", "k2"), 1).await;
    let used = usage_today(ledger, "refused").await;
    assert_eq!((used.jobs, used.reserved.engine_ms), (1, 1_000), "{used:?}");
    completed(ledger, &first, 2).await;
    let second = accepted(ledger, new("b", "k2"), 3).await;
    completed(ledger, &second, 4).await;
    let page = ledger.jobs(&owner("refused"), None, 10).await.expect("list");
    assert_eq!(page.jobs.len(), 2);
}

async fn a_job_counts_for_the_day_it_was_accepted(ledger: &dyn Ledger) {
    let noon_to_midnight = 12 * 3_600;
    let job = accepted(ledger, new_job("night", "a"), noon_to_midnight - 1).await;
    completed(ledger, &job, noon_to_midnight + 1).await;
    let next = accepted(ledger, new_job("night", "a"), noon_to_midnight + 2).await;
    completed(ledger, &next, noon_to_midnight + 3).await;
    let (first, second) = (at(0).date(), at(noon_to_midnight).date());
    let days = ledger.usage(&key_id("night"), first, second).await.expect("usage");
    let spent: Vec<_> = days.iter().map(|(day, usage)| (*day, usage.jobs, usage.spent.engine_ms)).collect();
    assert_eq!(spent, [(first, 1, cost().engine_ms), (second, 1, cost().engine_ms)]);
    assert!(days.iter().all(|(_, usage)| usage.reserved.is_zero()));
    assert_eq!(ledger.usage(&key_id("night"), second, first).await.expect("usage"), []);
    assert_eq!(ledger.usage(&key_id("unused"), first, second).await.expect("usage"), []);
}
