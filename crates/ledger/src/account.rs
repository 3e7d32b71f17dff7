//! The account of an API key: what it has spent, what is reserved, and the state of its rate limit. These are
//! pure calculations; a ledger must read, change and write an account in one atomic step.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use time::{Date, Duration, OffsetDateTime};
use uuid::Uuid;

use crate::limits::{Limit, LimitExceeded, Quota, RetryTime};
use crate::money::{Spend, Totals};
use crate::policy::{Allowance, Budget, Policy, Rate, utc_day};

/// The number of days for which usage is kept.
pub const USAGE_RETENTION_DAYS: i64 = 400;

/// The difference between the clocks of processes that is not taken for a clock that was set back.
const CLOCK_TOLERANCE: Duration = Duration::seconds(5);

/// The usage of one key on one UTC day. A job counts for the day on which it was accepted, even if it ends
/// later.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DayUsage {
    /// Accepted jobs.
    pub jobs: u64,
    /// Generated images.
    pub pictures: u64,
    /// Requests answered with a stored image (cache hits).
    pub stored: u64,
    /// Requests that joined a job in flight.
    pub joined: u64,
    /// The cost of ended jobs.
    pub spent: Totals,
    /// The reserved cost of jobs in flight.
    #[serde(skip_serializing_if = "Totals::is_zero")]
    pub reserved: Totals,
    /// The ended jobs, by the name of the model.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<String, ModelUsage>,
}

/// The usage of a model on a day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelUsage {
    /// Ended jobs.
    pub jobs: u64,
    /// Generated images.
    pub pictures: u64,
    /// The cost of ended jobs.
    pub spent: Totals,
}

/// What is charged for a job that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Charge<'a> {
    /// The cost.
    pub cost: &'a Spend,
    /// The number of images.
    pub images: usize,
    /// The name of the model; empty if the record does not have it.
    pub model: &'a str,
}

/// The amount that admission reserved for one job. Exactly one [`Account::settle`] or [`Account::release`]
/// ends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// A unique id.
    pub id: Uuid,
    /// The day whose budget the amount is taken from.
    pub day: Date,
    /// The reserved cost.
    pub reserved: Spend,
}

/// How an earlier job answered a request, so that no new job was needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReuseKind {
    /// The request joined a job in flight.
    Joined,
    /// The request was answered with a stored image.
    Stored,
}

/// The usage of one key, and the state of its limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Account {
    /// The theoretical arrival time of the generic cell rate algorithm (GCRA): from then on the whole burst
    /// is available.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub arrival: Option<OffsetDateTime>,
    /// The number of queued or running jobs.
    pub in_flight: u32,
    /// Usage by UTC day.
    pub days: BTreeMap<Date, DayUsage>,
}

impl Account {
    /// Admits a job and reserves its expected cost. If a limit is exceeded, nothing changes.
    ///
    /// Budgets are checked first, because a client that waits for the rate limit would still exceed them;
    /// then concurrency, then the rate.
    ///
    /// # Errors
    /// [`LimitExceeded`] with the limit and the time to retry.
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

    /// Admits a request that an earlier job answers. Such a request counts towards the rate limit only.
    ///
    /// # Errors
    /// [`LimitExceeded`] with the rate limit.
    pub fn admit_reuse(
        &mut self,
        policy: &Policy,
        now: OffsetDateTime,
        kind: ReuseKind,
    ) -> Result<(), LimitExceeded> {
        self.consume_rate(policy, now)?;
        let today = self.today(now);
        match kind {
            ReuseKind::Joined => today.joined += 1,
            ReuseKind::Stored => today.stored += 1,
        }
        Ok(())
    }

    /// Replaces a reservation with the job's actual cost.
    pub fn settle(&mut self, reservation: &Reservation, charge: Charge<'_>) {
        let Charge { cost, images, model } = charge;
        let day = self.remove_reservation(reservation);
        day.spent.add(cost);
        day.pictures += images as u64;
        if !model.is_empty() {
            let usage = day.models.entry(model.to_owned()).or_default();
            usage.jobs += 1;
            usage.pictures += images as u64;
            usage.spent.add(cost);
        }
    }

