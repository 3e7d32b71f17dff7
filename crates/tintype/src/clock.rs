//! The check of the system clock at the start.

use std::time::SystemTime;

use time::OffsetDateTime;

use crate::output::UsageError;

/// Checks that the clock is not before 1970: ids and records have the time since then.
///
/// # Errors
/// [`UsageError`] with the time of the clock.
pub(crate) fn check(now: SystemTime) -> Result<(), UsageError> {
    if now >= SystemTime::UNIX_EPOCH {
        return Ok(());
    }
    let date = OffsetDateTime::from(now).date();
    Err(UsageError(format!(
        "the system clock shows {date}, which is before 1970: set the date of this machine and start tintype again"
    )))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_clock_before_1970_is_an_error() {
        let epoch = SystemTime::UNIX_EPOCH;
        for valid in [epoch, epoch + Duration::from_secs(1), SystemTime::now()] {
            assert!(check(valid).is_ok());
        }
        for (before, date) in [(1, "1969-12-31"), (86_400, "1969-12-31"), (400 * 86_400, "1968-11-27")] {
            let error = check(epoch - Duration::from_secs(before)).expect_err("an early clock");
            assert!(error.to_string().contains(date), "{error}");
        }
    }
}
