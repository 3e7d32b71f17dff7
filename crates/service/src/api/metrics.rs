//! The service's methods that count requests and return the metrics.

use std::time::Duration;

use crate::api::Service;
use crate::caller::Caller;
use crate::error::ServiceError;
use crate::metrics::{HttpExchange, ReasonLabel};
use crate::settings::AnonymousAccess;

impl Service {
    /// Records an HTTP request and its duration.
    pub fn count(&self, exchange: &HttpExchange, took: Duration) {
        self.inner.metrics.exchanges.get_or_create(exchange).inc();
        self.inner.metrics.exchange_seconds.get_or_create(exchange).observe(took.as_secs_f64());
    }

    /// Counts a connection, or a request that is not HTTP, that was refused for this reason.
    pub fn count_refused_connection(&self, reason: &'static str) {
        self.inner.metrics.connections_refused.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// The metrics as OpenMetrics text, which contains names of API keys. For callers with admin rights, and
    /// for callers without a key on a trusted machine.
    ///
    /// # Errors
    /// [`ServiceError::NotAdmin`], [`ServiceError::Ledger`].
    pub async fn metrics(&self, by: &Caller) -> Result<String, ServiceError> {
        let trusted = self.inner.settings.anonymous == AnonymousAccess::Trusted && *by == Caller::anonymous();
        if !trusted && !by.admin {
            return Err(ServiceError::NotAdmin);
        }
        self.metrics_text().await
    }

    /// The metrics as OpenMetrics text, without an authorization check.
    ///
    /// # Errors
    /// [`ServiceError::Ledger`].
    pub async fn metrics_text(&self) -> Result<String, ServiceError> {
        let mut loads = self.inner.ledger.load().await?;
        // A model without open jobs has a load of zero.
        for model in self.inner.models.iter().filter(|model| !model.name().is_empty()) {
            loads.entry(model.name()).or_default();
        }
        Ok(self.inner.metrics.text(&loads, self.inner.ledger.unreadable_records()))
    }
}
