//! Reads the destination of metrics from OpenTelemetry's standard environment variables. They are the same
//! for every OpenTelemetry program, so tintype has no settings for them. `telemetry::metrics` validates their
//! values.

use tintype_core::secret::{Secret, SecretUrl};

/// The default endpoint of the OTLP/HTTP specification.
const LOCAL: &str = "http://localhost:4318";

/// A metrics collector as configured by the environment variables, not yet validated.
#[derive(Clone, Debug)]
pub(crate) struct Collector {
    /// The URL to which metrics are posted.
    pub(crate) url: SecretUrl,
    /// Request headers as `name=value,…`, percent-encoded; often with an API key.
    pub(crate) headers: Option<Secret>,
    /// The transport protocol, for example `http/protobuf`.
    pub(crate) protocol: Option<String>,
    /// Timeout of an export, in milliseconds.
    pub(crate) timeout: Option<String>,
    /// Interval between exports, in milliseconds.
    pub(crate) interval: Option<String>,
}

impl Collector {
    /// The configured collector; none if metrics are disabled or no collector is configured. `variable` looks
    /// up an environment variable.
    pub(super) fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let exporters = variable("OTEL_METRICS_EXPORTER");
        let disabled = variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        if disabled
            || exporters
                .as_ref()
                .is_some_and(|exporters| !exporters.split(',').any(|name| name.trim() == "otlp"))
        {
            return None;
        }
        // A variable for metrics overrides the variable for all signals.
        let either = |name: &str| {
            let own = variable(&format!("OTEL_EXPORTER_OTLP_METRICS_{name}"));
            own.or_else(|| variable(&format!("OTEL_EXPORTER_OTLP_{name}")))
        };
        let base = variable("OTEL_EXPORTER_OTLP_ENDPOINT").or_else(|| exporters.map(|_| LOCAL.to_owned()));
        let with_path = base.map(|base| format!("{}/v1/metrics", base.trim_end_matches('/')));
        Some(Self {
            url: SecretUrl::new(variable("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT").or(with_path)?),
            headers: either("HEADERS").map(Secret::new),
            protocol: either("PROTOCOL"),
            timeout: either("TIMEOUT"),
            interval: variable("OTEL_METRIC_EXPORT_INTERVAL"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(variables: &[(&str, &str)]) -> Option<String> {
        let variable =
            |name: &str| variables.iter().find(|(is, _)| *is == name).map(|(_, value)| (*value).to_owned());
        Collector::from_variables(variable).map(|collector| collector.url.expose().to_owned())
    }

    #[test]
    fn a_collector_is_used_if_the_variables_configure_one() {
        let all = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/");
        let own = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://m/in");
        assert_eq!(url(&[]), None);
        assert_eq!(url(&[all]).as_deref(), Some("http://c:4318/v1/metrics"));
        assert_eq!(url(&[all, own]).as_deref(), Some("http://m/in"), "no path is appended");
        let otlp = ("OTEL_METRICS_EXPORTER", "console, otlp");
        assert_eq!(url(&[otlp]).as_deref(), Some("http://localhost:4318/v1/metrics"));
        assert_eq!(url(&[all, ("OTEL_METRICS_EXPORTER", "none")]), None);
        assert_eq!(url(&[own, ("OTEL_SDK_DISABLED", "TRUE")]), None);
    }
}
