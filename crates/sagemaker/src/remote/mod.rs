//! Engines behind which a SageMaker endpoint makes the pictures.
//!
//! [`SageMakerEngine`] waits for a real-time endpoint's answer; [`AsyncEngine`] hands the work to an asynchronous one and
//! looks at where the result will be. Both make exactly one attempt: a call that may have been paid is never repeated.

mod asynchronous;
mod client;
mod error;
mod error_mapping;
mod interceptor;
mod location;
mod real_time;
mod settings;
mod single_attempt;

pub use asynchronous::{AsyncEngine, AsyncSettings, Submitted};
pub use error::InvokeError;
pub use location::{FetchError, FetchResult, InBucket, InvalidLocation, OpenBucket, S3Location};
pub use real_time::SageMakerEngine;
pub use settings::{Endpoint, EndpointSettings, Service, SettingsError};
