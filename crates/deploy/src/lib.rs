//! Puts tintype on AWS, looks whether that can work, and takes it away again.
//!
//! [`Package`] is the function's code: this program as `bootstrap` in a zip, checked for what Lambda can run. [`Plan`] is what
//! is to be deployed, in the parameters of the [`TEMPLATE`]. [`Aws`] is an account in a region, and does the work:
//! [`Aws::deploy`], [`Aws::destroy`], [`Aws::diagnose`]. Nothing here talks to people; whoever calls shows the
//! [`Event`]s.

mod account;
mod artifacts;
mod binary;
mod bucket;
mod call;
mod deploy;
mod destroy;
mod doctor;
mod endpoint;
mod error;
mod package;
mod permissions;
mod plan;
mod price;
mod query;
mod stack;

pub use account::{Aws, Identity};
pub use binary::{Architecture, Binary, GLIBC_OF_LAMBDA, Unfit};
pub use destroy::Remains;
pub use doctor::{Finding, Subject, Verdict};
pub use endpoint::{Answers, Endpoint};
pub use error::AwsError;
pub use package::{LARGEST, Package, PackageError};
pub use plan::{Plan, Response, StackName, What};
pub use price::Estimate;
pub use stack::{Deployed, Event};

#[cfg(test)]
mod tests;

/// The CloudFormation template, in YAML.
pub const TEMPLATE: &str = include_str!("../../../deploy/aws/template.yaml");
