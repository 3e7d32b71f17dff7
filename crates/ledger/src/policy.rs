//! The limits of an API key, in the notation of flags and settings: `60/min`, `3600s/day`, `5usd/day`, `90d`.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use time::{Date, Duration, Month, OffsetDateTime, Time, UtcOffset};

use crate::money::{Amount, parse_decimal, write_decimal};
use crate::serde_as_text::serde_as_text;

/// The limits of one API key. An absent limit is unlimited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Requests per unit of time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// The maximum number of jobs that are queued or running at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<NonZeroU32>,
    /// Engine time and money per day or month. A request must be within all budgets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<Budget>,
    /// The names of the models that the key can use; all if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
}

impl Policy {
    /// Whether the key can use the model with this name.
    pub fn allows_model(&self, name: &str) -> bool {
        self.models.is_empty() || self.models.iter().any(|allowed| allowed == name)
    }

    /// The first day whose usage counts towards one of the budgets.
    pub fn first_day(&self, now: OffsetDateTime) -> Date {
        let first = self.budgets.iter().map(|budget| budget.period.first_day(now)).min();
        first.unwrap_or_else(|| utc_day(now))
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.rate.iter().map(ToString::to_string);
        let concurrency = self.concurrency.iter().map(|limit| format!("{limit} at once"));
        let budgets = self.budgets.iter().map(ToString::to_string);
        let models = (!self.models.is_empty()).then(|| format!("only {}", self.models.join(" and ")));
        let parts: Vec<_> = rate.chain(concurrency).chain(budgets).chain(models).collect();
        if parts.is_empty() { f.write_str("no limits") } else { f.write_str(&parts.join(", ")) }
    }
}

/// The units of time of rates and durations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimeUnit {
    /// `s`
    Second,
    /// `min`
    Minute,
    /// `h`
    Hour,
    /// `day`
    Day,
}

impl TimeUnit {
    /// The length of the unit.
    pub fn duration(self) -> Duration {
        match self {
            Self::Second => Duration::SECOND,
            Self::Minute => Duration::MINUTE,
            Self::Hour => Duration::HOUR,
            Self::Day => Duration::DAY,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Minute => "min",
            Self::Hour => "h",
            Self::Day => "day",
        }
    }

    fn from_name(text: &str) -> Option<Self> {
        match text {
            "s" | "sec" | "second" => Some(Self::Second),
            "m" | "min" | "minute" => Some(Self::Minute),
            "h" | "hour" => Some(Self::Hour),
            "d" | "day" => Some(Self::Day),
            _ => None,
        }
    }
}

/// The text is not a rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid rate `{0}`: write 1 to 1,000,000 requests per s, min, h or day, for example `60/min`")]
pub struct InvalidRate(String);

/// Requests per unit of time, enforced by the generic cell rate algorithm (GCRA, ITU-T I.371): a burst of
/// `count` requests after a pause, then one request every `unit / count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    count: NonZeroU32,
    unit: TimeUnit,
}

impl Rate {
    /// The maximum number of requests per unit.
    pub const MAX: u32 = 1_000_000;

    /// `count` requests per `unit`; `None` unless `count` is from 1 to [`Rate::MAX`].
    pub fn new(count: u32, unit: TimeUnit) -> Option<Self> {
        let count = NonZeroU32::new(count).filter(|count| count.get() <= Self::MAX)?;
        Some(Self { count, unit })
    }

    /// The number of requests per window.
    pub fn count(self) -> u32 {
        self.count.get()
    }

    /// The length of the window.
    pub fn window(self) -> Duration {
        self.unit.duration()
    }
}

impl FromStr for Rate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        let parse = || {
            let (count, unit) = text.split_once('/')?;
            Self::new(count.trim().parse().ok()?, TimeUnit::from_name(unit.trim())?)
        };
        parse().ok_or_else(|| InvalidRate(text.to_owned()))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.unit.name())
    }
}

/// The quantity that a budget limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Allowance {
    /// Engine time in milliseconds.
    EngineMs(u64),
    /// Money.
    Money(Amount),
}

/// The calendar period of a budget, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Period {
    /// From midnight to midnight.
    Day,
    /// From the first day of the month to the last.
    Month,
}

impl Period {
    /// The first day of the period that contains `now`.
    pub fn first_day(self, now: OffsetDateTime) -> Date {
        let today = utc_day(now);
        match self {
            Self::Day => today,
            Self::Month => today.replace_day(1).unwrap_or(today),
        }
    }

    /// The start of the next period.
    pub fn next(self, now: OffsetDateTime) -> OffsetDateTime {
        let first = self.first_day(now);
        let next = match self {
            Self::Day => first.next_day(),
            Self::Month => {
                let year = first.year() + i32::from(first.month() == Month::December);
                Date::from_calendar_date(year, first.month().next(), 1).ok()
            }
        };
        next.unwrap_or(Date::MAX).with_time(Time::MIDNIGHT).assume_utc()
    }
}

/// The UTC day that contains `now`. Usage and budgets are counted by UTC days.
pub fn utc_day(now: OffsetDateTime) -> Date {
    now.to_offset(UtcOffset::UTC).date()
}

/// The text is not a budget.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid budget `{0}`: write engine time or money per day or month, for example `3600s/day` or \
     `5usd/month`"
)]
pub struct InvalidBudget(String);

/// An amount of engine time or money per day or month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    /// The quantity and its maximum.
    pub allowance: Allowance,
    /// The period after which the budget starts again.
    pub period: Period,
}

