//! Watches one call: whether it left this machine, and how much comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_sagemakerruntime::config::interceptors::{
    BeforeDeserializationInterceptorContextMut, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_sagemakerruntime::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_sagemakerruntime::error::BoxError;
use aws_smithy_types::body::SdkBody;
use http_body_util::Limited;

/// An interceptor for one call.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    handed_over: Arc<AtomicBool>,
    limit: usize,
}

impl Watch {
    /// Lets an answer have at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { handed_over: Arc::default(), limit }
    }

    /// True once the request was complete and signed and was given to the connection.
    pub(super) fn handed_over(&self) -> bool {
        self.handed_over.load(Ordering::SeqCst)
    }

    /// The longest answer in bytes.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }
}

impl Intercept for Watch {
    fn name(&self) -> &'static str {
        "tintype-watch"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.handed_over.store(true, Ordering::SeqCst);
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
