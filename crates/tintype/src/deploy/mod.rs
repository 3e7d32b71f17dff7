//! `tintype deploy`, `destroy`, `doctor` and `template`: the commands on top of the crate `tintype-deploy`.

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
/// If the package cannot be built, the user does not confirm, or AWS returns an error.
pub(crate) fn deploy(arguments: &Deploy) -> Result<()> {
    wait_for(create::deploy(arguments))
}

/// `tintype destroy`.
///
/// # Errors
/// If the user does not confirm, or AWS returns an error.
pub(crate) fn destroy(arguments: &Destroy) -> Result<()> {
    wait_for(destroy::destroy(arguments))
}

/// `tintype doctor`.
///
/// # Errors
/// If a check fails.
pub(crate) fn doctor(arguments: &Doctor) -> Result<()> {
    wait_for(doctor::doctor(arguments))
}

/// `tintype template`.
///
/// # Errors
/// If standard output cannot be written to.
pub(crate) fn template() -> Result<()> {
    output::text(TEMPLATE)
}

fn wait_for(work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}
