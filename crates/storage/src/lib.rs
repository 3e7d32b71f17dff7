//! Objects behind the S3 API, on both sides of it.
//!
//! [`S3Store`] is an [`ObjectStore`](tintype_core::store::ObjectStore) over any S3 service. [`Embedded`] is an S3 service of
//! our own: a folder, its credentials, and the HTTP service that stores, verifies signatures and serves; it is also a store in
//! the process, without a loopback. Nothing outside this crate knows S3 or AWS.

mod connection;
mod embedded;
mod remote;
mod session;
mod signer;

pub use embedded::{Embedded, EmbeddedSettings, OpenError, S3Body, S3Http, Swept};
pub use remote::{ConnectError, S3Settings, S3Store};
