//! The application, free of any transport: one door for every dialect.
//!
//! A dialect finds out who asks ([`Service::authenticate`]), turns what it was sent into a
//! [`Draft`](tintype_core::request::Draft), has it checked by [`Service::check`] and hands an [`Submission`] in by
//! [`Service::submit`]. The ledger then lets it in or not; from there on it is a job: an engine's worker claims it, its
//! pictures are made, encoded and stored, and whoever holds its [`JobHandle`] gets signed links. Dropping the ticket is hanging
//! up; work that nobody waits for, or has to, stops.
//!
//! The ledger has the truth about every job. What is in this process besides (who waits, how far the engine is) may be lost
//! with it.

mod active_job;
mod admission;
mod caller;
mod error;
mod image;
mod janitor;
mod job_events;
mod job_handle;
mod keys;
mod metrics;
mod pricing;
mod records;
mod registry;
mod serverless;
mod service;
mod settings;
mod stored_request;
mod submission;
mod task_tracker;
mod upload;
mod warning;
mod worker;

/// What dialects need to know of the ledger's words.
pub use tintype_ledger as ledger;
/// What dialects need of the codecs: a file's pixels, for clients that want numbers.
pub use tintype_picture::decode;

pub use active_job::JobState;
pub use caller::Caller;
pub use error::{KeyError, LimitRejection, ServiceError};
pub use image::{Image, LinkedPicture, ServedFrom};
pub use job_events::{JobEvent, JobEvents};
pub use job_handle::JobHandle;
pub use metrics::HttpExchange;
pub use pricing::unpriced;
pub use records::{MAX_PAGE, Page};
pub use service::{Readiness, Service};
pub use settings::{AnonymousAccess, ServiceSettings};
pub use submission::Submission;
pub use warning::WarningMessage;
