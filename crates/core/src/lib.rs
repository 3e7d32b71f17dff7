//! tintype's shared data types, and the traits for image generation and object storage.
//!
//! A front end (native API, OpenAI, SageMaker) parses a request into a [`Draft`](request::Draft);
//! [`Draft::check`](request::Draft::check) validates it and returns a
//! [`GenerateRequest`](request::GenerateRequest). An [`Engine`](engine::Engine) generates the images, and an
//! [`ObjectStore`](store::ObjectStore) stores them and signs URLs for them.
//!
//! This crate depends on no async runtime, network protocol or tensor library, and reads neither files nor
//! the environment.

pub mod causes;
pub mod engine;
pub mod model;
pub mod picture;
pub mod redact;
pub mod request;
pub mod secret;
pub mod store;
pub mod violation;
