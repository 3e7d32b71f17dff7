//! Exports metrics to an OpenTelemetry collector: the metrics of `/metrics`, at an interval and at shutdown.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, ensure};
use axum::body::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use opentelemetry_http::HttpClient;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::{ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use percent_encoding::percent_decode_str;
use prost::Message;
use tintype_service::Service;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::openmetrics::{self, Interval};
use super::sender::Sender;
use crate::config::Collector;

/// Default interval between exports (OpenTelemetry's default).
const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);
/// Default timeout of an export (OpenTelemetry's default).
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// The only supported value of `OTEL_EXPORTER_OTLP_PROTOCOL`.
const PROTOCOL: &str = "http/protobuf";

/// A running export of metrics.
pub(crate) struct Metrics {
    exporter: Arc<Exporter>,
    task: JoinHandle<()>,
}

struct Exporter {
    service: Arc<Service>,
    sender: Sender,
    url: Uri,
    headers: HeaderMap,
    timeout: Duration,
    resource: Resource,
    /// The start of all counters.
    start: SystemTime,
}

impl Metrics {
    /// Starts to export a service's metrics in a task of the current tokio runtime.
    ///
    /// # Errors
    /// If one of OpenTelemetry's variables is invalid, or this machine has no root certificates.
    pub(crate) fn start(service: Arc<Service>, collector: &Collector) -> Result<Self> {
        let protocol = collector.protocol.as_deref().unwrap_or(PROTOCOL);
        ensure!(
            protocol == PROTOCOL,
            "OTEL_EXPORTER_OTLP_PROTOCOL is `{protocol}`; it must be {PROTOCOL}, the only supported protocol"
        );
        let interval =
            milliseconds("OTEL_METRIC_EXPORT_INTERVAL", collector.interval.as_deref(), DEFAULT_INTERVAL)?;
        let exporter = Arc::new(Exporter {
            service,
            sender: Sender::new(Handle::current())?,
            // The collector may need the password in its URL.
            url: collector.url.expose().parse().with_context(|| {
                format!("OTEL_EXPORTER_OTLP_ENDPOINT is `{}`; it must be a URL", collector.url)
            })?,
            headers: headers(collector.headers.as_ref().map_or("", |headers| headers.expose()))?,
            timeout: milliseconds(
                "OTEL_EXPORTER_OTLP_TIMEOUT",
                collector.timeout.as_deref(),
                DEFAULT_TIMEOUT,
            )?,
            resource: resource(),
            start: SystemTime::now(),
        });
        let periodic = exporter.clone();
        let task = tokio::spawn(async move {
            loop {
                sleep(interval).await;
                periodic.export().await;
            }
        });
        Ok(Self { exporter, task })
    }

    /// Stops the task and exports the metrics a last time.
    pub(crate) async fn finish(self) {
        self.task.abort();
        self.exporter.export().await;
    }
}

impl Exporter {
    /// Exports the current values. A failed export is not repeated, because the next one has the same
    /// cumulative values.
    async fn export(&self) {
        if let Err(error) = self.send().await {
            tracing::warn!(error = format!("{error:#}"), "failed to export metrics");
        }
    }

    async fn send(&self) -> Result<()> {
        let text = self.service.metrics_text().await?;
        let mut post = Request::post(self.url.clone())
            .header(CONTENT_TYPE, "application/x-protobuf")
            .body(Bytes::from(self.message(&text).encode_to_vec()))?;
        post.headers_mut().extend(self.headers.clone());
        let sent = timeout(self.timeout, self.sender.send_bytes(post))
            .await
            .context("the collector did not respond in time")?;
        let response = sent.map_err(|error| anyhow!(error)).context("the collector cannot be reached")?;
        ensure!(response.status().is_success(), "the collector responded {}", response.status());
        Ok(())
    }

    fn message(&self, text: &str) -> ExportMetricsServiceRequest {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let scope =
            InstrumentationScope { name: "tintype".to_owned(), version, ..InstrumentationScope::default() };
        let interval =
            Interval { start_nanos: unix_nanos(self.start), end_nanos: unix_nanos(SystemTime::now()) };
        let metrics = openmetrics::metrics(text, interval);
        let scope = ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() };
        let resource = Some(self.resource.clone());
        let resource = ResourceMetrics { resource, scope_metrics: vec![scope], ..ResourceMetrics::default() };
        ExportMetricsServiceRequest { resource_metrics: vec![resource] }
    }
}

/// The attributes of this service.
fn resource() -> Resource {
    let resource = super::resource();
    let attributes = resource.iter().map(|(key, value)| KeyValue {
        key: key.to_string(),
        value: Some(value.clone().into()),
        ..KeyValue::default()
    });
    Resource { attributes: attributes.collect(), ..Resource::default() }
}

fn unix_nanos(at: SystemTime) -> u64 {
    let since_1970 = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX)
}

/// The value of the variable `name` in milliseconds.
fn milliseconds(name: &str, value: Option<&str>, default: Duration) -> Result<Duration> {
    let Some(value) = value else { return Ok(default) };
    let count = value.trim().parse().ok().filter(|count| *count > 0);
    Ok(Duration::from_millis(
        count
            .with_context(|| format!("{name} is `{value}`; it must be a positive number of milliseconds"))?,
    ))
}

/// Parses `name=value,…` with percent-encoded values. The error does not contain them, because they may be
/// secrets.
fn headers(text: &str) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
        let header = || {
            let (name, value) = pair.split_once('=')?;
            let name: HeaderName = name.trim().parse().ok()?;
            let mut value =
                HeaderValue::from_bytes(&percent_decode_str(value.trim()).collect::<Vec<_>>()).ok()?;
            value.set_sensitive(true);
            Some((name, value))
        };
        headers.extend([
            header().context("OTEL_EXPORTER_OTLP_HEADERS must have the form `name=value,other=value`")?
        ]);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_percent_decoded_and_sensitive() {
        let read = headers("x-key=a%20b, authorization=Bearer%3Dc,").expect("two headers");
        assert_eq!(read.len(), 2);
        assert_eq!(
            (&read["x-key"], &read["authorization"]),
            (&"a b".parse().expect("text"), &"Bearer=c".parse().expect("text"))
        );
        assert!(!format!("{read:?}").contains("Bearer"), "{read:?}");
        let error = headers("a secret").expect_err("not a header");
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn times_are_milliseconds() {
        let default = DEFAULT_TIMEOUT;
        assert_eq!(milliseconds("X", Some(" 250 "), default).expect("a number"), Duration::from_millis(250));
        assert_eq!(milliseconds("X", None, default).expect("the default"), default);
        for invalid in ["0", "-1", "1s", ""] {
            assert!(milliseconds("X", Some(invalid), default).is_err(), "{invalid}");
        }
    }
}
