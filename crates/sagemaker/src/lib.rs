//! Amazon SageMaker in both directions.
//!
//! [`wire`] is what its text-to-image models understand and answer, as pure functions on bytes, for a client and for a
//! server. [`remote`] is the client: engines behind which a SageMaker endpoint makes the pictures, real-time or
//! asynchronous. [`sigv4`] is the server's half of AWS's request signing, for the Runtime API's own paths.

pub mod remote;
pub mod sigv4;
pub mod wire;
