//! The Runtime API's header names, and its response to an asynchronous invocation.

/// Header names, in lower case as HTTP/2 requires.
pub mod header {
    /// Opaque to SageMaker, up to 1,024 visible ASCII characters; the model's response may have it too.
    pub const CUSTOM_ATTRIBUTES: &str = "x-amzn-sagemaker-custom-attributes";
    /// The client's own id for an invocation.
    pub const INFERENCE_ID: &str = "x-amzn-sagemaker-inference-id";
    /// In a response: the production variant that made it.
    pub const INVOKED_VARIANT: &str = "x-amzn-invoked-production-variant";
    /// In an asynchronous request, in place of `Content-Type`.
    pub const ASYNC_CONTENT_TYPE: &str = "x-amzn-sagemaker-content-type";
    /// In an asynchronous request, in place of `Accept`.
    pub const ASYNC_ACCEPT: &str = "x-amzn-sagemaker-accept";
    /// The location of an asynchronous request's body, if the body is not inline.
    pub const INPUT_LOCATION: &str = "x-amzn-sagemaker-inputlocation";
    /// In the response to an asynchronous request: the location of its future result.
    pub const OUTPUT_LOCATION: &str = "x-amzn-sagemaker-outputlocation";
    /// In the response to an asynchronous request: the location of its future error.
    pub const FAILURE_LOCATION: &str = "x-amzn-sagemaker-failurelocation";
    /// How long an asynchronous request may wait, 60 to 21,600 s.
    pub const REQUEST_TTL: &str = "x-amzn-sagemaker-requestttlseconds";
    /// How long the model may take, 1 to 3,600 s.
    pub const INVOCATION_TIMEOUT: &str = "x-amzn-sagemaker-invocationtimeoutseconds";
}

/// The response to an asynchronous invocation, of status 202.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsyncAccepted {
    /// The client's id for the invocation, or a generated one.
    pub inference_id: String,
}

impl AsyncAccepted {
    /// The response's status.
    pub const STATUS: u16 = 202;

    /// The response's body; the locations are in the headers.
    pub fn body(&self) -> Vec<u8> {
        serde_json::json!({ "InferenceId": self.inference_id }).to_string().into_bytes()
    }
}
