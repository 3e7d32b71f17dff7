use super::*;
use crate::money::Amount;
use crate::policy::{Period, TimeUnit};
use proptest::prelude::*;
use time::macros::datetime;

const NOON: OffsetDateTime = datetime!(2026-11-23 12:00 UTC);

/// An action of a client or a worker.
#[derive(Clone, Debug)]
enum Action {
    Wait {
        millis: i64,
    },
    Admit {
        engine_ms: u64,
        micros: u64,
    },
    Reuse,
    /// One of the open jobs ends. Its cost is this percentage of its reservation.
    Settle {
        which: prop::sample::Index,
        percent: u64,
    },
    Release {
        which: prop::sample::Index,
    },
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let wait = prop_oneof![4 => 0i64..5_000, 1 => 0i64..40_000_000];
    let action = prop_oneof![
        3 => wait.prop_map(|millis| Action::Wait { millis }),
        6 => (0u64..3_000, 0u64..300_000).prop_map(|(engine_ms, micros)| Action::Admit { engine_ms, micros }),
        1 => Just(Action::Reuse),
        4 => (any::<prop::sample::Index>(), 0u64..200)
            .prop_map(|(which, percent)| Action::Settle { which, percent }),
        1 => any::<prop::sample::Index>().prop_map(|which| Action::Release { which }),
    ];
    prop::collection::vec(action, 1..120)
}

fn policies() -> impl Strategy<Value = Policy> {
    let rate = prop::option::of((
        1u32..20,
        prop_oneof![Just(TimeUnit::Second), Just(TimeUnit::Minute), Just(TimeUnit::Hour)],
    ));
    let period = || prop_oneof![Just(Period::Day), Just(Period::Month)];
    let time = prop::option::of((0u64..20_000, period()));
    let money = prop::option::of((0u64..2_000_000, period()));
    (rate, 0u32..5, time, money).prop_map(|(rate, concurrency, time, money)| Policy {
        rate: rate.and_then(|(count, period)| Rate::new(count, period)),
        concurrency: NonZeroU32::new(concurrency),
        budgets: time
            .map(|(millis, period)| Budget { allowance: Allowance::EngineMs(millis), period })
            .into_iter()
            .chain(
                money.map(|(micros, period)| Budget { allowance: Allowance::Money(dollars(micros)), period }),
            )
            .collect(),
        ..Policy::default()
    })
}

fn dollars(micros: u64) -> Amount {
    Amount { micros, currency: "usd".parse().expect("a currency") }
}

/// A simple model of the account: a list of all jobs with their days and current costs.
#[derive(Default)]
struct Model {
    jobs: Vec<(Date, Spend)>,
    open: Vec<(usize, Reservation)>,
    requests: Vec<OffsetDateTime>,
}

impl Model {
    fn used(&self, budget: &Budget, now: OffsetDateTime) -> u64 {
        let first = budget.period.first_day(now);
        let counted = self.jobs.iter().filter(|(day, _)| *day >= first).map(|(_, spend)| spend);
        counted
            .map(|spend| match budget.allowance {
                Allowance::EngineMs(_) => spend.engine_ms,
                Allowance::Money(_) => spend.amount.map_or(0, |amount| amount.micros),
            })
            .sum()
    }

    /// In any time t there are at most count + t / interval requests.
    fn rate_holds(&self, rate: Rate) -> bool {
        let interval = rate.window().whole_nanoseconds() / i128::from(rate.count());
        self.requests.iter().enumerate().all(|(i, from)| {
            self.requests[i..].iter().enumerate().all(|(n, to)| {
                let maximum = i128::from(rate.count()) + (*to - *from).whole_nanoseconds() / interval;
                (n as i128) < maximum
            })
        })
    }
}

fn charge(cost: &Spend, images: usize) -> Charge<'_> {
    Charge { cost, images, model: "test" }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

