//! The check of AWS Signature Version 4 for the Runtime API's own paths: service `sagemaker`, any region, in headers.
//!
//! A [`Claim`] is read from the headers alone, so that a request of unknown origin is turned away before its body is
//! read; [`Claim::verify`] then recomputes the signature over the whole request. What is signed, and what need not be,
//! follows AWS's description of the process and what botocore and the other SDKs do.

mod claim;
mod error;
mod verify;

pub use claim::{AccessKeys, Claim};
pub use error::SignatureError;
pub use verify::Received;

#[cfg(test)]
mod tests;
