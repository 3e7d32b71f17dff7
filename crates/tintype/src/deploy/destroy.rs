//! `tintype destroy`.

use anyhow::Result;
use tintype_deploy::{Aws, DeployedResources, Event};

use super::arguments::Destroy;
use super::confirm;
use crate::output;

/// Removes a deployment, all of it.
pub(super) async fn destroy(arguments: &Destroy) -> Result<()> {
    let name = &arguments.target.name;
    let aws = Aws::connect(arguments.target.region.clone()).await?;
    let identity = aws.identity().await?;
    let resources = aws.resources(name, &identity).await?;
    if resources.is_empty() {
        output::remark(&format!(
            "There is no stack {name} in {}, account {}.",
            aws.region(),
            identity.account
        ));
        return Ok(());
    }
    output::remark(&in_words(&resources, &format!("account {}, {}", identity.account, aws.region())));
    confirm::or_stop("Remove it? It cannot be brought back.", arguments.yes)?;
    aws.destroy(&resources, &identity, &mut |event: &Event| output::remark(&event.to_string())).await?;
    output::remark("Nothing is left of it.");
    Ok(())
}

fn in_words(resources: &DeployedResources, place: &str) -> String {
    let mut lines = vec![format!("To be removed ({place}):")];
    if let Some(stack) = &resources.stack {
        lines.push(format!("  stack   {stack}"));
    }
    if let Some(bucket) = &resources.bucket {
        lines.push(format!("  bucket  {bucket}, with every picture, key and job in it"));
    }
    if let Some(artifacts) = &resources.artifacts {
        lines.push(format!("  bucket  {artifacts}, with the function's code"));
    }
    lines.join("\n")
}
