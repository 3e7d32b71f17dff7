//! The books of one key: what it has spent, what is reserved, when it may come again. Pure sums, no input or output;
//! whoever keeps an account makes reading, changing and writing it one step.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use time::{Date, Duration, OffsetDateTime};
use uuid::Uuid;

use crate::limits::{Limit, LimitExceeded, Quota, RetryTime};
use crate::money::{Spend, Totals};
use crate::policy::{Allowance, Budget, Policy, Rate, utc_day};

/// How many days of usage are kept.
pub const USAGE_RETENTION_DAYS: i64 = 400;

/// One day of one key, in UTC. A job counts for the day on which it was accepted, also if it ends on the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DayUsage {
    /// Jobs that were accepted.
    pub jobs: u64,
    /// Pictures that were made.
    pub pictures: u64,
    /// Requests answered with a stored picture: cache hits.
    pub stored: u64,
    /// Requests that joined a job in flight.
    pub joined: u64,
    /// What ended jobs took.
    pub spent: Totals,
    /// What jobs in flight may take.
    #[serde(skip_serializing_if = "Totals::is_zero")]
    pub reserved: Totals,
}

/// What admission reserved for one job. It is given back by exactly one [`Account::settle`] or [`Account::release`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// Tells this reservation from every other.
    pub id: Uuid,
    /// The day whose budget it is taken from.
    pub day: Date,
    /// How much.
    pub reserved: Spend,
}

/// How a request was answered without a job of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReuseKind {
    /// It joined a job in flight.
    Joined,
    /// It got a stored picture.
    Stored,
}

/// Everything that the limits of one key need to know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Account {
    /// The theoretical arrival time of the generic cell rate algorithm: when the whole burst is there again.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub arrival: Option<OffsetDateTime>,
    /// Jobs queued or running.
    pub in_flight: u32,
    /// What was used, by day.
    pub days: BTreeMap<Date, DayUsage>,
}

impl Account {
    /// Lets a job in and reserves what it may take, or says which limit is in the way and changes nothing.
    /// Budgets are looked at first (waiting for the rate would not help there), then concurrency, then the rate.
    ///
    /// # Errors
    /// [`LimitExceeded`] with the limit and when to come back.
    pub fn admit(
        &mut self,
        policy: &Policy,
        now: OffsetDateTime,
        reserve: Spend,
    ) -> Result<Reservation, LimitExceeded> {
        for budget in &policy.budgets {
            self.check_budget(*budget, now, &reserve)?;
        }
        if let Some(limit) = policy.concurrency {
            self.check_concurrency(limit)?;
        }
        self.consume_rate(policy, now)?;
        self.in_flight = self.in_flight.saturating_add(1);
        let reservation = Reservation { id: Uuid::new_v4(), day: utc_day(now), reserved: reserve };
        let today = self.today(now);
        today.jobs += 1;
        today.reserved.add(&reserve);
        Ok(reservation)
    }

    /// Lets in a request that needs no job of its own: it takes its turn in the rate and nothing else.
    ///
    /// # Errors
    /// [`LimitExceeded`] by the rate.
    pub fn admit_reuse(
        &mut self,
        policy: &Policy,
        now: OffsetDateTime,
        how: ReuseKind,
    ) -> Result<(), LimitExceeded> {
        self.consume_rate(policy, now)?;
        let today = self.today(now);
        match how {
            ReuseKind::Joined => today.joined += 1,
            ReuseKind::Stored => today.stored += 1,
        }
        Ok(())
    }

    /// Turns a reservation into what the job really took.
    pub fn settle(&mut self, reservation: &Reservation, took: &Spend, pictures: usize) {
        let day = self.remove_reservation(reservation);
        day.spent.add(took);
        day.pictures += pictures as u64;
    }

    /// Gives a reservation back as if its job had never been let in (its turn in the rate is not given back).
    pub fn release(&mut self, reservation: &Reservation) {
        let day = self.remove_reservation(reservation);
        day.jobs = day.jobs.saturating_sub(1);
    }

    fn remove_reservation(&mut self, reservation: &Reservation) -> &mut DayUsage {
        self.in_flight = self.in_flight.saturating_sub(1);
        let day = self.days.entry(reservation.day).or_default();
        day.reserved.subtract(&reservation.reserved);
        day
    }