    /// Removes a reservation as if its job had never been admitted. The request still counts towards the rate
    /// limit.
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

    /// Returns what is left of every limit.
    pub fn quotas(&self, policy: &Policy, now: OffsetDateTime) -> Vec<Quota> {
        let rate = policy.rate.map(|rate| self.rate_quota(rate, now));
        let concurrency = policy.concurrency.map(|limit| Quota {
            limit: Limit::Concurrency(limit),
            remaining: limit.get().saturating_sub(self.in_flight).into(),
            resets_at: None,
        });
        let budgets = policy.budgets.iter().map(|budget| Quota {
            limit: Limit::Budget(*budget),
            remaining: budget_units(*budget).saturating_sub(self.used(*budget, now)),
            resets_at: Some(budget.period.next(now)),
        });
        rate.into_iter().chain(concurrency).chain(budgets).collect()
    }

    /// Removes the usage of the days before `first`, except days with open reservations.
    pub fn forget_days_before(&mut self, first: Date) {
        self.days.retain(|day, usage| *day >= first || !usage.reserved.is_zero());
    }

    fn today(&mut self, now: OffsetDateTime) -> &mut DayUsage {
        self.days.entry(utc_day(now)).or_default()
    }

    /// Spent plus reserved in the current period, in the budget's unit (see [`budget_units`]).
    fn used(&self, budget: Budget, now: OffsetDateTime) -> u64 {
        let days = self.days.range(budget.period.first_day(now)..=utc_day(now)).map(|(_, day)| day);
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
        let requested = match (budget.allowance, reserve.amount) {
            (Allowance::EngineMs(_), _) => reserve.engine_ms,
            (Allowance::Money(limit), Some(amount)) if amount.currency == limit.currency => amount.micros,
            (Allowance::Money(_), _) => 0,
        };
        let limit = budget_units(budget);
        let retry = if requested > limit { RetryTime::Never } else { RetryTime::At(budget.period.next(now)) };
        // A request without cost passes if the budget is exactly used up, but not if running jobs exceeded
        // it.
        if self.used(budget, now).saturating_add(requested) > limit {
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
        let arrival = self.theoretical_arrival(rate, now) + interval;
        if arrival - now > burst {
            return Err(LimitExceeded { limit: Limit::Rate(rate), retry: RetryTime::At(arrival - burst) });
        }
        self.arrival = Some(arrival);
        Ok(())
    }

    /// The theoretical arrival time, at least `now`.
    ///
    /// A stored time later than `now` plus the burst means that the clock was ahead when it was written. It is
    /// then taken as one request less than the whole burst, so that the next request passes and stores a time
    /// of the present clock. Without this, the key would be locked until the clock reaches the stored time.
    fn theoretical_arrival(&self, rate: Rate, now: OffsetDateTime) -> OffsetDateTime {
        let (interval, burst) = rate_parameters(rate);
        match self.arrival {
            None => now,
            Some(arrival) if arrival - now > burst + CLOCK_TOLERANCE => now + burst - interval,
            Some(arrival) => arrival.max(now),
        }
    }

    fn rate_quota(&self, rate: Rate, now: OffsetDateTime) -> Quota {
        let (interval, burst) = rate_parameters(rate);
        let arrival = self.theoretical_arrival(rate, now);
        let left = (burst - (arrival - now)).whole_nanoseconds().max(0);
        let remaining = (left / interval.whole_nanoseconds()) as u64;
        Quota { limit: Limit::Rate(rate), remaining, resets_at: Some(arrival) }
    }
}

/// The parameters of the generic cell rate algorithm: the emission interval (the time between two requests)
/// and the burst tolerance (how much time requests may use in advance).
fn rate_parameters(rate: Rate) -> (Duration, Duration) {
    let interval =
        Duration::nanoseconds((rate.window().whole_nanoseconds() / i128::from(rate.count())) as i64);
    (interval, interval * rate.count())
}

/// The size of the budget in its unit: milliseconds of engine time, or millionths of the currency's main
/// unit.
fn budget_units(budget: Budget) -> u64 {
    match budget.allowance {
        Allowance::EngineMs(millis) => millis,
        Allowance::Money(amount) => amount.micros,
    }
}

#[cfg(test)]
mod tests;
