//! From the setting `store` to a store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tintype_core::store::ObjectStore;
use tintype_sagemaker::remote::InBucket;
use tintype_storage::{Embedded, EmbeddedSettings, S3Settings, S3Store};

use crate::config::{self, Config, StoreChoice};
use crate::output::UsageError;

/// The bucket that the embedded store keeps pictures in.
pub(crate) const BUCKET: &str = "tintype";

/// Where the pictures go.
#[derive(Clone)]
pub(crate) enum Store {
    /// Our own folder, which we also serve.
    Embedded(Arc<Embedded>),
    /// Somebody's S3 service.
    S3(Arc<S3Store>),
}

impl Store {
    /// The store as the service sees it.
    pub(crate) fn objects(&self) -> Arc<dyn ObjectStore> {
        match self {
            Self::Embedded(embedded) => embedded.store(),
            Self::S3(store) => store.clone(),
        }
    }
}

/// The store as an asynchronous endpoint knows it, which leaves its results there, or in another bucket of
/// the same S3 service.
///
/// # Errors
/// When the store is our own folder, which no endpoint can write to.
pub(crate) fn results(config: &Config, store: Arc<dyn ObjectStore>) -> Result<InBucket> {
    let StoreChoice::S3 { bucket, prefix } = &config.store.choice else {
        let message = "an asynchronous endpoint leaves its pictures in a bucket: set `store` to s3://BUCKET";
        return Err(UsageError(message.to_owned()).into());
    };
    let how = config.store.s3.clone();
    // Each is looked at again and again, until a picture is there.
    let opened = Mutex::new(HashMap::<String, Arc<dyn ObjectStore>>::new());
    let open = move |bucket: &str| {
        let mut opened = opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = opened.get(bucket) {
            return Some(store.clone());
        }
        let store: Arc<dyn ObjectStore> = Arc::new(s3(&how, bucket, "").ok()?);
        opened.insert(bucket.to_owned(), store.clone());
        Some(store)
    };
    Ok(InBucket::new(store, bucket, prefix).and_others(Arc::new(open)))
}

/// Opens the store; `url` is our own origin.
///
/// # Errors
/// When the folder, or the bucket, cannot be used.
pub(crate) async fn open(config: &Config, url: &str) -> Result<Store> {
    match &config.store.choice {
        StoreChoice::Embedded => embedded(config, url).await,
        StoreChoice::S3 { bucket, prefix } => {
            let store = s3(&config.store.s3, bucket, prefix)?;
            // Better to hear of a wrong name or key now than from the first customer.
            store.check().await.with_context(|| format!("the bucket `{bucket}` cannot be used"))?;
            Ok(Store::S3(Arc::new(store)))
        }
    }
}

async fn embedded(config: &Config, url: &str) -> Result<Store> {
    let settings = EmbeddedSettings {
        folder: config.store.data_dir.clone(),
        public_url: url.to_owned(),
        proxied: config.serving.public_url.is_some(),
        bucket: BUCKET.to_owned(),
        reserved: tintype_http::RESERVED.iter().map(|&name| name.to_owned()).collect(),
    };
    let folder = config.store.data_dir.display().to_string();
    let opened = tokio::task::spawn_blocking(move || Embedded::open(settings)).await?;
    let embedded = opened.with_context(|| format!("the data folder {folder} cannot be used"))?;
    Ok(Store::Embedded(Arc::new(embedded)))
}

/// The bucket of an S3 service. Nothing is asked of the service.
///
/// # Errors
/// When the settings make no sense.
pub(crate) fn s3(how: &config::S3Connection, bucket: &str, prefix: &str) -> Result<S3Store> {
    let settings = S3Settings {
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
        endpoint: how.endpoint.clone(),
        public_endpoint: how.public_endpoint.clone(),
        region: how.region.clone(),
        credentials: how.credentials.clone(),
        link_cap: Some(how.link_cap),
    };
    Ok(S3Store::new(settings)?)
}
