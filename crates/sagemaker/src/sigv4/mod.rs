//! Verification of AWS Signature Version 4 for the Runtime API's paths: service `sagemaker`, any region, in
//! headers.
//!
//! [`RequestSignature::read`] checks the headers alone, so that a request without valid credentials is
//! rejected before its body is read. [`RequestSignature::verify`] then recomputes the signature over the
//! whole request. Which headers must be signed follows AWS's description of the process, and botocore and the
//! other SDKs.

mod error;
mod request_signature;
mod verify;

pub use error::SignatureError;
pub use request_signature::{AccessKeys, RequestSignature};
pub use verify::ReceivedRequest;

#[cfg(test)]
mod tests;
