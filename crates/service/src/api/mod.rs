//! The half of the service that talks to clients: admission, waiting, events, records and keys. It reaches an engine only
//! through the ledger and through [`runner`](crate::runner), never directly.

mod admission;
mod events_token;
mod image;
mod job_events;
mod job_handle;
mod keys;
mod metrics;
mod records;
mod serverless;
mod service;
mod watching;

pub use events_token::EVENTS_TOKEN_LIFETIME;
pub use image::{Image, LinkedPicture};
pub use job_events::{JobEvent, JobEvents};
pub use job_handle::JobHandle;
pub use records::{MAX_PAGE, Page};
pub use service::{Readiness, Service};
