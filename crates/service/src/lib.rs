//! The application, free of any transport: one door for every dialect.
//!
//! A dialect turns what it was sent into a [`Draft`](tintype_core::request::Draft), has it checked by [`Service::check`] and hands it in
//! by [`Service::submit`]. From there on it is a job: it waits in the one bounded queue, an engine makes its pictures, they
//! are encoded and stored, and whoever holds its [`Ticket`] gets signed links. Dropping the ticket is hanging up; work
//! that nobody waits for stops.

mod error;
mod identity;
mod job;
mod keep;
mod queue;
mod service;
mod settings;
mod ticket;
mod worker;

pub use error::ServiceError;
pub use job::{Made, State, StoredImage};
pub use service::{Readiness, Service};
pub use settings::ServiceSettings;
pub use ticket::{Finished, FinishedImage, Ticket};
