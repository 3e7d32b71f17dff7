//! `tintype deploy`, `destroy`, `doctor` and `template`: the front ends of the crate that knows AWS.

mod arguments;
mod confirm;
mod create;
mod destroy;
mod doctor;
mod key;

use std::future::Future;

use anyhow::Result;
use tintype_deploy::TEMPLATE;

use crate::output;

pub(crate) use arguments::{Deploy, Destroy, Doctor};

/// `tintype deploy`.
///
/// # Errors
/// When the package cannot be made, nobody agreed, or AWS did not do it.
pub(crate) fn deploy(arguments: &Deploy) -> Result<()> {
    wait_for(create::deploy(arguments))
}

/// `tintype destroy`.
///
/// # Errors
/// When nobody agreed, or AWS did not do it.
pub(crate) fn destroy(arguments: &Destroy) -> Result<()> {
    wait_for(destroy::destroy(arguments))
}

/// `tintype doctor`.
///
/// # Errors
/// When something is not as it should be.
pub(crate) fn doctor(arguments: &Doctor) -> Result<()> {
    wait_for(doctor::examine(arguments))
}

/// `tintype template`.
///
/// # Errors
/// When standard output cannot be written to.
pub(crate) fn template() -> Result<()> {
    output::text(TEMPLATE)
}

fn wait_for(work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}
