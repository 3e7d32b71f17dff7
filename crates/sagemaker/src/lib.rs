//! Amazon SageMaker, as a client and as a server.
//!
//! [`wire`] reads and writes the requests and responses of text-to-image models on SageMaker, as pure
//! functions on bytes. [`remote`] is the client: engines whose pictures a SageMaker endpoint makes, real-time
//! or asynchronous. [`sigv4`] verifies AWS's request signatures for a server of the Runtime API's paths.

pub mod remote;
pub mod sigv4;
pub mod wire;
