//! The vocabulary of tintype and its seams.
//!
//! A [`Draft`](request::Draft) is what a dialect understood of a request; [`GenerateRequest`](request::GenerateRequest) is the same
//! thing checked, and valid from then on. An [`Engine`](engine::Engine) makes pictures of it, an
//! [`ObjectStore`](store::ObjectStore) keeps them and signs links to them.
//!
//! Nothing here knows a runtime, a transport, a tensor library, the file system or the environment.

pub mod causes;
pub mod engine;
pub mod picture;
pub mod request;
pub mod secret;
pub mod store;
pub mod violation;
