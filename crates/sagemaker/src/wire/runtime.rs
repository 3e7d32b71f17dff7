//! What else of the Runtime API a server writes: header names, and the answer to an asynchronous invocation.

/// Header names, in lower case, as HTTP/2 has them.
pub mod header {
    /// Opaque to SageMaker, up to 1,024 visible ASCII characters; the model's answer may have it too.
    pub const CUSTOM_ATTRIBUTES: &str = "x-amzn-sagemaker-custom-attributes";
    /// The client's own name for an invocation.
    pub const INFERENCE_ID: &str = "x-amzn-sagemaker-inference-id";
    /// In an answer: which production variant made it.
    pub const INVOKED_VARIANT: &str = "x-amzn-invoked-production-variant";
    /// Of an asynchronous request, in place of `Content-Type`.
    pub const ASYNC_CONTENT_TYPE: &str = "x-amzn-sagemaker-content-type";
    /// Of an asynchronous request, in place of `Accept`.
    pub const ASYNC_ACCEPT: &str = "x-amzn-sagemaker-accept";
    /// Where an asynchronous request's body is, if it is not inline.
    pub const INPUT_LOCATION: &str = "x-amzn-sagemaker-inputlocation";
    /// In the answer to an asynchronous request: where its result will be.
    pub const OUTPUT_LOCATION: &str = "x-amzn-sagemaker-outputlocation";
    /// In the answer to an asynchronous request: where its error will be.
    pub const FAILURE_LOCATION: &str = "x-amzn-sagemaker-failurelocation";
    /// How long an asynchronous request may wait, 60 to 21,600 s.
    pub const REQUEST_TTL: &str = "x-amzn-sagemaker-requestttlseconds";
    /// How long the model may take, 1 to 3,600 s.
    pub const INVOCATION_TIMEOUT: &str = "x-amzn-sagemaker-invocationtimeoutseconds";
}

/// The answer, of status 202, to an asynchronous invocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsyncAccepted {
    /// The name the client gave it, or one that was made up.
    pub inference_id: String,
}

impl AsyncAccepted {
    /// The answer's status.
    pub const STATUS: u16 = 202;

    /// The answer's body; the locations are in its headers.
    pub fn body(&self) -> Vec<u8> {
        serde_json::json!({ "InferenceId": self.inference_id }).to_string().into_bytes()
    }
}
