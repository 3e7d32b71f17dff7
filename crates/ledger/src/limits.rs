//! The limits of an API key: which one a request exceeds, and how much of each is left.

use std::fmt;
use std::num::NonZeroU32;

use time::OffsetDateTime;

use crate::policy::{Allowance, Budget, Period, Rate};

/// One of a key's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Requests per unit of time.
    Rate(Rate),
    /// Jobs that are queued or running at the same time.
    Concurrency(NonZeroU32),
    /// Engine time or money per day or month.
    Budget(Budget),
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rate(rate) => write!(f, "rate {rate}"),
            Self::Concurrency(limit) => write!(f, "concurrency {limit}"),
            Self::Budget(budget) => write!(f, "budget {budget}"),
        }
    }
}

/// When a request that exceeds a limit can succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryTime {
    /// From this time on.
    At(OffsetDateTime),
    /// When one of the key's jobs has ended.
    WhenJobEnds,
    /// Never: the request costs more than the whole budget.
    Never,
}

/// A request exceeds a limit of its API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request exceeds the API key's limit `{limit}`")]
pub struct LimitExceeded {
    /// The exceeded limit.
    pub limit: Limit,
    /// When to retry.
    pub retry: RetryTime,
}

impl LimitExceeded {
    /// The value of the `Retry-After` header: whole seconds until a retry can succeed, rounded up, at least
    /// 1. `None` if the time is unknown.
    pub fn retry_after(&self, now: OffsetDateTime) -> Option<u64> {
        match self.retry {
            RetryTime::At(at) => Some(seconds_until(at, now).max(1)),
            RetryTime::WhenJobEnds | RetryTime::Never => None,
        }
    }
}

/// How much of a limit is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The limit.
    pub limit: Limit,
    /// What is left. The unit depends on the limit: requests, jobs, milliseconds of engine time, or
    /// millionths of the currency's main unit.
    pub remaining: u64,
    /// When the whole limit is available again if no further requests arrive; `None` for concurrency.
    pub resets_at: Option<OffsetDateTime>,
}

impl Quota {
    /// The item of this limit in the `RateLimit` header (draft-ietf-httpapi-ratelimit-headers-10), for
    /// example `"rate";r=59;t=1`.
    pub fn header(&self, now: OffsetDateTime) -> String {
        let (name, unit) = (self.name(), self.unit());
        let reset = self.resets_at.map(|at| format!(";t={}", seconds_until(at, now))).unwrap_or_default();
        format!("\"{name}\";r={}{reset}", self.remaining / unit)
    }

    /// The item of this limit in the `RateLimit-Policy` header, for example `"rate";q=60;w=60`. Budgets are
    /// given in whole seconds of engine time or whole hundredths of the currency's main unit, rounded down.
    pub fn policy_header(&self) -> String {
        let name = self.name();
        match self.limit {
            Limit::Rate(rate) => format!("\"{name}\";q={};w={}", rate.count(), rate.window().whole_seconds()),
            Limit::Concurrency(limit) => format!("\"{name}\";q={limit};qu=\"concurrent-requests\""),
            Limit::Budget(budget) => {
                let (size, quota_unit) = match budget.allowance {
                    Allowance::EngineMs(millis) => (millis, "engine-seconds".to_owned()),
                    Allowance::Money(amount) => (amount.micros, format!("{}-cents", amount.currency)),
                };
                // Months differ in length, so the policy of a monthly budget has no window.
                let window = if budget.period == Period::Day { ";w=86400" } else { "" };
                format!("\"{name}\";q={};qu=\"{quota_unit}\"{window}", size / self.unit())
            }
        }
    }

    fn name(&self) -> String {
        match self.limit {
            Limit::Rate(_) => "rate".to_owned(),
            Limit::Concurrency(_) => "concurrency".to_owned(),
            Limit::Budget(budget) => {
                let what = match budget.allowance {
                    Allowance::EngineMs(_) => "engine".to_owned(),
                    Allowance::Money(amount) => amount.currency.to_string(),
                };
                let per = match budget.period {
                    Period::Day => "day",
                    Period::Month => "month",
                };
                format!("{what}-{per}")
            }
        }
    }

    /// How many of the units of `remaining` make one unit of the headers.
    fn unit(&self) -> u64 {
        match self.limit {
            Limit::Rate(_) | Limit::Concurrency(_) => 1,
            Limit::Budget(Budget { allowance: Allowance::EngineMs(_), .. }) => 1_000,
            Limit::Budget(Budget { allowance: Allowance::Money(_), .. }) => 10_000,
        }
    }
}

/// Whole seconds from `now` to `at`, rounded up; 0 if `at` is in the past.
fn seconds_until(at: OffsetDateTime, now: OffsetDateTime) -> u64 {
    let nanos = (at - now).whole_nanoseconds().max(0) as u128;
    nanos.div_ceil(1_000_000_000) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::Duration;
    use time::macros::datetime;

    #[test]
    fn headers_follow_the_draft() {
        let now = datetime!(2026-11-23 12:00 UTC);
        let at = |limit, remaining, millis| Quota {
            limit,
            remaining,
            resets_at: Some(now + Duration::milliseconds(millis)),
        };
        let rate = at(Limit::Rate("60/min".parse().expect("a rate")), 59, 500);
        assert_eq!(
            (rate.policy_header().as_str(), rate.header(now).as_str()),
            (r#""rate";q=60;w=60"#, r#""rate";r=59;t=1"#)
        );

        let engine = at(Limit::Budget("3600s/day".parse().expect("a budget")), 1_800_999, 43_200_000);
        assert_eq!(engine.policy_header(), r#""engine-day";q=3600;qu="engine-seconds";w=86400"#);
        assert_eq!(engine.header(now), r#""engine-day";r=1800;t=43200"#);

        let money = at(Limit::Budget("5usd/month".parse().expect("a budget")), 4_990_000, 1_000);
        assert_eq!(money.policy_header(), r#""usd-month";q=500;qu="usd-cents""#);
        assert_eq!(money.header(now), r#""usd-month";r=499;t=1"#);

        let limit = Limit::Concurrency(NonZeroU32::new(4).expect("four"));
        let concurrency = Quota { limit, remaining: 3, resets_at: None };
        assert_eq!(concurrency.policy_header(), r#""concurrency";q=4;qu="concurrent-requests""#);
        assert_eq!(concurrency.header(now), r#""concurrency";r=3"#);
    }

    #[test]
    fn retry_after_is_rounded_up_and_at_least_one_second() {
        let now = datetime!(2026-11-23 12:00 UTC);
        let exceeded = |retry| LimitExceeded { limit: Limit::Rate("1/s".parse().expect("a rate")), retry };
        assert_eq!(exceeded(RetryTime::At(now + Duration::milliseconds(1_001))).retry_after(now), Some(2));
        assert_eq!(exceeded(RetryTime::At(now)).retry_after(now), Some(1));
        assert_eq!(exceeded(RetryTime::Never).retry_after(now), None);
        assert!(exceeded(RetryTime::Never).to_string().contains("rate 1/s"));
    }
}
