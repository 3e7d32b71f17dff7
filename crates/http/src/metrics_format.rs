//! The format of `/metrics`: OpenMetrics, or the text format of Prometheus for clients that prefer it.

use std::collections::HashSet;

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

/// A format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetricsFormat {
    /// OpenMetrics 1.0, the default.
    OpenMetrics,
    /// The text format 0.0.4 of Prometheus.
    Prometheus,
}

impl MetricsFormat {
    /// The format that the `Accept` headers prefer.
    pub(crate) fn preferred(headers: &HeaderMap) -> Self {
        let accepted: Vec<_> = headers
            .get_all(ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(media_range)
            .collect();
        let quality = |ranges: [&str; 3]| {
            // The most specific range decides.
            let range = ranges.into_iter().find_map(|name| {
                let matching =
                    accepted.iter().filter(|(range, _)| range == name).map(|(_, quality)| *quality);
                matching.max()
            });
            range.unwrap_or(0)
        };
        let open = quality(["application/openmetrics-text", "application/*", "*/*"]);
        let text = quality(["text/plain", "text/*", "*/*"]);
        if text > open { Self::Prometheus } else { Self::OpenMetrics }
    }

    /// The content type.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// Converts OpenMetrics text to this format.
    pub(crate) fn convert(self, openmetrics: String) -> String {
        match self {
            Self::OpenMetrics => openmetrics,
            Self::Prometheus => prometheus(&openmetrics),
        }
    }
}

/// A media range in lower case and its quality in thousandths.
fn media_range(text: &str) -> (String, u16) {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default().to_ascii_lowercase();
    let quality = parts.find_map(|parameter| parameter.strip_prefix("q=")?.parse::<f32>().ok());
    // A quality has at most three decimals.
    (name, (quality.unwrap_or(1.0).clamp(0.0, 1.0) * 1000.0) as u16)
}

/// OpenMetrics as Prometheus text: the name of a counter's family has the suffix `_total` as its samples have,
/// and there are no units and no end marker. Otherwise the lines of the two formats are equal.
fn prometheus(openmetrics: &str) -> String {
    let counters: HashSet<_> = openmetrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut text = String::with_capacity(openmetrics.len());
    for line in openmetrics.lines() {
        let comment =
            ["# HELP ", "# TYPE "].iter().find_map(|start| Some((*start, line.strip_prefix(start)?)));
        match comment.and_then(|(start, rest)| Some((start, rest.split_once(' ')?))) {
            Some((start, (name, rest))) => {
                let suffix = if counters.contains(name) { "_total" } else { "" };
                text.push_str(&format!("{start}{name}{suffix} {rest}\n"));
            }
            None if line.starts_with('#') => {}
            None => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn preferred(accept: &'static str) -> MetricsFormat {
        MetricsFormat::preferred(&HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]))
    }

    #[test]
    fn the_accept_header_selects_the_format() {
        for (accept, format) in [
            ("text/plain;version=0.0.4", MetricsFormat::Prometheus),
            ("text/plain;version=0.0.4;q=0.5,*/*;q=0.1", MetricsFormat::Prometheus),
            ("Text/Plain", MetricsFormat::Prometheus),
            ("text/*", MetricsFormat::Prometheus),
            (
                "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                MetricsFormat::OpenMetrics,
            ),
            ("application/openmetrics-text;q=0.1, text/plain", MetricsFormat::Prometheus),
            ("application/openmetrics-text;q=0, text/plain;q=0.1", MetricsFormat::Prometheus),
            ("*/*", MetricsFormat::OpenMetrics),
            ("text/html,application/xhtml+xml,*/*;q=0.8", MetricsFormat::OpenMetrics),
            ("", MetricsFormat::OpenMetrics),
        ] {
            assert_eq!(preferred(accept), format, "{accept}");
        }
        assert_eq!(MetricsFormat::preferred(&HeaderMap::new()), MetricsFormat::OpenMetrics);
    }

    #[test]
    fn counters_have_their_help_under_the_name_of_their_samples() {
        let openmetrics = "# HELP jobs Jobs that ended.\n# TYPE jobs counter\njobs_total{status=\"ok\"} 3\n\
                           # HELP wait_seconds Time.\n# TYPE wait_seconds histogram\n# UNIT wait_seconds seconds\n\
                           wait_seconds_bucket{le=\"+Inf\"} 1\n# EOF\n";
        let expected = "# HELP jobs_total Jobs that ended.\n# TYPE jobs_total counter\njobs_total{status=\"ok\"} 3\n\
                        # HELP wait_seconds Time.\n# TYPE wait_seconds histogram\n\
                        wait_seconds_bucket{le=\"+Inf\"} 1\n";
        assert_eq!(MetricsFormat::Prometheus.convert(openmetrics.to_owned()), expected);
        assert_eq!(MetricsFormat::OpenMetrics.convert(openmetrics.to_owned()), openmetrics);
    }
}
