//! Removes a deployment.

use crate::account::{Aws, Identity};
use crate::bucket::Bucket;
use crate::error::AwsError;
use crate::plan::StackName;
use crate::stack::Event;

/// Attempts to empty the bucket and delete the stack. A running function may store another image in an empty
/// bucket.
const ATTEMPTS: usize = 3;

/// The existing resources of a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeployedResources {
    /// The stack's id.
    pub stack: Option<String>,
    /// The bucket with images, keys and jobs.
    pub bucket: Option<String>,
    /// The bucket with the function's code.
    pub artifacts: Option<String>,
}

impl DeployedResources {
    /// Whether no resource exists.
    pub fn is_empty(&self) -> bool {
        self.stack.is_none() && self.bucket.is_none() && self.artifacts.is_none()
    }
}

impl Aws {
    /// Finds the existing resources of a deployment.
    ///
    /// # Errors
    /// [`AwsError`], for example if a permission is missing.
    pub async fn resources(
        &self,
        name: &StackName,
        identity: &Identity,
    ) -> Result<DeployedResources, AwsError> {
        let stack = self.stack(name.as_str()).await?;
        let bucket = match &stack {
            Some(state) => self.resource(&state.id, "Bucket").await?,
            None => None,
        };
        let artifacts = self.artifacts(name, identity);
        let artifacts = artifacts.exists().await?.then_some(artifacts.name);
        Ok(DeployedResources { stack: stack.map(|state| state.id), bucket, artifacts })
    }

    /// Empties the bucket, deletes the stack, and deletes the bucket with the code. `watcher` receives the
    /// stack's events, the oldest first.
    ///
    /// # Errors
    /// [`AwsError`]. The call can be repeated for the remaining resources.
    pub async fn destroy(
        &self,
        resources: &DeployedResources,
        identity: &Identity,
        watcher: &mut (dyn FnMut(&Event) + Send),
    ) -> Result<(), AwsError> {
        let bucket =
            |name: &String| Bucket { client: &self.s3, name: name.clone(), owner: identity.account.clone() };
        if let Some(stack) = &resources.stack {
            let pictures = resources.bucket.as_ref().map(bucket);
            self.empty_and_delete(stack, pictures.as_ref(), watcher).await?;
        }
        match &resources.artifacts {
            Some(artifacts) => bucket(artifacts).destroy().await,
            None => Ok(()),
        }
    }

    async fn empty_and_delete(
        &self,
        stack: &str,
        pictures: Option<&Bucket<'_>>,
        watcher: &mut (dyn FnMut(&Event) + Send),
    ) -> Result<(), AwsError> {
        let mut attempt = 1;
        loop {
            if let Some(pictures) = pictures
                && pictures.exists().await?
            {
                pictures.clear(None).await?;
            }
            match self.delete(stack, watcher).await {
                Err(AwsError::Stack { status, .. }) if status == "DELETE_FAILED" && attempt < ATTEMPTS => {
                    attempt += 1;
                }
                ended => return ended,
            }
        }
    }
}
