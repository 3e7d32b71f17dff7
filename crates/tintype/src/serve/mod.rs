//! `tintype serve`: API, model and store in one process.

mod connections;
mod dispatch;
mod memory;
mod ready;
mod store;
mod sweep;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::http::uri::Authority;
use tintype_core::engine::Engine;
use tintype_http::{HostPolicy, HttpSettings};
use tintype_service::{Service, ServiceSettings};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::config::{Config, Limits, Serving};
use crate::output::usage;
use crate::{engine, logging, output};

use connections::Connections;
use dispatch::Dispatch;
use store::Store;

/// How long answers that are ready may take to reach their clients once the work is over.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// Serves until it is told to stop.
///
/// # Errors
/// When the address or the data folder is not to be had, or the model cannot be loaded.
pub(crate) fn run(config: Config) -> Result<()> {
    logging::start(&config.log);
    refuse_strangers(&config.serving).map_err(usage)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let model = config.model.clone();
    let outcome = runtime.block_on(async {
        let mut stop = StopSignals::new()?;
        let (server, loaded) = start(&config, move || engine::load(&model)).await?;
        let ready = async {
            loaded.await.context("the thread that loaded the model ended early")??;
            output::line(&server.ready_line)
        };
        tokio::select! {
            ready = ready => ready?,
            () = stop.next() => return Ok(()),
        }
        stop.next().await;
        tracing::info!(grace = ?config.serving.grace, "stopping; a second signal stops at once");
        tokio::select! {
            () = server.stop() => Ok(()),
            () = stop.next() => anyhow::bail!("stopped at once by a second signal"),
        }
    });
    // A model that is still being loaded is nothing to wait for.
    runtime.shutdown_background();
    outcome
}

/// A server that takes requests.
pub(crate) struct Running {
    /// What is printed once it is ready.
    pub(crate) ready_line: String,
    service: Arc<Service>,
    connections: Connections,
    grace: Duration,
}

impl Running {
    /// Takes nothing new, and lets what runs finish within the grace period.
    pub(crate) async fn stop(self) {
        let closed = self.connections.close();
        self.service.drain(self.grace).await;
        if tokio::time::timeout(LAST_ANSWERS, closed).await.is_err() {
            tracing::warn!("some clients did not take their answers in time");
        }
    }
}

/// Begins to serve, and to load the model. The second value arrives when that is done.
///
/// # Errors
/// When the address or the store is not to be had.
pub(crate) async fn start(
    config: &Config,
    load: impl FnOnce() -> Result<Arc<dyn Engine>> + Send + 'static,
) -> Result<(Running, oneshot::Receiver<Result<()>>)> {
    let listen = config.serving.listen;
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener.local_addr()?;
    let url = ready::own_url(config, address);
    let store = store::open(config, &url).await?;
    let settings = service_settings(config);
    let service = Service::new(settings, store.objects());
    let api = tintype_http::router(service.clone(), http_settings(&config.serving, address));
    sweep::start(&store, config.store.keep, config.store.keep_bytes);

    let (done, loaded) = oneshot::channel();
    let loading = service.clone();
    std::thread::Builder::new().name("load-model".to_owned()).spawn(move || {
        // The receiver is gone only when the server is stopping.
        let _ = done.send(load().map(|engine| loading.engine_ready(engine)));
    })?;

    let ready_line = ready::line(&url, &config.store, !config.serving.no_get);
    let connections = Connections::accept(listener, dispatch(store, api));
    Ok((Running { ready_line, service, connections, grace: config.serving.grace }, loaded))
}

fn dispatch(store: Store, api: Router) -> Dispatch {
    match store {
        Store::Embedded(embedded) => Dispatch::new(api, Some(embedded)),
        Store::S3(_) => Dispatch::new(api, None),
    }
}

/// Whoever reaches an address that is not loopback may be anybody.
fn refuse_strangers(serving: &Serving) -> Result<()> {
    anyhow::ensure!(
        serving.listen.ip().is_loopback() || serving.allow_anonymous,
        "{} can be reached from other machines, and anybody who reaches it could make pictures; listen on 127.0.0.1, or \
         give --allow-anonymous if that is meant",
        serving.listen
    );
    Ok(())
}

fn service_settings(config: &Config) -> ServiceSettings {
    let Limits { queue, max_pixels, max_work, max_memory } = config.limits;
    let max_memory = max_memory.or_else(memory::half_of_what_is_free);
    ServiceSettings { queue, abandon_after: config.serving.abandon_after, max_pixels, max_work, max_memory }
}

fn http_settings(serving: &Serving, address: SocketAddr) -> HttpSettings {
    let authority = |url: &String| url.split("//").nth(1)?.parse::<Authority>().ok();
    let hosts = if address.ip().is_loopback() {
        HostPolicy::Loopback { port: address.port(), public: serving.public_url.as_ref().and_then(authority) }
    } else {
        HostPolicy::Any
    };
    HttpSettings { get_enabled: !serving.no_get, hosts }
}

/// SIGTERM (a supervisor) and SIGINT (Ctrl-C).
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn new() -> Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests;
