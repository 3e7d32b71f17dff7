//! The clock of an S3 service, by the `Date` header of its responses. Processes that share a bucket take the time from
//! it, so that their leases and deadlines do not depend on the clocks of their machines.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use time::{Duration, OffsetDateTime};

/// Differences below this do not count: `Date` has whole seconds, and a response takes some time.
const MIN_DIFFERENCE: Duration = Duration::seconds(2);

/// How far the service's clock is ahead of this machine's; zero before the first response.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServiceClock(Arc<Mutex<Difference>>);

#[derive(Debug, Default)]
struct Difference {
    offset: Duration,
    is_known: bool,
    /// The last difference, if it does not agree with the offset.
    deviation: Option<Duration>,
}

impl ServiceClock {
    /// How far the service's clock is ahead of this machine's.
    pub(crate) fn offset(&self) -> Duration {
        self.difference().offset
    }

    /// Compares the date of a response that was received at `now`.
    fn observe(&self, date: &str, now: OffsetDateTime) {
        let Ok(date) = DateTime::from_str(date, DateTimeFormat::HttpDate) else { return };
        let Ok(date) = OffsetDateTime::from_unix_timestamp(date.secs()) else { return };
        // The middle of the second that the header names.
        let seen = date + Duration::milliseconds(500) - now;
        let agrees = |one: Duration, other: Duration| one.saturating_sub(other).abs() < MIN_DIFFERENCE;
        let mut difference = self.difference();
        if agrees(seen, difference.offset) {
            (difference.is_known, difference.deviation) = (true, None);
            return;
        }
        // A single later response may only be slow. The first one counts at once, because the recovery follows it.
        let is_confirmed = difference.deviation.replace(seen).is_some_and(|last| agrees(seen, last));
        if is_confirmed || !difference.is_known {
            let offset = if agrees(seen, Duration::ZERO) { Duration::ZERO } else { seen };
            *difference = Difference { offset, is_known: true, deviation: None };
            drop(difference);
            tracing::warn!(
                seconds_ahead = offset.as_seconds_f32(),
                "the clock of the object store differs from this machine's, the times of jobs are those of the object store"
            );
        }
    }

    fn difference(&self) -> MutexGuard<'_, Difference> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intercept for ServiceClock {
    fn name(&self) -> &'static str {
        "ServiceClock"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(date) = context.response().headers().get("date") {
            self.observe(date, OffsetDateTime::now_utc());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn only_a_noticeable_difference_counts() {
        let clock = ServiceClock::default();
        let noon = datetime!(2026-11-29 12:00:00 UTC);
        let offset_after = |date: &str, now| {
            clock.observe(date, now);
            clock.offset().whole_milliseconds()
        };
        let (ten_later, hour_earlier) = ("Sun, 29 Nov 2026 12:10:00 GMT", "Sun, 29 Nov 2026 11:00:00 GMT");
        assert_eq!(offset_after(ten_later, noon), 600_500, "the first response counts");
        assert_eq!(offset_after("Sun, 29 Nov 2026 12:10:01 GMT", noon), 600_500, "no jitter");
        assert_eq!(offset_after("not a date", noon), 600_500);
        assert_eq!(offset_after(hour_earlier, noon), 600_500, "it may only be slow");
        assert_eq!(offset_after(ten_later, noon), 600_500);
        assert_eq!(offset_after(hour_earlier, noon), 600_500, "the deviations are not consecutive");
        assert_eq!(offset_after(hour_earlier, noon), -3_599_500);
        for expected in [-3_599_500, 0] {
            assert_eq!(offset_after("Sun, 29 Nov 2026 12:00:01 GMT", noon), expected, "the clock was set");
        }
    }
}
