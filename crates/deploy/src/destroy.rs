//! Taking everything away again.

use crate::account::{Aws, Identity};
use crate::bucket::Bucket;
use crate::error::AwsError;
use crate::plan::StackName;
use crate::stack::Event;

/// How often the bucket is emptied and the stack deleted: a function that is still at work may put one more picture into an empty
/// bucket.
const ATTEMPTS: usize = 3;

/// What there is of a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remains {
    /// The stack's id.
    pub stack: Option<String>,
    /// The bucket with pictures, keys and jobs.
    pub bucket: Option<String>,
    /// The bucket with the function's code.
    pub artefacts: Option<String>,
}

impl Remains {
    /// There is nothing.
    pub fn is_nothing(&self) -> bool {
        self.stack.is_none() && self.bucket.is_none() && self.artefacts.is_none()
    }
}

impl Aws {
    /// Looks what there is of a deployment.
    ///
    /// # Errors
    /// [`AwsError`], for example when we may not look.
    pub async fn remains(&self, name: &StackName, identity: &Identity) -> Result<Remains, AwsError> {
        let stack = self.stack(name.as_str()).await?;
        let bucket = match &stack {
            Some(state) => self.resource(&state.id, "Bucket").await?,
            None => None,
        };
        let artefacts = self.artefacts(name, identity);
        let artefacts = artefacts.exists().await?.then_some(artefacts.name);
        Ok(Remains { stack: stack.map(|state| state.id), bucket, artefacts })
    }

    /// Removes it all: empties the bucket, deletes the stack, and deletes the bucket with the code. `watcher` sees what happens
    /// meanwhile, the oldest first.
    ///
    /// # Errors
    /// [`AwsError`]; it can be called again for what is left.
    pub async fn destroy(
        &self,
        remains: &Remains,
        identity: &Identity,
        watcher: &mut (dyn FnMut(&Event) + Send),
    ) -> Result<(), AwsError> {
        let bucket =
            |name: &String| Bucket { client: &self.s3, name: name.clone(), owner: identity.account.clone() };
        if let Some(stack) = &remains.stack {
            let pictures = remains.bucket.as_ref().map(bucket);
            self.delete_with(stack, pictures.as_ref(), watcher).await?;
        }
        match &remains.artefacts {
            Some(artefacts) => bucket(artefacts).destroy().await,
            None => Ok(()),
        }
    }

    async fn delete_with(
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
