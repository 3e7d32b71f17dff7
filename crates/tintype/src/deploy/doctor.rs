//! `tintype doctor`.

use anyhow::{Result, bail};
use tintype_deploy::{Aws, Verdict};

use super::arguments::Doctor;
use crate::output;

/// One line for each thing that was looked at.
pub(super) async fn examine(arguments: &Doctor) -> Result<()> {
    let Doctor { target, endpoint, store } = arguments;
    let findings =
        Aws::diagnose(target.region.clone(), &target.name, endpoint.as_deref(), store.as_deref()).await;
    for finding in &findings {
        output::line(&finding.to_string())?;
    }
    match findings.iter().filter(|finding| finding.verdict == Verdict::Failed).count() {
        0 => Ok(()),
        1 => bail!("one thing stands in the way"),
        several => bail!("{several} things stand in the way"),
    }
}
