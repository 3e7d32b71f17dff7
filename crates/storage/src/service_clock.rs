//! The clock of an S3 service, by the `Date` header of its responses. Processes that share a bucket take the time from
//! it, so that their leases and deadlines do not depend on the clocks of their machines.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use time::{Duration, OffsetDateTime};

/// Differences below this do not count: `Date` has whole seconds, and a response takes some time.
const MIN_DIFFERENCE: Duration = Duration::seconds(2);

/// How far the service's clock is ahead of this machine's, in milliseconds; zero before the first response.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServiceClock(Arc<AtomicI64>);

impl ServiceClock {
    /// How far the service's clock is ahead of this machine's.
    pub(crate) fn offset(&self) -> Duration {
        Duration::milliseconds(self.0.load(Ordering::Relaxed))
    }

    /// Compares the date of a response that was received at `now`.
    fn observe(&self, date: &str, now: OffsetDateTime) {
        let Ok(date) = DateTime::from_str(date, DateTimeFormat::HttpDate) else { return };
        // The middle of the second that the header names.
        let milliseconds = date.secs().saturating_mul(1_000).saturating_add(500);
        let now_milliseconds = i64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX);
        let difference = Duration::milliseconds(milliseconds.saturating_sub(now_milliseconds));
        let counts = |duration: Duration| duration.abs() >= MIN_DIFFERENCE;
        if counts(difference.saturating_sub(self.offset())) {
            let offset = if counts(difference) { difference } else { Duration::ZERO };
            tracing::warn!(
                seconds = offset.whole_seconds(),
                "the clock of the object store is ahead of this machine's by this time, and is used for jobs"
            );
            let milliseconds = i64::try_from(offset.whole_milliseconds()).unwrap_or_default();
            self.0.store(milliseconds, Ordering::Relaxed);
        }
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
        assert_eq!(offset_after("Sun, 29 Nov 2026 12:00:01 GMT", noon), 0, "1.5 s");
        assert_eq!(offset_after("Sun, 29 Nov 2026 12:10:00 GMT", noon), 600_500);
        assert_eq!(offset_after("Sun, 29 Nov 2026 12:10:01 GMT", noon), 600_500, "no jitter");
        assert_eq!(offset_after("not a date", noon), 600_500);
        assert_eq!(offset_after("Sun, 29 Nov 2026 11:00:00 GMT", noon), -3_599_500);
        assert_eq!(offset_after("Sun, 29 Nov 2026 12:00:00 GMT", noon), 0, "the clock was set");
    }
}
