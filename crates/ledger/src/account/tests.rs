use super::*;
use crate::money::Amount;
use crate::policy::{Period, TimeUnit};
use proptest::prelude::*;
use time::macros::datetime;

const NOON: OffsetDateTime = datetime!(2026-11-23 12:00 UTC);

/// What a client or a worker does.
#[derive(Clone, Debug)]
enum Act {
    Wait {
        millis: i64,
    },
    Ask {
        engine_ms: u64,
        micros: u64,
    },
    Share,
    /// The job that was let in so many before the last ends and took this share of its reservation, in percent.
    End {
        which: prop::sample::Index,
        percent: u64,
    },
    Release {
        which: prop::sample::Index,
    },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let wait = prop_oneof![4 => 0i64..5_000, 1 => 0i64..40_000_000];
    let act = prop_oneof![
        3 => wait.prop_map(|millis| Act::Wait { millis }),
        6 => (0u64..3_000, 0u64..300_000).prop_map(|(engine_ms, micros)| Act::Ask { engine_ms, micros }),
        1 => Just(Act::Share),
        4 => (any::<prop::sample::Index>(), 0u64..200).prop_map(|(which, percent)| Act::End { which, percent }),
        1 => any::<prop::sample::Index>().prop_map(|which| Act::Release { which }),
    ];
    prop::collection::vec(act, 1..120)
}

fn policies() -> impl Strategy<Value = Policy> {
    let rate = prop::option::of((
        1u32..20,
        prop_oneof![Just(TimeUnit::Second), Just(TimeUnit::Minute), Just(TimeUnit::Hour)],
    ));
    let per = || prop_oneof![Just(Period::Day), Just(Period::Month)];
    let time = prop::option::of((0u64..20_000, per()));
    let money = prop::option::of((0u64..2_000_000, per()));
    (rate, 0u32..5, time, money).prop_map(|(rate, concurrency, time, money)| Policy {
        rate: rate.and_then(|(count, per)| Rate::new(count, per)),
        concurrency: NonZeroU32::new(concurrency),
        budgets: time
            .map(|(millis, per)| Budget { allowance: Allowance::EngineMs(millis), per })
            .into_iter()
            .chain(money.map(|(micros, per)| Budget { allowance: Allowance::Money(dollars(micros)), per }))
            .collect(),
    })
}

fn dollars(micros: u64) -> Amount {
    Amount { micros, currency: "usd".parse().expect("a currency") }
}

/// The same books kept in another way: every job with its day and what it counts for now.
#[derive(Default)]
struct Ledger {
    jobs: Vec<(Date, Spend)>,
    open: Vec<(usize, Reservation)>,
    turns: Vec<OffsetDateTime>,
}

