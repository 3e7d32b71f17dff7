//! Deploys tintype to AWS, checks the account, and removes the deployment.
//!
//! [`Package`] is the function's code: the program as `bootstrap` in a zip file, checked for compatibility
//! with Lambda. [`Plan`] describes a deployment as parameters of the [`TEMPLATE`]. [`Aws`] is an account in
//! one region, with the operations [`Aws::deploy`], [`Aws::destroy`] and [`Aws::diagnose`]. This crate prints
//! nothing; the caller receives the [`Event`]s.

mod account;
mod artifacts;
mod binary;
mod bucket;
mod call;
mod cloudformation;
mod deploy;
mod destroy;
mod doctor;
mod endpoint;
mod error;
mod error_response;
mod package;
mod permissions;
mod plan;
mod price;
mod query;
mod stack;

pub use account::{Aws, Identity};
pub use binary::{Architecture, Binary, GLIBC_OF_LAMBDA, IncompatibleBinary};
pub use destroy::DeployedResources;
pub use doctor::{Finding, Subject, Verdict};
pub use endpoint::{Endpoint, OutputPaths};
pub use error::AwsError;
pub use package::{MAX_UNZIPPED_BYTES, Package, PackageError, model_size};
pub use plan::{ModelLocation, Plan, Response, StackName};
pub use price::Estimate;
pub use stack::{Deployed, Event};

#[cfg(test)]
mod tests;

/// The CloudFormation template, in YAML.
pub const TEMPLATE: &str = include_str!("../../../deploy/aws/template.yaml");
