//! The S3 service in the process.

mod bucket;
mod credentials;
mod direct;
mod disk;
mod file;
mod guard;
mod hosts;
mod index;
mod query;
mod response;
mod s3;
mod service;
mod sweep;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use http::request::Parts;
use tintype_core::secret::Secret;
use tintype_core::store::{ObjectStore, StoreError};

use self::bucket::{Bucket, DiskError};
use self::credentials::AccessKeys;
use self::direct::Direct;
use self::disk::{Disk, DiskOpenError};
use self::hosts::Hosts;
use crate::connection::{addressed, given};
use crate::signer::Signer;

pub use self::service::S3Http;
pub use self::sweep::Swept;
/// The body of the S3 service's answers.
pub use s3s::Body as S3Body;

/// How the embedded service is set up.
#[derive(Clone, Debug)]
pub struct EmbeddedSettings {
    /// Where credentials and objects are kept; made if it is not there.
    pub folder: PathBuf,
    /// The URL under which clients reach the service, such as `http://127.0.0.1:8080`; links begin with it.
    pub public_url: String,
    /// A proxy stands in front: signatures are verified against the public URL's host, whatever `Host` the proxy sends.
    pub proxied: bool,
    /// The bucket that [`Embedded::store`] is; made if it is not there.
    pub bucket: String,
    /// First path segments that belong to somebody else, and cannot be buckets.
    pub reserved: Vec<String>,
}

/// Why the embedded service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The public URL is none, or has a path.
    #[error("{0:?} cannot be the public URL: it needs http:// or https:// and a host, and no path")]
    PublicUrl(String),
    /// The bucket's name is not one that S3 allows, or is reserved.
    #[error("{0:?} cannot be a bucket's name")]
    BucketName(String),
    /// Another process has the folder.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The credentials cannot be read or written.
    #[error("the credentials {}", path.display())]
    Credentials {
        /// Their file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The objects' folder cannot be read or written.
    #[error("the objects' folder {}", path.display())]
    Folder {
        /// It.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The S3 service in the process: a folder, its credentials, its HTTP service, and its default bucket as a store.
///
/// Only one process can have a folder at a time.
#[derive(Debug)]
pub struct Embedded {
    keys: AccessKeys,
    disk: Arc<Disk>,
    store: Arc<Direct>,
    /// Signs links for the public URL.
    signing: aws_sdk_s3::Client,
    service: S3Http,
}

impl Embedded {
    /// Opens the folder, or makes it with random credentials on the first start. Reads every object's record: it blocks for
    /// about as long as listing the files takes.
    ///
    /// # Errors
    /// [`OpenError`] if the settings make no sense or the folder cannot be used.
    pub fn open(settings: EmbeddedSettings) -> Result<Self, OpenError> {
        let EmbeddedSettings { folder, public_url, proxied, bucket, reserved } = settings;
        let uri: Uri = public_url.parse().map_err(|_| OpenError::PublicUrl(public_url.clone()))?;
        let has_path = uri.path().len() > 1 || uri.query().is_some();
        let authority = match (uri.scheme_str(), uri.authority()) {
            (Some("http" | "https"), Some(authority)) if !has_path && !authority.host().is_empty() => {
                authority
            }
            _ => return Err(OpenError::PublicUrl(public_url)),
        };
        let hosts = Arc::new(Hosts::new(authority, reserved));
        if !s3s::path::check_bucket_name(&bucket) || hosts.is_reserved(&bucket) {
            return Err(OpenError::BucketName(bucket));
        }
        let root = folder.join("store");
        let disk = Disk::open(root.clone()).map_err(|error| match error {
            DiskOpenError::InUse => OpenError::InUse(folder.clone()),
            DiskOpenError::Io(source) => OpenError::Folder { path: root.clone(), source },
        })?;
        let path = folder.join("credentials");
        let keys =
            credentials::load_or_create(&path).map_err(|source| OpenError::Credentials { path, source })?;
        let default =
            open_default(&disk, &bucket).map_err(|source| OpenError::Folder { path: root, source })?;
        let disk = Arc::new(disk);
        let endpoint = public_url.trim_end_matches('/');
        let signing = addressed(given(&keys.id, &keys.secret, None), Some(endpoint)).build();
        let signing = aws_sdk_s3::Client::from_conf(signing);
        let signer = Signer::lasting(signing.clone(), bucket.clone());
        let inner = s3::service(Arc::clone(&disk), Arc::clone(&hosts), &keys, bucket);
        Ok(Self {
            keys,
            store: Arc::new(Direct { disk: Arc::clone(&disk), bucket: default, signer }),
            signing,
            service: S3Http { inner, hosts, proxied },
            disk,
        })
    }

    /// The default bucket as a store. Links are signed for the public URL.
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store) as Arc<dyn ObjectStore>
    }

    /// Another bucket as a store, if there is one of this name.
    pub fn bucket(&self, name: &str) -> Option<Arc<dyn ObjectStore>> {
        let bucket = self.disk.bucket(name).ok()?;
        let signer = Signer::lasting(self.signing.clone(), name.to_owned());
        Some(Arc::new(Direct { disk: Arc::clone(&self.disk), bucket, signer }))
    }

    /// The S3 API, for hyper and axum.
    pub fn service(&self) -> S3Http {
        self.service.clone()
    }

    /// Whether a request is S3's: by its signature's scope, else by a bucket in its host's name, else by a first path segment
    /// that is not reserved. An unsigned `/` is not.
    pub fn claims(&self, parts: &Parts) -> bool {
        self.service.hosts.claims(parts)
    }

    /// The id of the service's access key.
    pub fn access_key_id(&self) -> &str {
        &self.keys.id
    }

    /// The service's access key.
    pub fn secret_access_key(&self) -> &Secret {
        &self.keys.secret
    }

    /// Deletes the default bucket's pictures (keys that begin with `images/`, and with `async/` the answers to asynchronous
    /// invocations) that are older than `keep`, then the oldest until the rest has at most `max_bytes`; and uploads that were
    /// begun before `keep` and never completed.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub async fn sweep(&self, keep: Duration, max_bytes: u64) -> Result<Swept, StoreError> {
        let (disk, bucket) = (Arc::clone(&self.disk), Arc::clone(&self.store.bucket));
        let swept = off_thread(move || {
            s3::uploads::forget_older(&disk, keep)?;
            sweep::sweep(&bucket, keep, max_bytes)
        });
        Ok(swept.await.map_err(|error| StoreError::Unavailable(error.into()))??)
    }
}

fn open_default(disk: &Disk, name: &str) -> io::Result<Arc<Bucket>> {
    match disk.bucket(name).or_else(|_| disk.create_bucket(name)) {
        Ok(bucket) => Ok(bucket),
        Err(DiskError::Io(error)) => Err(error),
        Err(other) => Err(io::Error::other(other)),
    }
}

/// Runs what blocks on the disk where it may.
async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
}