#[test]
    fn limits_hold_after_any_sequence_of_actions(policy in policies(), actions in actions()) {
        let (mut account, mut model, mut now) = (Account::default(), Model::default(), NOON);
        for action in actions {
            match action {
                Action::Wait { millis } => now += Duration::milliseconds(millis),
                Action::Admit { engine_ms, micros } => {
                    let reserve = Spend { engine_ms, amount: Some(dollars(micros)) };
                    let before = account.clone();
                    match account.admit(&policy, now, reserve) {
                        Ok(reservation) => {
                            model.open.push((model.jobs.len(), reservation));
                            model.jobs.push((utc_day(now), reserve));
                            model.requests.push(now);
                            for budget in &policy.budgets {
                                prop_assert!(model.used(budget, now) <= budget_units(*budget));
                            }
                        }
                        Err(exceeded) => {
                            prop_assert_eq!(&account, &before);
                            check_exceeded(&exceeded, &policy, &model, now, reserve)?;
                        }
                    }
                }
                Action::Reuse => {
                    if account.admit_reuse(&policy, now, ReuseKind::Joined).is_ok() {
                        model.requests.push(now);
                    }
                }
                Action::Settle { which, percent } if !model.open.is_empty() => {
                    let (job, reservation) = model.open.swap_remove(which.index(model.open.len()));
                    let of = |whole: u64| whole * percent / 100;
                    let amount = reservation.reserved.amount.map(|amount| dollars(of(amount.micros)));
                    let cost = Spend { engine_ms: of(reservation.reserved.engine_ms), amount };
                    account.settle(&reservation, charge(&cost, 1));
                    model.jobs[job].1 = cost;
                }
                Action::Release { which } if !model.open.is_empty() => {
                    let (job, reservation) = model.open.swap_remove(which.index(model.open.len()));
                    account.release(&reservation);
                    model.jobs[job].1 = Spend::ZERO;
                }
                Action::Settle { .. } | Action::Release { .. } => {}
            }
            prop_assert_eq!(account.in_flight as usize, model.open.len());
            if let Some(limit) = policy.concurrency {
                prop_assert!(account.in_flight <= limit.get());
            }
            for budget in &policy.budgets {
                prop_assert_eq!(account.used(*budget, now), model.used(budget, now));
            }
        }
        if let Some(rate) = policy.rate {
            prop_assert!(model.rate_holds(rate));
        }
        for (_, reservation) in std::mem::take(&mut model.open) {
            account.settle(&reservation, charge(&Spend::ZERO, 0));
        }
        prop_assert_eq!(account.in_flight, 0);
        prop_assert!(account.days.values().all(|day| day.reserved.is_zero()));
    }

    #[test]
    fn a_retry_passes_the_rate_from_the_reported_time_on(policy in policies(), requests in 1usize..60) {
        let mut account = Account::default();
        let reserve = Spend { engine_ms: 100, amount: Some(dollars(1_000)) };
        for _ in 0..requests {
            if let Err(LimitExceeded { limit: Limit::Rate(_), retry: RetryTime::At(at) }) = account.admit(&policy, NOON, reserve) {
                let early = account.clone().admit(&policy, at - Duration::NANOSECOND, reserve);
                prop_assert!(early.is_err());
                let then = account.clone().admit(&policy, at, reserve);
                let still_rate = matches!(then, Err(LimitExceeded { limit: Limit::Rate(_), .. }));
                prop_assert!(!still_rate, "retry at {at}: {then:?}");
                break;
            }
        }
    }

    #[test]
    fn exactly_the_remaining_requests_are_admitted(
        count in 1u32..50,
        used in 0u32..60,
        millis in 0i64..70_000,
    ) {
        let policy = Policy { rate: Rate::new(count, TimeUnit::Minute), ..Policy::default() };
        let mut account = Account::default();
        for _ in 0..used {
            let _ = account.admit(&policy, NOON, Spend::ZERO);
        }
        let now = NOON + Duration::milliseconds(millis);
        let remaining = account.quotas(&policy, now)[0].remaining;
        for _ in 0..remaining {
            prop_assert!(account.admit(&policy, now, Spend::ZERO).is_ok());
        }
        prop_assert!(account.admit(&policy, now, Spend::ZERO).is_err());
    }

    #[test]
    fn an_account_is_read_as_it_was_written(policy in policies(), requests in 0u64..20) {
        let mut account = Account::default();
        for i in 0..requests {
            let reserve = Spend { engine_ms: i, amount: Some(dollars(i)) };
            let _ = account.admit(&policy, NOON + Duration::hours(i as i64), reserve);
        }
        let json = serde_json::to_string(&account).expect("plain data");
        prop_assert_eq!(serde_json::from_str::<Account>(&json).expect("its own text"), account);
    }
}

/// Checks that the request exceeds the reported limit in the model too.
fn check_exceeded(
    exceeded: &LimitExceeded,
    policy: &Policy,
    model: &Model,
    now: OffsetDateTime,
    reserve: Spend,
) -> Result<(), TestCaseError> {
    match exceeded.limit {
        Limit::Budget(budget) => {
            let requested = match budget.allowance {
                Allowance::EngineMs(_) => reserve.engine_ms,
                Allowance::Money(_) => reserve.amount.map_or(0, |amount| amount.micros),
            };
            prop_assert!(model.used(&budget, now) + requested > budget_units(budget));
            prop_assert_eq!(exceeded.retry == RetryTime::Never, requested > budget_units(budget));
        }
        Limit::Concurrency(limit) => prop_assert_eq!(model.open.len() as u32, limit.get()),
        Limit::Rate(rate) => {
            prop_assert_eq!(Some(rate), policy.rate);
            prop_assert!(matches!(exceeded.retry, RetryTime::At(at) if at > now));
        }
    }
    Ok(())
}

#[test]
fn a_whole_burst_is_admitted_and_then_one_request_per_interval() {
    let policy = Policy { rate: "60/min".parse().ok(), ..Policy::default() };
    let mut account = Account::default();
    for _ in 0..60 {
        account.admit(&policy, NOON, Spend::ZERO).expect("the burst");
    }
    let exceeded = account.admit(&policy, NOON, Spend::ZERO).expect_err("the sixty-first");
    assert_eq!(exceeded.retry, RetryTime::At(NOON + Duration::SECOND));
    account.admit(&policy, NOON + Duration::SECOND, Spend::ZERO).expect("a second later");
    assert!(account.admit(&policy, NOON + Duration::SECOND, Spend::ZERO).is_err());
}

