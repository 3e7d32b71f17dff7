//! Opens the store that the setting `store` selects.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tintype_core::store::ObjectStore;
use tintype_sagemaker::remote::BucketResults;
use tintype_storage::{Embedded, EmbeddedSettings, S3Settings, S3Store};

use crate::config::{self, Config, StoreChoice};
use crate::output::UsageError;

/// The embedded store's bucket for images.
pub(crate) const BUCKET: &str = "tintype";

/// The store for images.
#[derive(Clone)]
pub(crate) enum Store {
    /// The data folder, which the server also serves as S3.
    Embedded(Arc<Embedded>),
    /// A bucket of an S3 service.
    S3(Arc<S3Store>),
}

impl Store {
    /// The store behind the service's interface.
    pub(crate) fn objects(&self) -> Arc<dyn ObjectStore> {
        match self {
            Self::Embedded(embedded) => embedded.store(),
            Self::S3(store) => store.clone(),
        }
    }
}

/// The store for the results of an asynchronous endpoint, which are in its bucket or in another bucket of
/// the same S3 service.
///
/// # Errors
/// If the store is embedded: an endpoint cannot write to the data folder.
pub(crate) fn results(config: &Config, store: Arc<dyn ObjectStore>) -> Result<BucketResults> {
    let StoreChoice::S3 { bucket, prefix } = &config.store.choice else {
        let message =
            "`sagemaker_async` needs a store that the endpoint can write to: set `store` to s3://BUCKET";
        return Err(UsageError(message.to_owned()).into());
    };
    let connection = config.store.s3.clone();
    // Clients are kept for each bucket, because results are polled until they are there.
    let opened = Mutex::new(HashMap::<String, Arc<dyn ObjectStore>>::new());
    let open = move |bucket: &str| {
        let mut opened = opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = opened.get(bucket) {
            return Some(store.clone());
        }
        let store: Arc<dyn ObjectStore> = Arc::new(s3(&connection, bucket, "").ok()?);
        opened.insert(bucket.to_owned(), store.clone());
        Some(store)
    };
    Ok(BucketResults::new(store, bucket, prefix).with_other_buckets(Arc::new(open)))
}

/// Opens the store and checks that it is usable; `url` is this server's origin.
///
/// # Errors
/// If the data folder or the bucket is not accessible.
pub(crate) async fn open(config: &Config, url: &str) -> Result<Store> {
    match &config.store.choice {
        StoreChoice::Embedded => embedded(config, url).await,
        StoreChoice::S3 { bucket, prefix } => {
            let store = s3(&config.store.s3, bucket, prefix)?;
            // Report a wrong name or key at start, not at the first request.
            store.check().await.with_context(|| format!("cannot use the bucket `{bucket}`"))?;
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
    let embedded = opened.with_context(|| format!("cannot use the data folder {folder}"))?;
    Ok(Store::Embedded(Arc::new(embedded)))
}

/// A bucket of an S3 service. Makes no request to the service.
///
/// # Errors
/// If the settings are invalid.
pub(crate) fn s3(connection: &config::S3Connection, bucket: &str, prefix: &str) -> Result<S3Store> {
    let settings = S3Settings {
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
        endpoint: connection.endpoint.clone(),
        public_endpoint: connection.public_endpoint.clone(),
        region: connection.region.clone(),
        credentials: connection.credentials()?,
        max_link_lifetime: Some(connection.link_cap),
    };
    Ok(S3Store::new(settings)?)
}
