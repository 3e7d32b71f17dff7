//! SageMaker's dialect: the API of a model container ([`container()`]), and the paths of the Runtime API
//! ([`runtime`]), so that a program written for SageMaker needs only another endpoint URL.

mod asynchronous;
mod container;
mod invoke;
mod pending;
mod runtime;

pub use container::container;
pub use runtime::{Buckets, RuntimeApi};

pub(crate) use runtime::routes;
