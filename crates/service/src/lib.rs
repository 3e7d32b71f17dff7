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
mod admission_counter;
mod api;
mod caller;
mod error;
mod inner;
mod metrics;
mod models;
mod pricing;
mod registry;
mod repeated_failure;
mod runner;
mod served_from;
mod settings;
mod shared_preview;
mod stored_request;
mod submission;
mod task_tracker;
mod warning;
mod watchers;

/// Decodes an image file into pixels, for clients that request numbers.
pub use tintype_picture::decode;

pub use active_job::JobState;
pub use api::{
    EVENTS_TOKEN_LIFETIME, Image, JobEvent, JobEvents, JobHandle, LinkedPicture, MAX_PAGE, Page, Readiness,
    Service,
};
pub use caller::Caller;
pub use error::{KeyError, LimitRejection, ServiceError, WatcherScope};
pub use metrics::HttpExchange;
pub use models::{
    Alias, EngineLoader, InvalidAlias, LoadError, LoadFailure, LoadTime, ModelDefaults, ModelLimits,
    ModelSettings, ModelSpec, ModelState, ModelView,
};
pub use pricing::unpriced;
pub use served_from::ServedFrom;
pub use settings::{AnonymousAccess, ServiceSettings, Topology};
pub use submission::Submission;
pub use warning::WarningMessage;
