//! Engines whose pictures a SageMaker endpoint makes.
//!
//! [`SageMakerEngine`] waits for a real-time endpoint's response. [`AsyncEngine`] submits the work to an
//! asynchronous endpoint and polls the location of the result. Both make exactly one attempt: a call that AWS
//! may have charged for is never repeated.

mod asynchronous;
mod availability;
mod client;
mod error;
mod error_mapping;
mod interceptor;
mod location;
mod real_time;
mod settings;
mod single_attempt;

pub use asynchronous::{AsyncEngine, AsyncReceipt, AsyncSettings};
pub use error::InvokeError;
pub use location::{BucketResults, FetchError, FetchResult, InvalidLocation, OpenBucket, S3Location};
pub use real_time::SageMakerEngine;
pub use settings::{Endpoint, EndpointSettings, Service, SettingsError};
