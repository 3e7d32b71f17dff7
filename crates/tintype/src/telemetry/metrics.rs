//! Metrics for OpenTelemetry: what `/metrics` says, sent now and then, and a last time at the end.

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

use super::openmetrics;
use super::sender::Sender;
use crate::config::Collector;

/// How often they are sent unless the environment says otherwise, as OpenTelemetry has it.
const INTERVAL: Duration = Duration::from_secs(60);
/// How long a collector may take unless the environment says otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The one protocol that is spoken here.
const PROTOCOL: &str = "http/protobuf";

/// What sends them.
pub(crate) struct Metrics {
    export: Arc<Export>,
    sending: JoinHandle<()>,
}

struct Export {
    service: Arc<Service>,
    sender: Sender,
    url: Uri,
    headers: HeaderMap,
    timeout: Duration,
    resource: Resource,
    /// Since when things are counted.
    since: SystemTime,
}

impl Metrics {
    /// Begins to send a service's metrics; to be called in the runtime that does it.
    ///
    /// # Errors
    /// When OpenTelemetry's variables make no sense, or this machine has no certificates.
    pub(crate) fn start(service: Arc<Service>, collector: &Collector) -> Result<Self> {
        let spoken = collector.protocol.as_deref().unwrap_or(PROTOCOL);
        ensure!(
            spoken == PROTOCOL,
            "OTEL_EXPORTER_OTLP_PROTOCOL is `{spoken}`; {PROTOCOL} is what is spoken here"
        );
        let interval = milliseconds("OTEL_METRIC_EXPORT_INTERVAL", collector.interval.as_deref(), INTERVAL)?;
        let export = Arc::new(Export {
            service,
            sender: Sender::new(Handle::current())?,
            url: collector
                .url
                .parse()
                .with_context(|| format!("OTEL_EXPORTER_OTLP_ENDPOINT: {}", collector.url))?,
            headers: headers(collector.headers.as_ref().map_or("", |headers| headers.expose()))?,
            timeout: milliseconds("OTEL_EXPORTER_OTLP_TIMEOUT", collector.timeout.as_deref(), TIMEOUT)?,
            resource: resource(),
            since: SystemTime::now(),
        });
        let repeated = export.clone();
        let sending = tokio::spawn(async move {
            loop {
                sleep(interval).await;
                repeated.once().await;
            }
        });
        Ok(Self { export, sending })
    }

    /// Sends them a last time.
    pub(crate) async fn finish(self) {
        self.sending.abort();
        self.export.once().await;
    }
}

impl Export {
    /// Sends what has been counted until now. What is lost on the way is in the next message too: sums only grow.
    async fn once(&self) {
        if let Err(error) = self.send().await {
            tracing::warn!(error = format!("{error:#}"), "metrics were not sent");
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
            .context("the collector takes too long")?;
        let answer = sent.map_err(|error| anyhow!(error)).context("the collector is not to be had")?;
        ensure!(answer.status().is_success(), "the collector answers {}", answer.status());
        Ok(())
    }

    fn message(&self, text: &str) -> ExportMetricsServiceRequest {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let scope =
            InstrumentationScope { name: "tintype".to_owned(), version, ..InstrumentationScope::default() };
        let metrics = openmetrics::metrics(text, (nanoseconds(self.since), nanoseconds(SystemTime::now())));
        let scope = ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() };
        let resource = Some(self.resource.clone());
        let resource = ResourceMetrics { resource, scope_metrics: vec![scope], ..ResourceMetrics::default() };
        ExportMetricsServiceRequest { resource_metrics: vec![resource] }
    }
}

/// What the environment says of this service.
fn resource() -> Resource {
    let said = super::resource();
    let attributes = said.iter().map(|(key, value)| KeyValue {
        key: key.to_string(),
        value: Some(value.clone().into()),
        ..KeyValue::default()
    });
    Resource { attributes: attributes.collect(), ..Resource::default() }
}

fn nanoseconds(at: SystemTime) -> u64 {
    let since_1970 = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX)
}

fn milliseconds(name: &str, said: Option<&str>, otherwise: Duration) -> Result<Duration> {
    let Some(said) = said else { return Ok(otherwise) };
    let count = said.trim().parse().ok().filter(|count| *count > 0);
    Ok(Duration::from_millis(
        count.with_context(|| format!("{name} is `{said}`; it must be a number of milliseconds"))?,
    ))
}

/// `name=value,…`, the values percent-encoded. They may be keys, so nothing of them is said if they make no sense.
fn headers(said: &str) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for pair in said.split(',').filter(|pair| !pair.trim().is_empty()) {
        let header = || {
            let (name, value) = pair.split_once('=')?;
            let name: HeaderName = name.trim().parse().ok()?;
            let mut value =
                HeaderValue::from_bytes(&percent_decode_str(value.trim()).collect::<Vec<_>>()).ok()?;
            value.set_sensitive(true);
            Some((name, value))
        };
        headers
            .extend([header().context("OTEL_EXPORTER_OTLP_HEADERS must be like `name=value,other=value`")?]);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_opentelemetry_writes_them() {
        let read = headers("x-key=a%20b, authorization=Bearer%3Dc,").expect("two headers");
        assert_eq!(read.len(), 2);
        assert_eq!(
            (&read["x-key"], &read["authorization"]),
            (&"a b".parse().expect("text"), &"Bearer=c".parse().expect("text"))
        );
        assert!(!format!("{read:?}").contains("Bearer"), "{read:?}");
        let error = headers("a secret").expect_err("no header");
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn times_are_milliseconds() {
        assert_eq!(milliseconds("X", Some(" 250 "), TIMEOUT).expect("a number"), Duration::from_millis(250));
        assert_eq!(milliseconds("X", None, TIMEOUT).expect("the default"), TIMEOUT);
        for wrong in ["0", "-1", "1s", ""] {
            assert!(milliseconds("X", Some(wrong), TIMEOUT).is_err(), "{wrong}");
        }
    }
}
