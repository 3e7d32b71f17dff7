//! Traces and metrics for OpenTelemetry, where its own variables name a collector (`OTEL_EXPORTER_OTLP_ENDPOINT`), and nothing
//! otherwise.
//!
//! The crates mark their stages as spans of the level `TRACE`; here they become OpenTelemetry's. A trace that a client has
//! begun goes on: by the header `traceparent`, or by SageMaker's custom attributes, which carry it to a model container.

mod metrics;
mod openmetrics;
mod sender;

use std::sync::OnceLock;

use anyhow::{Context as _, Result};
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
use tintype_sagemaker::wire::header::CUSTOM_ATTRIBUTES;
use tokio::runtime::Handle;
use tracing::{Level, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

pub(crate) use metrics::Metrics;
use sender::Sender;

/// The W3C's header, and the name under which custom attributes carry its value.
const TRACEPARENT: &str = "traceparent";

/// Set once traces are kept: until then no request is searched for the trace that it is part of.
static ON: OnceLock<()> = OnceLock::new();

/// What keeps the traces and sends them on.
pub(crate) struct Traces(SdkTracerProvider);

impl Traces {
    /// Begins to keep traces; `runtime` sends them to the collector that the environment names.
    ///
    /// # Errors
    /// When OpenTelemetry's variables make no sense, or this machine has no certificates.
    pub(crate) fn start(runtime: Handle) -> Result<Self> {
        let exporter = SpanExporter::builder().with_http().with_http_client(Sender::new(runtime)?);
        let exporter = exporter.build().context("OpenTelemetry's variables (OTEL_EXPORTER_OTLP_…)")?;
        let provider =
            SdkTracerProvider::builder().with_resource(resource()).with_batch_exporter(exporter).build();
        let _ = ON.set(());
        Ok(Self(provider))
    }

    /// Takes the spans of our own crates that are there for tracing.
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let ours = filter_fn(|about| {
            about.is_span() && *about.level() == Level::TRACE && about.target().starts_with("tintype")
        });
        let layer = tracing_opentelemetry::layer().with_tracer(self.0.tracer("tintype"));
        let layer =
            layer.with_location(false).with_threads(false).with_target(false).with_tracked_inactivity(false);
        // A span's parent is the one that `tracing` knows. The layer's own way, a context per thread, loses it now and then where a
        // future goes on in another thread (tracing-opentelemetry 0.34).
        let layer = layer.with_context_activation(false);
        layer.with_filter(ours)
    }

    /// Sends what is left.
    pub(crate) fn finish(self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!(error = %causes(&error), "the last traces were not sent");
        }
    }
}

/// What the environment says of this service, and a name if it says none.
fn resource() -> Resource {
    let said = Resource::builder().build();
    let named = said
        .get(&Key::from_static_str("service.name"))
        .is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    if named { said } else { Resource::builder().with_service_name("tintype").build() }
}

/// The trace that a request is part of, as its headers say; none unless traces are kept.
pub(crate) fn incoming(headers: &HeaderMap) -> Option<Context> {
    ON.get()?;
    let mut known = HeaderMap::new();
    for name in [TRACEPARENT, "tracestate"] {
        if let Some(value) = headers.get(name) {
            known.insert(name, value.clone());
        }
    }
    if let Some(carried) = carried(headers) {
        known.entry(TRACEPARENT).or_insert(carried);
    }
    Some(TraceContextPropagator::new().extract(&HeaderExtractor(&known)))
}

/// The value of `traceparent` among SageMaker's custom attributes.
fn carried(headers: &HeaderMap) -> Option<HeaderValue> {
    let attributes = headers.get(CUSTOM_ATTRIBUTES)?.to_str().ok()?;
    let value = attributes.split(',').find_map(|pair| pair.trim().strip_prefix("traceparent="))?;
    HeaderValue::from_str(value).ok()
}

/// The work at hand as others are told of it; none unless traces are kept.
pub(crate) fn traceparent() -> Option<String> {
    ON.get()?;
    let mut told = HeaderMap::new();
    let mut injector = opentelemetry_http::HeaderInjector(&mut told);
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut injector);
    Some(told.get(TRACEPARENT)?.to_str().ok()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn custom_attributes_carry_a_trace() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let with = |text: &str| {
            HeaderMap::from_iter([(CUSTOM_ATTRIBUTES.parse().expect("a name"), text.parse().expect("text"))])
        };
        for text in [format!("traceparent={parent}"), format!("accept_eula=true, traceparent={parent}")] {
            assert_eq!(carried(&with(&text)).expect("carried"), parent);
        }
        assert_eq!(carried(&with("accept_eula=true")), None);
        assert_eq!(carried(&HeaderMap::new()), None);
    }

    #[test]
    fn nothing_is_looked_for_unless_traces_are_kept() {
        assert!(incoming(&HeaderMap::new()).is_none());
        assert_eq!(traceparent(), None);
    }
}
