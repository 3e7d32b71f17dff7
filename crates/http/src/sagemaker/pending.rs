//! Accepted asynchronous invocations without a response, saved in the store so that they survive a restart.

use serde::{Deserialize, Serialize};
use tintype_core::store::{Key, NewObject, ObjectStore, StoreError};
use uuid::Uuid;

/// The prefix of their object keys.
const PENDING_PREFIX: &str = "async/pending/";
/// The number of objects in a page of a listing.
const PAGE_SIZE: usize = 1_000;

/// An accepted asynchronous invocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PendingInvocation {
    /// The server's id, unrelated to the client's inference id.
    pub(super) id: Uuid,
    pub(super) content_type: Option<String>,
    pub(super) accept: Option<String>,
    /// The request: JSON or a prompt.
    pub(super) body: String,
    /// The number of seconds after which the jobs are stopped.
    #[serde(rename = "within")]
    pub(super) max_seconds: u64,
}

impl PendingInvocation {
    /// The key of the response.
    pub(super) fn output(&self) -> Key {
        key(format!("async/{}.out", self.id))
    }

    /// The key of the error.
    pub(super) fn failure(&self) -> Key {
        key(format!("async/failures/{}.err", self.id))
    }

    fn path(&self) -> Key {
        key(format!("{PENDING_PREFIX}{}", self.id))
    }

    /// Saves the invocation.
    pub(super) async fn save(&self, store: &dyn ObjectStore) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(self).expect("plain data").into();
        store.put(&self.path(), NewObject { bytes, content_type: "application/json".into() }).await?;
        Ok(())
    }

    /// Deletes the saved invocation after its response was stored.
    pub(super) async fn delete(&self, store: &dyn ObjectStore) -> Result<(), StoreError> {
        store.delete(&self.path()).await
    }

    /// All saved invocations.
    pub(super) async fn all(store: &dyn ObjectStore) -> Result<Vec<Self>, StoreError> {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let page = store.list(PENDING_PREFIX, after.as_ref(), PAGE_SIZE).await?;
            after = page.objects.last().map(|object| object.key.clone());
            for object in page.objects {
                let bytes = match store.get(&object.key, None).await {
                    Ok(object) => object.bytes,
                    // Deleted since the listing.
                    Err(StoreError::NotFound) => continue,
                    Err(error) => return Err(error),
                };
                match serde_json::from_slice(&bytes) {
                    Ok(pending) => found.push(pending),
                    Err(error) => {
                        let key = object.key.as_str();
                        tracing::error!(key, %error, "failed to parse pending asynchronous invocation");
                    }
                }
            }
            if !page.has_more {
                return Ok(found);
            }
        }
    }
}

fn key(text: String) -> Key {
    Key::new(text).expect("a prefix and a UUID are a valid key")
}
