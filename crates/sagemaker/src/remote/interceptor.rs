//! Monitors one call: whether its transmission started, and the length of its response.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_sagemakerruntime::config::interceptors::{
    BeforeDeserializationInterceptorContextMut, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_sagemakerruntime::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_sagemakerruntime::error::BoxError;
use aws_smithy_types::body::SdkBody;
use http_body_util::Limited;

/// An SDK interceptor for one call.
#[derive(Clone, Debug)]
pub(super) struct CallMonitor {
    transmission_started: Arc<AtomicBool>,
    limit: usize,
}

impl CallMonitor {
    /// Limits the response to `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { transmission_started: Arc::default(), limit }
    }

    /// True once the request was complete and signed, and was passed to the connection.
    pub(super) fn transmission_started(&self) -> bool {
        self.transmission_started.load(Ordering::SeqCst)
    }

    /// The response's maximum length in bytes.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }
}

impl Intercept for CallMonitor {
    fn name(&self) -> &'static str {
        "tintype-call-monitor"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.transmission_started.store(true, Ordering::SeqCst);
        Ok(())
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response_mut();
        let body = response.take_body();
        *response.body_mut() = SdkBody::from_body_1_x(Limited::new(body, self.limit));
        Ok(())
    }
}
