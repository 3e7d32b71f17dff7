//! SageMaker's two faces: what a model container answers ([`container()`]), and the Runtime API's own paths ([`runtime`]), so that
//! a program written for SageMaker needs only another endpoint URL.

mod asynchronous;
mod container;
mod invoke;
mod pending;
mod runtime;

pub use container::container;
pub use runtime::{Buckets, RuntimeApi};

pub(crate) use runtime::routes;
