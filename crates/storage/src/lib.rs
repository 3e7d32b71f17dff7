//! Object stores with the S3 API: a client and a server.
//!
//! [`S3Store`] is an [`ObjectStore`](tintype_core::store::ObjectStore) over any S3 service. [`Embedded`] is
//! an S3 service in this process: a folder of objects, credentials, and an HTTP service that verifies
//! signatures. It is also an [`ObjectStore`](tintype_core::store::ObjectStore) that needs no network
//! connection. No other crate depends on S3's API.

mod connection;
mod credential_lifetime;
mod embedded;
mod remote;
mod service_clock;
mod signer;

pub use embedded::{Embedded, EmbeddedSettings, OpenError, S3Body, S3Http, SweepReport};
pub use remote::{S3Settings, S3SettingsError, S3Store};
