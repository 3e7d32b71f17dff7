//! Parsers of numbers, durations and sizes. Each error completes the sentence "it must be …".

use std::time::Duration;

const DURATION: &str = "a duration such as 500ms, 10s, 5m, 36h or 7d";
const SIZE: &str = "a size such as 512MiB or 10GB";

/// `500ms`, `10s`, `5m`, `36h`, `7d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let millis = amount(text, |unit| match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" | "min" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    });
    millis.map(Duration::from_millis).ok_or_else(|| DURATION.to_owned())
}

/// A duration of at least one second.
pub(crate) fn timeout(text: &str) -> Result<Duration, String> {
    let timeout = duration(text).ok().filter(|timeout| *timeout >= Duration::from_secs(1));
    timeout.ok_or_else(|| "a duration of at least 1s, such as 30s or 5m".to_owned())
}

/// A number of bytes: `512MiB` (powers of 1,024), `10GB` (powers of 1,000).
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let bytes = amount(text, |unit| match unit {
        "" | "B" => Some(1),
        "kB" | "KB" => Some(1_000),
        "MB" => Some(1_000_000),
        "GB" => Some(1_000_000_000),
        "TB" => Some(1_000_000_000_000),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        "TiB" => Some(1 << 40),
        _ => None,
    });
    bytes.ok_or_else(|| SIZE.to_owned())
}

/// A whole number of at least 0.
pub(crate) fn count(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "a whole number of at least 0".to_owned())
}

/// A whole number of at least 1.
pub(crate) fn positive_count(text: &str) -> Result<u64, String> {
    count(text).ok().filter(|&count| count > 0).ok_or_else(|| "a whole number of at least 1".to_owned())
}

/// A value that `parse` accepts, or `keyword` for none.
pub(crate) fn or_keyword<T>(
    keyword: &'static str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> impl Fn(&str) -> Result<Option<T>, String> {
    move |text| {
        if text == keyword {
            return Ok(None);
        }
        parse(text).map(Some).map_err(|expected| format!("{expected}, or `{keyword}`"))
    }
}

/// A whole number times the factor of its unit; none if the unit is unknown or the product overflows.
fn amount(text: &str, unit: impl Fn(&str) -> Option<u64>) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    number.parse::<u64>().ok()?.checked_mul(unit(rest.trim_start())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("5m", 300_000),
            ("36h", 129_600_000),
            ("7 d", 604_800_000),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "7", "d", "-1s", "1.5h", "7 days", "99999999999999999999d", "9999999999999999d"] {
            assert_eq!(duration(text), Err(DURATION.to_owned()), "{text}");
        }
    }

    #[test]
    fn timeouts_and_limits_are_positive() {
        assert_eq!(timeout("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(positive_count("1"), Ok(1));
        for text in ["0s", "999ms", "", "1"] {
            assert!(timeout(text).is_err_and(|expected| expected.contains("at least 1s")), "{text}");
        }
        for text in ["0", "-1", "", "x"] {
            assert!(positive_count(text).is_err_and(|expected| expected.contains("at least 1")), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("10GB", 10_000_000_000), ("512MiB", 512 << 20), ("7", 7), ("1 TiB", 1 << 40)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "GB", "10gb", "-1", "99999999999TB"] {
            assert_eq!(size(text), Err(SIZE.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_keyword_means_none() {
        let keep = or_keyword("forever", duration);
        assert_eq!(keep("forever"), Ok(None));
        assert_eq!(keep("1s"), Ok(Some(Duration::from_secs(1))));
        assert_eq!(keep("x"), Err(format!("{DURATION}, or `forever`")));
    }
}
