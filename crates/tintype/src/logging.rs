//! Logging to standard error.

use std::io::{self, IsTerminal};

use tracing_subscriber::Layer;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogFormat, LogSettings};
use crate::telemetry::Traces;

/// Starts logging, and the export of traces if there is one. A second call has no effect.
pub(crate) fn start(log: &LogSettings, traces: Option<&Traces>) {
    let lines = layer().with_writer(io::stderr);
    let lines = match log.format {
        LogFormat::Text => lines.with_ansi(log.colors && io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let _ = tracing_subscriber::registry()
        .with(lines.with_filter(log.filter.clone()))
        .with(traces.map(Traces::layer))
        .try_init();
}