#[test]
fn a_clock_that_is_set_back_is_harmless() {
    let policy = Policy {
        rate: "1/s".parse().ok(),
        budgets: vec!["1s/day".parse().expect("a budget")],
        ..Policy::default()
    };
    let reserve = Spend { engine_ms: 600, amount: None };
    let mut account = Account::default();
    let reservation = account.admit(&policy, NOON, reserve).expect("the first");
    // The key is not locked for the hour, and its rate holds from now on.
    let earlier = NOON - Duration::hours(1);
    let second = account.admit(&policy, earlier, Spend::ZERO).expect("the first of this clock");
    let exceeded = account.admit(&policy, earlier, Spend::ZERO).expect_err("too soon");
    assert_eq!(exceeded.retry, RetryTime::At(earlier + Duration::SECOND));
    account.release(&second);
    account.settle(&reservation, charge(&reserve, 1));
    assert_eq!(account.in_flight, 0);
}

#[test]
fn old_days_are_removed_unless_they_have_reservations() {
    let mut account = Account::default();
    let open =
        account.admit(&Policy::default(), NOON, Spend { engine_ms: 5, amount: None }).expect("no limits");
    let next_day = NOON + Duration::DAY;
    let ended =
        account.admit(&Policy::default(), next_day, Spend { engine_ms: 5, amount: None }).expect("no limits");
    account.settle(&ended, charge(&ended.reserved, 1));
    account.forget_days_before(utc_day(NOON + Duration::days(9)));
    assert_eq!(account.days.keys().copied().collect::<Vec<_>>(), [utc_day(NOON)]);
    account.settle(&open, charge(&open.reserved, 1));
    account.forget_days_before(utc_day(NOON + Duration::days(9)));
    assert!(account.days.is_empty());
}

#[test]
fn a_clock_that_was_ahead_does_not_lock_the_key() {
    let policy = Policy { rate: "60/min".parse().ok(), ..Policy::default() };
    for ahead in [Duration::minutes(2), Duration::DAY, Duration::days(36_500)] {
        let mut account = Account::default();
        while account.admit(&policy, NOON + ahead, Spend::ZERO).is_ok() {}
        assert_eq!(account.quotas(&policy, NOON)[0].remaining, 1, "{ahead}");
        assert!(account.quotas(&policy, NOON)[0].resets_at <= Some(NOON + Duration::MINUTE), "{ahead}");
        account.admit(&policy, NOON, Spend::ZERO).expect("the clock is back");
        assert_eq!(account.arrival, Some(NOON + Duration::MINUTE), "{ahead}: at most now and the burst");
        let refused = account.admit(&policy, NOON, Spend::ZERO).expect_err("the burst is used up");
        assert_eq!(refused.retry, RetryTime::At(NOON + Duration::SECOND), "{ahead}");
        account.admit(&policy, NOON + Duration::SECOND, Spend::ZERO).expect("one request per second");
    }
}

#[test]
fn clocks_that_differ_a_little_do_not_exceed_the_rate() {
    let policy = Policy { rate: "60/min".parse().ok(), ..Policy::default() };
    let mut account = Account::default();
    while account.admit(&policy, NOON + Duration::seconds(4), Spend::ZERO).is_ok() {}
    account.admit(&policy, NOON, Spend::ZERO).expect_err("the burst is used up");
}

#[test]
fn the_stored_form_of_an_account_does_not_change() {
    let mut account = Account::default();
    let policy = Policy { rate: "60/min".parse().ok(), ..Policy::default() };
    let spend = |engine_ms| Spend { engine_ms, amount: "0.01usd".parse().ok() };
    let first = account.admit(&policy, NOON, spend(1_000)).expect("admitted");
    account.admit(&policy, NOON, spend(500)).expect("admitted");
    account.settle(&first, charge(&spend(700), 2));
    account.admit_reuse(&policy, NOON, ReuseKind::Joined).expect("admitted");
    let text = serde_json::to_value(&account).expect("plain data");
    let expected = serde_json::json!({
        "arrival": "2026-11-23T12:00:03Z", "in_flight": 1,
        "days": {"2026-11-23": {
            "jobs": 2, "pictures": 2, "stored": 0, "joined": 1,
            "spent": {"engine_ms": 700, "money": {"usd": 10_000}},
            "reserved": {"engine_ms": 500, "money": {"usd": 10_000}},
            "models": {"test": {
                "jobs": 1, "pictures": 2, "spent": {"engine_ms": 700, "money": {"usd": 10_000}},
            }},
        }},
    });
    assert_eq!(text, expected);
    assert_eq!(serde_json::from_value::<Account>(text).expect("its own text"), account);
}
