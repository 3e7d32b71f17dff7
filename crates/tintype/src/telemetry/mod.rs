//! Exports traces and metrics to an OpenTelemetry collector if OpenTelemetry's standard variables configure
//! one, such as `OTEL_EXPORTER_OTLP_ENDPOINT`.
//!
//! The crates mark their stages as `tracing` spans of the level `TRACE`; this module converts them to
//! OpenTelemetry's spans. It continues a trace that a client has started: from the header `traceparent`, or
//! from SageMaker's custom attributes, which carry the trace to a model container.

mod metrics;
mod openmetrics;
mod sender;

use std::error::Error;
use std::sync::OnceLock;

use anyhow::{Result, anyhow};
use http::{HeaderMap, HeaderValue};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TracerProvider;
use opentelemetry::{Context, Key};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tintype_core::causes::causes;
use tintype_core::redact::without_passwords;
use tintype_sagemaker::wire::header::CUSTOM_ATTRIBUTES;
use tokio::runtime::Handle;
use tracing::{Level, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

pub(crate) use metrics::Metrics;
use sender::Sender;

/// The header of W3C Trace Context, and the name of the custom attribute with the same value.
const TRACEPARENT: &str = "traceparent";

/// Set while traces are exported. Otherwise requests are not searched for a trace.
static ENABLED: OnceLock<()> = OnceLock::new();

/// A running export of traces.
pub(crate) struct Traces(SdkTracerProvider);

impl Traces {
    /// Starts to export traces. Requests to the collector run on `runtime`.
    ///
    /// # Errors
    /// If one of OpenTelemetry's variables is invalid, or this machine has no root certificates.
    pub(crate) fn start(runtime: Handle) -> Result<Self> {
        let exporter = SpanExporter::builder().with_http().with_http_client(Sender::new(runtime)?);
        let exporter = exporter.build().map_err(|error| invalid_variable(&error))?;
        let provider =
            SdkTracerProvider::builder().with_resource(resource()).with_batch_exporter(exporter).build();
        let _ = ENABLED.set(());
        Ok(Self(provider))
    }

    /// A layer that exports the `TRACE` spans of tintype's crates.
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let own_spans = filter_fn(|metadata| {
            metadata.is_span()
                && *metadata.level() == Level::TRACE
                && metadata.target().starts_with("tintype")
        });
        let layer = tracing_opentelemetry::layer().with_tracer(self.0.tracer("tintype"));
        let layer =
            layer.with_location(false).with_threads(false).with_target(false).with_tracked_inactivity(false);
        // Take a span's parent from `tracing`. The layer's own context per thread sometimes loses it when a
        // future moves to another thread (tracing-opentelemetry 0.34).
        let layer = layer.with_context_activation(false);
        layer.with_filter(own_spans)
    }

    /// Exports the remaining traces.
    pub(crate) fn finish(self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!(error = %causes(&error), "failed to export the last traces");
        }
    }
}

/// The error of an exporter without the password of the collector's URL, which it quotes.
fn invalid_variable(error: &dyn Error) -> anyhow::Error {
    let cause = without_passwords(&causes(error).to_string());
    anyhow!("invalid OpenTelemetry variable (OTEL_EXPORTER_OTLP_…): {cause}")
}

/// The attributes of this service from the environment, with a default for the service's name.
fn resource() -> Resource {
    let detected = Resource::builder().build();
    let has_name = detected
        .get(&Key::from_static_str("service.name"))
        .is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    if has_name { detected } else { Resource::builder().with_service_name("tintype").build() }
}

/// The trace of a request, from its headers; none if traces are not exported.
pub(crate) fn incoming(headers: &HeaderMap) -> Option<Context> {
    ENABLED.get()?;
    let mut trace_headers = HeaderMap::new();
    for name in [TRACEPARENT, "tracestate"] {
        if let Some(value) = headers.get(name) {
            trace_headers.insert(name, value.clone());
        }
    }
    if let Some(attribute) = traceparent_attribute(headers) {
        trace_headers.entry(TRACEPARENT).or_insert(attribute);
    }
    Some(TraceContextPropagator::new().extract(&HeaderExtractor(&trace_headers)))
}

/// The value of `traceparent` in SageMaker's custom attributes.
fn traceparent_attribute(headers: &HeaderMap) -> Option<HeaderValue> {
    let attributes = headers.get(CUSTOM_ATTRIBUTES)?.to_str().ok()?;
    let value = attributes.split(',').find_map(|pair| pair.trim().strip_prefix("traceparent="))?;
    HeaderValue::from_str(value).ok()
}

/// The value of `traceparent` for the current span; none if traces are not exported.
pub(crate) fn traceparent() -> Option<String> {
    ENABLED.get()?;
    let mut headers = HeaderMap::new();
    let mut injector = opentelemetry_http::HeaderInjector(&mut headers);
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut injector);
    Some(headers.get(TRACEPARENT)?.to_str().ok()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_variable_is_reported_without_its_password() {
        let quoted = std::io::Error::other("invalid endpoint 'https://u:hunter2@c:port': invalid port");
        let error = invalid_variable(&quoted).to_string();
        assert!(error.contains("https://u:***@c:port': invalid port"), "{error}");
    }

    #[test]
    fn custom_attributes_carry_a_trace() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let with = |text: &str| {
            HeaderMap::from_iter([(CUSTOM_ATTRIBUTES.parse().expect("a name"), text.parse().expect("text"))])
        };
        for text in [format!("traceparent={parent}"), format!("accept_eula=true, traceparent={parent}")] {
            assert_eq!(traceparent_attribute(&with(&text)).expect("an attribute"), parent);
        }
        assert_eq!(traceparent_attribute(&with("accept_eula=true")), None);
        assert_eq!(traceparent_attribute(&HeaderMap::new()), None);
    }

    #[test]
    fn requests_have_no_trace_unless_traces_are_exported() {
        assert!(incoming(&HeaderMap::new()).is_none());
        assert_eq!(traceparent(), None);
    }
}