impl FromStr for Budget {
    type Err = InvalidBudget;

    fn from_str(text: &str) -> Result<Self, InvalidBudget> {
        let parse = || {
            let (allowance, period) = text.split_once('/')?;
            let period = match period {
                "d" | "day" => Period::Day,
                "month" => Period::Month,
                _ => return None,
            };
            let allowance = match allowance.strip_suffix('s').and_then(|seconds| parse_decimal(seconds, 3)) {
                Some(millis) => Allowance::EngineMs(millis),
                None => Allowance::Money(allowance.parse().ok()?),
            };
            Some(Self { allowance, period })
        };
        parse().ok_or_else(|| InvalidBudget(text.to_owned()))
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.allowance {
            Allowance::EngineMs(millis) => {
                write_decimal(f, millis, 3)?;
                f.write_str("s")?;
            }
            Allowance::Money(amount) => amount.fmt(f)?,
        }
        f.write_str(match self.period {
            Period::Day => "/day",
            Period::Month => "/month",
        })
    }
}

/// The text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid duration `{0}`: write a number followed by s, min, h or d, at most 3650d, for example `90d` or `12h`"
)]
pub struct InvalidDuration(String);

/// A duration in whole seconds, from 1 s to 3,650 days, such as the lifetime of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CoarseDuration(u64);

impl CoarseDuration {
    /// Converts to the type of the `time` crate.
    pub fn duration(self) -> Duration {
        Duration::seconds(self.0 as i64)
    }
}

impl FromStr for CoarseDuration {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, InvalidDuration> {
        let parse = || {
            let split = text.find(|c: char| c.is_ascii_alphabetic())?;
            let unit = TimeUnit::from_name(&text[split..])?.duration().whole_seconds() as u64;
            let seconds = text[..split].parse::<u64>().ok()?.checked_mul(unit)?;
            (1..=3_650 * 86_400).contains(&seconds).then_some(Self(seconds))
        };
        parse().ok_or_else(|| InvalidDuration(text.to_owned()))
    }
}

impl fmt::Display for CoarseDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (size, unit) = [(86_400, "d"), (3_600, "h"), (60, "min")]
            .into_iter()
            .find(|(size, _)| self.0.is_multiple_of(*size))
            .unwrap_or((1, "s"));
        write!(f, "{}{unit}", self.0 / size)
    }
}

serde_as_text!(Rate, Budget, CoarseDuration);

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::{date, datetime};

    #[test]
    fn limits_are_written_as_they_are_read() {
        for text in ["60/min", "1/s", "1000000/day", "5/h"] {
            assert_eq!(text.parse::<Rate>().expect(text).to_string(), text);
        }
        for text in ["3600s/day", "0.5s/day", "5usd/day", "0.25eur/month"] {
            assert_eq!(text.parse::<Budget>().expect(text).to_string(), text);
        }
        for text in ["90d", "12h", "30min", "45s", "3650d", "90s"] {
            assert_eq!(text.parse::<CoarseDuration>().expect(text).to_string(), text);
        }
        assert_eq!("120min".parse::<CoarseDuration>().expect("two hours").to_string(), "2h");
    }

    #[test]
    fn errors_have_an_example() {
        for bad in ["", "60", "0/min", "60/year", "-1/s", "1000001/s", "x/min"] {
            assert!(bad.parse::<Rate>().expect_err(bad).to_string().contains("60/min"));
        }
        for bad in ["", "5", "5usd", "s/day", "5us/day", "5usd/year", "3600/day", "1.2345s/day"] {
            assert!(bad.parse::<Budget>().expect_err(bad).to_string().contains("3600s/day"));
        }
        for bad in ["", "90", "d", "0d", "3651d", "9x", "-1d", "18446744073709551615d"] {
            assert!(bad.parse::<CoarseDuration>().expect_err(bad).to_string().contains("90d"));
        }
    }

    #[test]
    fn a_policy_is_read_as_it_was_written() {
        let policy = Policy {
            rate: "60/min".parse().ok(),
            concurrency: NonZeroU32::new(4),
            budgets: vec!["3600s/day".parse().expect("time"), "5usd/day".parse().expect("money")],
            models: vec!["org/fast".into()],
        };
        assert_eq!(policy.to_string(), "60/min, 4 at once, 3600s/day, 5usd/day, only org/fast");
        let json = serde_json::to_string(&policy).expect("plain data");
        assert_eq!(
            json,
            r#"{"rate":"60/min","concurrency":4,"budgets":["3600s/day","5usd/day"],"models":["org/fast"]}"#
        );
        assert_eq!(serde_json::from_str::<Policy>(&json).expect("its own text"), policy);
        assert_eq!(serde_json::from_str::<Policy>("{}").expect("none"), Policy::default());
        assert_eq!(Policy::default().to_string(), "no limits");
    }

    #[test]
    fn periods_follow_the_calendar_in_utc() {
        let late = datetime!(2026-12-31 23:30 -2);
        assert_eq!(Period::Day.first_day(late), date!(2027 - 01 - 01));
        assert_eq!(Period::Day.next(late), datetime!(2027-01-02 0:00 UTC));
        assert_eq!(Period::Month.next(datetime!(2026-12-05 1:00 UTC)), datetime!(2027-01-01 0:00 UTC));
        assert_eq!(Period::Month.first_day(datetime!(2026-11-23 1:00 UTC)), date!(2026 - 11 - 01));
        assert_eq!(Period::Month.next(datetime!(2026-11-23 1:00 UTC)), datetime!(2026-12-01 0:00 UTC));
    }
}
