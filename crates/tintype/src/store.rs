//! From the setting `store` to a store.

use std::sync::Arc;

use anyhow::{Context, Result};
use tintype_core::store::ObjectStore;
use tintype_sagemaker::remote::InBucket;
use tintype_storage::{Embedded, EmbeddedSettings, S3Settings, S3Store};

use crate::config::{self, Config, StoreChoice};

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

/// The store as an asynchronous endpoint knows it, which leaves its results there, or in another bucket of the same S3
/// service.
pub(crate) fn results(config: &Config, store: Arc<dyn ObjectStore>) -> InBucket {
    match &config.store.choice {
        StoreChoice::Embedded => InBucket::new(store, BUCKET, ""),
        StoreChoice::S3 { bucket, prefix } => {
            let how = config.store.s3.clone();
            let open = move |bucket: &str| {
                let store: Arc<dyn ObjectStore> = Arc::new(s3(&how, bucket, "").ok()?);
                Some(store)
            };
            InBucket::new(store, bucket, prefix).and_others(Arc::new(open))
        }
    }
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
pub(crate) fn s3(how: &config::S3, bucket: &str, prefix: &str) -> Result<S3Store> {
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