    /// What is left of every limit.
    pub fn quotas(&self, policy: &Policy, now: OffsetDateTime) -> Vec<Quota> {
        let rate = policy.rate.map(|rate| self.rate_quota(rate, now));
        let concurrency = policy.concurrency.map(|limit| Quota {
            limit: Limit::Concurrency(limit),
            remaining: limit.get().saturating_sub(self.in_flight).into(),
            resets_at: None,
        });
        let budgets = policy.budgets.iter().map(|budget| Quota {
            limit: Limit::Budget(*budget),
            remaining: budget_units(*budget).saturating_sub(self.taken(*budget, now)),
            resets_at: Some(budget.per.next(now)),
        });
        rate.into_iter().chain(concurrency).chain(budgets).collect()
    }

    /// Forgets the days before `first`, except those with something still reserved.
    pub fn forget_days_before(&mut self, first: Date) {
        self.days.retain(|day, usage| *day >= first || !usage.reserved.is_zero());
    }

    fn today(&mut self, now: OffsetDateTime) -> &mut DayUsage {
        self.days.entry(utc_day(now)).or_default()
    }

    /// Spent and reserved in the budget's period so far, in the budget's own unit.
    fn taken(&self, budget: Budget, now: OffsetDateTime) -> u64 {
        let days = self.days.range(budget.per.first_day(now)..=utc_day(now)).map(|(_, day)| day);
        days.flat_map(|day| [&day.spent, &day.reserved])
            .map(|totals| match budget.allowance {
                Allowance::EngineMs(_) => totals.engine_ms,
                Allowance::Money(amount) => totals.micros(amount.currency),
            })
            .fold(0, u64::saturating_add)
    }

    fn check_budget(
        &self,
        budget: Budget,
        now: OffsetDateTime,
        reserve: &Spend,
    ) -> Result<(), LimitExceeded> {
        let asked = match (budget.allowance, reserve.amount) {
            (Allowance::EngineMs(_), _) => reserve.engine_ms,
            (Allowance::Money(limit), Some(amount)) if amount.currency == limit.currency => amount.micros,
            (Allowance::Money(_), _) => 0,
        };
        let limit = budget_units(budget);
        let retry = if asked > limit { RetryTime::Never } else { RetryTime::At(budget.per.next(now)) };
        let taken = self.taken(budget, now);
        // What is free of charge passes a budget that is just used up; one that jobs overdrew lets nothing in.
        if taken.saturating_add(asked) > limit {
            return Err(LimitExceeded { limit: Limit::Budget(budget), retry });
        }
        Ok(())
    }

    fn check_concurrency(&self, limit: NonZeroU32) -> Result<(), LimitExceeded> {
        if self.in_flight >= limit.get() {
            return Err(LimitExceeded { limit: Limit::Concurrency(limit), retry: RetryTime::WhenJobEnds });
        }
        Ok(())
    }

    fn consume_rate(&mut self, policy: &Policy, now: OffsetDateTime) -> Result<(), LimitExceeded> {
        let Some(rate) = policy.rate else { return Ok(()) };
        let (interval, burst) = rate_parameters(rate);
        let arrival = self.arrival.map_or(now, |arrival| arrival.max(now)) + interval;
        if arrival - now > burst {
            return Err(LimitExceeded { limit: Limit::Rate(rate), retry: RetryTime::At(arrival - burst) });
        }
        self.arrival = Some(arrival);
        Ok(())
    }

    fn rate_quota(&self, rate: Rate, now: OffsetDateTime) -> Quota {
        let (interval, burst) = rate_parameters(rate);
        let arrival = self.arrival.map_or(now, |arrival| arrival.max(now));
        let left = (burst - (arrival - now)).whole_nanoseconds().max(0);
        let remaining = (left / interval.whole_nanoseconds()) as u64;
        Quota { limit: Limit::Rate(rate), remaining, resets_at: Some(arrival) }
    }
}

/// The time between two requests, and how much of it may be used up in advance.
fn rate_parameters(rate: Rate) -> (Duration, Duration) {
    let interval =
        Duration::nanoseconds((rate.window().whole_nanoseconds() / i128::from(rate.count())) as i64);
    (interval, interval * rate.count())
}

/// The budget's size in its own unit: milliseconds, or millionths of the currency.
fn budget_units(budget: Budget) -> u64 {
    match budget.allowance {
        Allowance::EngineMs(millis) => millis,
        Allowance::Money(amount) => amount.micros,
    }
}

#[cfg(test)]
mod tests;
