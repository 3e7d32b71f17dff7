//! Which of OpenTelemetry's own variables say where metrics go. They are the same for every program that speaks its protocol, so
//! they are no settings of ours; what they mean is checked where metrics are sent.

use tintype_core::secret::Secret;

/// Where a collector on this machine listens, as the protocol has it.
const LOCAL: &str = "http://localhost:4318";

/// A collector of metrics, as the variables have it.
#[derive(Clone, Debug)]
pub(crate) struct Collector {
    /// The URL that they are posted to.
    pub(crate) url: String,
    /// `name=value,…`, percent-encoded; often with a key.
    pub(crate) headers: Option<Secret>,
    /// What is spoken.
    pub(crate) protocol: Option<String>,
    /// Milliseconds that a collector may take.
    pub(crate) timeout: Option<String>,
    /// Milliseconds from one time to the next.
    pub(crate) interval: Option<String>,
}

impl Collector {
    /// The one that is named, unless metrics are turned off.
    pub(super) fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let explicit = variable("OTEL_METRICS_EXPORTER");
        let off = variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        if off
            || explicit
                .as_ref()
                .is_some_and(|exporters| !exporters.split(',').any(|name| name.trim() == "otlp"))
        {
            return None;
        }
        // The variables for metrics alone come before those for every signal.
        let either = |name: &str| {
            let own = variable(&format!("OTEL_EXPORTER_OTLP_METRICS_{name}"));
            own.or_else(|| variable(&format!("OTEL_EXPORTER_OTLP_{name}")))
        };
        let base = variable("OTEL_EXPORTER_OTLP_ENDPOINT").or_else(|| explicit.map(|_| LOCAL.to_owned()));
        let whole = base.map(|base| format!("{}/v1/metrics", base.trim_end_matches('/')));
        Some(Self {
            url: variable("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT").or(whole)?,
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
        Collector::from_variables(variable).map(|collector| collector.url)
    }

    #[test]
    fn a_collector_is_used_where_one_is_named() {
        let all = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/");
        let own = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://m/in");
        assert_eq!(url(&[]), None);
        assert_eq!(url(&[all]).as_deref(), Some("http://c:4318/v1/metrics"));
        assert_eq!(url(&[all, own]).as_deref(), Some("http://m/in"), "as it is");
        let otlp = ("OTEL_METRICS_EXPORTER", "console, otlp");
        assert_eq!(url(&[otlp]).as_deref(), Some("http://localhost:4318/v1/metrics"));
        assert_eq!(url(&[all, ("OTEL_METRICS_EXPORTER", "none")]), None);
        assert_eq!(url(&[own, ("OTEL_SDK_DISABLED", "TRUE")]), None);
    }
}
