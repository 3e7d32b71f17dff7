//! The application service, which the HTTP, OpenAI and SageMaker APIs share. It knows no transport.
//!
//! An API authenticates the caller ([`Service::authenticate`]), parses the request into a
//! [`Draft`](tintype_core::request::Draft), validates it ([`Service::check`]) and submits a [`Submission`]
//! ([`Service::submit`]). The ledger accepts or rejects the job. A worker claims an accepted job, runs it on
//! the engine, and encodes and stores the images. The [`JobHandle`] of the client then returns presigned
//! URLs. Dropping the handle disconnects the client; a job without clients is stopped unless it is detached.
//!
//! The ledger is the source of truth for every job. The state in this process (clients that wait, progress
//! of the engine) can be lost with the process.

mod active_job;
mod admission;
mod availability;
mod caller;
mod error;
mod events_token;
mod image;
mod inner;
mod janitor;
mod job_events;
mod job_handle;
mod keys;
mod metrics;
mod models;
mod pricing;
mod records;
mod registry;
mod repeated_failure;
mod saved_times;
mod serverless;
mod service;
mod settings;
mod shared_preview;
mod stored_request;
mod submission;
mod task_tracker;
mod upload;
mod warning;
mod watchers;
mod worker;

/// Decodes an image file into pixels, for clients that request numbers.
pub use tintype_picture::decode;

pub use active_job::JobState;
pub use caller::Caller;
pub use error::{KeyError, LimitRejection, ServiceError};
pub use events_token::EVENTS_TOKEN_LIFETIME;
pub use image::{Image, LinkedPicture, ServedFrom};
pub use job_events::{JobEvent, JobEvents};
pub use job_handle::JobHandle;
pub use metrics::HttpExchange;
pub use models::{
    Alias, EngineLoader, InvalidAlias, LoadError, LoadFailure, LoadTime, ModelDefaults, ModelLimits,
    ModelSettings, ModelSpec, ModelState, ModelView,
};
pub use pricing::unpriced;
pub use records::{MAX_PAGE, Page};
pub use service::{Readiness, Service};
pub use settings::{AnonymousAccess, ServiceSettings, Topology};
pub use submission::Submission;
pub use warning::WarningMessage;
pub use watchers::WatcherScope;
