//! `tintype doctor`.

use anyhow::{Result, bail};
use tintype_deploy::{Aws, Verdict};

use super::arguments::Doctor;
use crate::output;

/// Runs the checks and prints one line for each.
pub(super) async fn doctor(arguments: &Doctor) -> Result<()> {
    let Doctor { target, endpoint, store } = arguments;
    let findings =
        Aws::diagnose(target.region.clone(), &target.name, endpoint.as_deref(), store.as_deref()).await;
    for finding in &findings {
        output::line(&finding.to_string())?;
    }
    match findings.iter().filter(|finding| finding.verdict == Verdict::Failed).count() {
        0 => Ok(()),
        1 => bail!("1 check failed"),
        failed => bail!("{failed} checks failed"),
    }
}
