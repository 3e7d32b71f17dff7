//! Asynchronous invocations that were accepted and are not answered yet, in the store, so that a restart loses none.

use serde::{Deserialize, Serialize};
use tintype_core::store::{Key, NewObject, ObjectStore, StoreError};
use uuid::Uuid;

/// Where they are.
const PENDING: &str = "async/pending/";
/// How many names one look at the store returns.
const PAGE: usize = 1_000;

/// An asynchronous invocation as it was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pending {
    /// Our name for it, which no client chooses.
    pub(super) id: Uuid,
    pub(super) content_type: Option<String>,
    pub(super) accept: Option<String>,
    /// The request, as text: neither JSON nor a prompt is anything else.
    pub(super) body: String,
    /// Seconds after which it is given up.
    pub(super) within: u64,
}

impl Pending {
    /// Where the result will be.
    pub(super) fn output(&self) -> Key {
        key(format!("async/{}.out", self.id))
    }

    /// Where the error will be.
    pub(super) fn failure(&self) -> Key {
        key(format!("async/failures/{}.err", self.id))
    }

    fn path(&self) -> Key {
        key(format!("{PENDING}{}", self.id))
    }

    /// Writes it down.
    pub(super) async fn save(&self, store: &dyn ObjectStore) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(self).expect("plain data").into();
        store.put(&self.path(), NewObject { bytes, content_type: "application/json".into() }).await?;
        Ok(())
    }

    /// It is answered.
    pub(super) async fn forget(&self, store: &dyn ObjectStore) -> Result<(), StoreError> {
        store.delete(&self.path()).await
    }

    /// All that are written down.
    pub(super) async fn all(store: &dyn ObjectStore) -> Result<Vec<Self>, StoreError> {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let page = store.list(PENDING, after.as_ref(), PAGE).await?;
            after = page.objects.last().map(|object| object.key.clone());
            for object in page.objects {
                let bytes = match store.get(&object.key, None).await {
                    Ok(object) => object.bytes,
                    // Somebody has deleted it meanwhile.
                    Err(StoreError::NotFound) => continue,
                    Err(error) => return Err(error),
                };
                match serde_json::from_slice(&bytes) {
                    Ok(pending) => found.push(pending),
                    Err(error) => {
                        tracing::error!(key = object.key.as_str(), %error, "an asynchronous request cannot be read");
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
    Key::new(text).expect("letters, digits and slashes are a key")
}
