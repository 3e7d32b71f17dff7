//! `tintype destroy`.

use anyhow::Result;
use tintype_deploy::{Aws, DeployedResources, Event};

use super::arguments::Destroy;
use super::confirm::{Confirmation, require_confirmation};
use crate::output;

/// Deletes a deployment: the stack and its buckets.
pub(super) async fn destroy(arguments: &Destroy) -> Result<()> {
    let name = &arguments.target.name;
    let aws = Aws::connect(arguments.target.region.clone()).await?;
    let identity = aws.identity().await?;
    let resources = aws.resources(name, &identity).await?;
    if resources.is_empty() {
        output::message(&format!(
            "Nothing to delete: no stack {name} in {}, account {}.",
            aws.region(),
            identity.account
        ));
        return Ok(());
    }
    output::message(&summary(&resources, &format!("account {}, {}", identity.account, aws.region())));
    require_confirmation("Delete? This cannot be undone.", Confirmation::from_flag(arguments.yes))?;
    aws.destroy(&resources, &identity, &mut |event: &Event| output::message(&event.to_string())).await?;
    output::message("The deployment is deleted.");
    Ok(())
}

fn summary(resources: &DeployedResources, place: &str) -> String {
    let mut lines = vec![format!("This will delete ({place}):")];
    if let Some(stack) = &resources.stack {
        lines.push(format!("  stack   {stack}"));
    }
    if let Some(bucket) = &resources.bucket {
        lines.push(format!("  bucket  {bucket}, with all images, keys and jobs"));
    }
    if let Some(artifacts) = &resources.artifacts {
        lines.push(format!("  bucket  {artifacts}, with the function's code"));
    }
    lines.join("\n")
}