impl Ledger {
    fn taken(&self, budget: &Budget, now: OffsetDateTime) -> u64 {
        let first = budget.per.first_day(now);
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
        self.turns.iter().enumerate().all(|(i, from)| {
            self.turns[i..].iter().enumerate().all(|(n, to)| {
                let most = i128::from(rate.count()) + (*to - *from).whole_nanoseconds() / interval;
                (n as i128) < most
            })
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn limits_hold_whatever_happens(policy in policies(), acts in acts()) {
        let (mut account, mut books, mut now) = (Account::default(), Ledger::default(), NOON);
        for act in acts {
            match act {
                Act::Wait { millis } => now += Duration::milliseconds(millis),
                Act::Ask { engine_ms, micros } => {
                    let reserve = Spend { engine_ms, amount: Some(dollars(micros)) };
                    let before = account.clone();
                    match account.admit(&policy, now, reserve) {
                        Ok(reservation) => {
                            books.open.push((books.jobs.len(), reservation));
                            books.jobs.push((utc_day(now), reserve));
                            books.turns.push(now);
                            for budget in &policy.budgets {
                                prop_assert!(books.taken(budget, now) <= budget_units(*budget));
                            }
                        }
                        Err(refused) => {
                            prop_assert_eq!(&account, &before);
                            check_refusal(&refused, &policy, &books, (now, reserve))?;
                        }
                    }
                }
                Act::Share => {
                    if account.admit_reuse(&policy, now, ReuseKind::Joined).is_ok() {
                        books.turns.push(now);
                    }
                }
                Act::End { which, percent } if !books.open.is_empty() => {
                    let (job, reservation) = books.open.swap_remove(which.index(books.open.len()));
                    let of = |whole: u64| whole * percent / 100;
                    let amount = reservation.reserved.amount.map(|amount| dollars(of(amount.micros)));
                    let took = Spend { engine_ms: of(reservation.reserved.engine_ms), amount };
                    account.settle(&reservation, &took, 1);
                    books.jobs[job].1 = took;
                }
                Act::Release { which } if !books.open.is_empty() => {
                    let (job, reservation) = books.open.swap_remove(which.index(books.open.len()));
                    account.release(&reservation);
                    books.jobs[job].1 = Spend::ZERO;
                }
                Act::End { .. } | Act::Release { .. } => {}
            }
            prop_assert_eq!(account.in_flight as usize, books.open.len());
            if let Some(limit) = policy.concurrency {
                prop_assert!(account.in_flight <= limit.get());
            }
            for budget in &policy.budgets {
                prop_assert_eq!(account.taken(*budget, now), books.taken(budget, now));
            }
        }
        if let Some(rate) = policy.rate {
            prop_assert!(books.rate_holds(rate));
        }
        for (_, reservation) in std::mem::take(&mut books.open) {
            account.settle(&reservation, &Spend::ZERO, 0);
        }
        prop_assert_eq!(account.in_flight, 0);
        prop_assert!(account.days.values().all(|day| day.reserved.is_zero()));
    }

    #[test]
    fn coming_back_when_told_helps(policy in policies(), asks in 1usize..60) {
        let mut account = Account::default();
        let reserve = Spend { engine_ms: 100, amount: Some(dollars(1_000)) };
        for _ in 0..asks {
            if let Err(LimitExceeded { limit: Limit::Rate(_), retry: RetryTime::At(at) }) = account.admit(&policy, NOON, reserve) {
                let early = account.clone().admit(&policy, at - Duration::NANOSECOND, reserve);
                prop_assert!(early.is_err());
                let then = account.clone().admit(&policy, at, reserve);
                let still_rate = matches!(then, Err(LimitExceeded { limit: Limit::Rate(_), .. }));
                prop_assert!(!still_rate, "told {at}, then {then:?}");
                break;
            }
        }
    }

    #[test]
    fn what_standing_tells_is_let_in(count in 1u32..50, used in 0u32..60, millis in 0i64..70_000) {
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
    fn an_account_survives_json(policy in policies(), asks in 0u64..20) {
        let mut account = Account::default();
        for i in 0..asks {
            let reserve = Spend { engine_ms: i, amount: Some(dollars(i)) };
            let _ = account.admit(&policy, NOON + Duration::hours(i as i64), reserve);
        }
        let json = serde_json::to_string(&account).expect("plain data");
        prop_assert_eq!(serde_json::from_str::<Account>(&json).expect("its own text"), account);
    }
}

/// A refusal names a limit that really is in the way.
fn check_refusal(
    refused: &LimitExceeded,
    policy: &Policy,
    books: &Ledger,
    (now, reserve): (OffsetDateTime, Spend),
) -> Result<(), TestCaseError> {
    match refused.limit {
        Limit::Budget(budget) => {
            let asked = match budget.allowance {
                Allowance::EngineMs(_) => reserve.engine_ms,
                Allowance::Money(_) => reserve.amount.map_or(0, |amount| amount.micros),
            };
            prop_assert!(books.taken(&budget, now) + asked > budget_units(budget));
            prop_assert_eq!(refused.retry == RetryTime::Never, asked > budget_units(budget));
        }
        Limit::Concurrency(limit) => prop_assert_eq!(books.open.len() as u32, limit.get()),
        Limit::Rate(rate) => {
            prop_assert_eq!(Some(rate), policy.rate);
            prop_assert!(matches!(refused.retry, RetryTime::At(at) if at > now));
        }
    }
    Ok(())
}

#[test]
fn a_whole_burst_comes_at_once_and_then_one_at_a_time() {
    let policy = Policy { rate: "60/min".parse().ok(), ..Policy::default() };
    let mut account = Account::default();
    for _ in 0..60 {
        account.admit(&policy, NOON, Spend::ZERO).expect("the burst");
    }
    let refused = account.admit(&policy, NOON, Spend::ZERO).expect_err("the sixty-first");
    assert_eq!(refused.retry, RetryTime::At(NOON + Duration::SECOND));
    account.admit(&policy, NOON + Duration::SECOND, Spend::ZERO).expect("a second later");
    assert!(account.admit(&policy, NOON + Duration::SECOND, Spend::ZERO).is_err());
}

#[test]
fn a_clock_that_goes_back_breaks_nothing() {
    let policy = Policy {
        rate: "1/s".parse().ok(),
        budgets: vec!["1s/day".parse().expect("a budget")],
        ..Policy::default()
    };
    let reserve = Spend { engine_ms: 600, amount: None };
    let mut account = Account::default();
    let reservation = account.admit(&policy, NOON, reserve).expect("the first");
    let refused = account.admit(&policy, NOON - Duration::hours(1), Spend::ZERO).expect_err("too soon");
    assert_eq!(refused.retry, RetryTime::At(NOON + Duration::SECOND));
    account.settle(&reservation, &reserve, 1);
    assert_eq!(account.in_flight, 0);
}

#[test]
fn old_days_are_forgotten_but_not_what_is_reserved() {
    let mut account = Account::default();
    let open =
        account.admit(&Policy::default(), NOON, Spend { engine_ms: 5, amount: None }).expect("no limits");
    let next_day = NOON + Duration::DAY;
    let ended =
        account.admit(&Policy::default(), next_day, Spend { engine_ms: 5, amount: None }).expect("no limits");
    account.settle(&ended, &ended.reserved, 1);
    account.forget_days_before(utc_day(NOON + Duration::days(9)));
    assert_eq!(account.days.keys().copied().collect::<Vec<_>>(), [utc_day(NOON)]);
    account.settle(&open, &open.reserved, 1);
    account.forget_days_before(utc_day(NOON + Duration::days(9)));
    assert!(account.days.is_empty());
}
