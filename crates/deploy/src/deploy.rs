//! Creates or updates a deployment.

use crate::TEMPLATE;
use crate::account::{Aws, Identity};
use crate::error::AwsError;
use crate::package::Package;
use crate::plan::Plan;
use crate::stack::{Deployed, Event, StackSpec, StackState};

impl Aws {
    /// Uploads the package, creates or updates the stack, and waits for the end. `watcher` receives the
    /// stack's events, the oldest first.
    ///
    /// # Errors
    /// [`AwsError::Stack`] with the failed resources if the stack fails; other variants for a failure before
    /// that.
    pub async fn deploy(
        &self,
        plan: &Plan,
        package: Package,
        identity: &Identity,
        watcher: &mut (dyn FnMut(&Event) + Send),
    ) -> Result<Deployed, AwsError> {
        let existing = self.stack(plan.name.as_str()).await?;
        if let Some(state) = &existing {
            check_updatable(state)?;
        }
        let artifacts = self.artifacts(&plan.name, identity);
        artifacts.create(&self.region, plan.name.as_str()).await?;
        let key = package.key();
        let parameters = plan.parameters(package.architecture, &artifacts.name, &key);
        artifacts.upload(&key, package.zip).await?;
        let spec = StackSpec { name: &plan.name, template: TEMPLATE, parameters };
        let (state, changed) = match existing {
            None => (self.create(&spec, watcher).await?, true),
            Some(before) => match self.update(&spec, &before, watcher).await? {
                Some(after) => (after, true),
                None => (before, false),
            },
        };
        // A failed update needs the previous code, so old code is deleted only now.
        artifacts.clear(Some(&key)).await?;
        Ok(Deployed {
            url: state.output("Url")?,
            bucket: state.output("Bucket")?,
            function: state.output("Function")?,
            changed,
        })
    }
}

fn check_updatable(state: &StackState) -> Result<(), AwsError> {
    match &*state.status {
        "CREATE_COMPLETE" | "UPDATE_COMPLETE" | "UPDATE_ROLLBACK_COMPLETE" => Ok(()),
        _ if state.is_changing() => Err(AwsError::InProgress(state.status.clone())),
        _ => Err(AwsError::NotUpdatable(state.status.clone())),
    }
}
