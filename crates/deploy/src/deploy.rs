//! From a plan and a package to a URL.

use crate::TEMPLATE;
use crate::account::{Aws, Identity};
use crate::error::AwsError;
use crate::package::Package;
use crate::plan::Plan;
use crate::stack::{Deployed, Event, State, Wanted};

impl Aws {
    /// Uploads the package, creates or updates the stack, and waits until that has ended; `watcher` sees what happens
    /// meanwhile, the oldest first.
    ///
    /// # Errors
    /// [`AwsError::Stack`] with the reasons of the resources that failed, if the stack did; other kinds of [`AwsError`] before
    /// that.
    pub async fn deploy(
        &self,
        plan: &Plan,
        package: Package,
        identity: &Identity,
        watcher: &mut (dyn FnMut(&Event) + Send),
    ) -> Result<Deployed, AwsError> {
        let there = self.stack(plan.name.as_str()).await?;
        if let Some(state) = &there {
            refuse_unless_updatable(state)?;
        }
        let artefacts = self.artefacts(&plan.name, identity);
        artefacts.create(&self.region, plan.name.as_str()).await?;
        let key = package.key();
        let parameters = plan.parameters(package.architecture, &artefacts.name, &key);
        artefacts.upload(&key, package.zip).await?;
        let wanted = Wanted { name: &plan.name, template: TEMPLATE, parameters };
        let (state, changed) = match there {
            None => (self.create(&wanted, watcher).await?, true),
            Some(before) => match self.update(&wanted, &before, watcher).await? {
                Some(after) => (after, true),
                None => (before, false),
            },
        };
        // Until now a failed update would have gone back to the code before.
        artefacts.clear(Some(&key)).await?;
        Ok(Deployed {
            url: state.output("Url")?,
            bucket: state.output("Bucket")?,
            function: state.output("Function")?,
            changed,
        })
    }
}

fn refuse_unless_updatable(state: &State) -> Result<(), AwsError> {
    match &*state.status {
        "CREATE_COMPLETE" | "UPDATE_COMPLETE" | "UPDATE_ROLLBACK_COMPLETE" => Ok(()),
        _ if state.is_changing() => Err(AwsError::Busy(state.status.clone())),
        _ => Err(AwsError::Stuck(state.status.clone())),
    }
}
