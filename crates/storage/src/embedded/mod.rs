//! The embedded S3 service.

mod body_error;
mod bucket;
mod credentials;
mod disk;
mod disposition;
mod error_response;
mod form;
mod hosts;
mod index;
mod local_store;
mod object_file;
mod query_string;
mod request_check;
mod response;
mod s3;
mod service;
mod signature_v2;
mod sweep;
mod upload_locks;

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
use self::disk::{Disk, DiskOpenError};
use self::hosts::Hosts;
use self::local_store::LocalStore;
use self::request_check::SignedHost;
use crate::connection::{static_credentials, with_endpoint};
use crate::signer::Signer;

pub use self::service::S3Http;
pub use self::sweep::SweepReport;
/// The body of the S3 service's responses.
pub use s3s::Body as S3Body;

/// The region of every bucket.
const REGION: &str = "us-east-1";

/// The settings of the embedded service.
#[derive(Clone, Debug)]
pub struct EmbeddedSettings {
    /// The folder for credentials and objects; created if it does not exist.
    pub folder: PathBuf,
    /// The URL at which clients reach the service, such as `http://127.0.0.1:8080`; links begin with it.
    pub public_url: String,
    /// Clients connect through a proxy: signatures are verified with the public URL's host instead of the
    /// header `Host`.
    pub proxied: bool,
    /// The default bucket, which is [`Embedded::store`]; created if it does not exist.
    pub bucket: String,
    /// First path segments that belong to the HTTP API. No bucket can have such a name.
    pub reserved: Vec<String>,
}

/// Why the embedded service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The public URL is invalid, or has a path.
    #[error("invalid public URL {0:?}: it must have http:// or https://, a host, and no path")]
    InvalidPublicUrl(String),
    /// S3 does not allow the bucket's name, or the HTTP API uses it as a path.
    #[error("invalid bucket name {0:?}: S3 does not allow it, or it is a path of the HTTP API")]
    InvalidBucketName(String),
    /// Another process uses the folder.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The credentials cannot be read or written.
    #[error("failed to read or write the credentials in {}", path.display())]
    Credentials {
        /// The credentials' file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The objects' folder cannot be read or written.
    #[error("failed to read or write the object folder {}", path.display())]
    Folder {
        /// The objects' folder.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
}

/// The embedded S3 service: a folder, its credentials, its HTTP service, and its default bucket as a store.
///
/// Only one process can use a folder at a time.
#[derive(Debug)]
pub struct Embedded {
    keys: Arc<AccessKeys>,
    disk: Arc<Disk>,
    store: Arc<LocalStore>,
    /// Signs links for the public URL.
    signing: aws_sdk_s3::Client,
    service: S3Http,
}

impl Embedded {
    /// Opens the folder, or creates it with random credentials. Blocks while it reads the record of every
    /// object.
    ///
    /// # Errors
    /// [`OpenError`] if the settings are invalid or the folder cannot be used.
    pub fn open(settings: EmbeddedSettings) -> Result<Self, OpenError> {
        let EmbeddedSettings { folder, public_url, proxied, bucket, reserved } = settings;
        let uri: Uri = public_url.parse().map_err(|_| OpenError::InvalidPublicUrl(public_url.clone()))?;
        let has_path = uri.path().len() > 1 || uri.query().is_some();
        let authority = match (uri.scheme_str(), uri.authority()) {
            (Some("http" | "https"), Some(authority)) if !has_path && !authority.host().is_empty() => {
                authority
            }
            _ => return Err(OpenError::InvalidPublicUrl(public_url)),
        };
        let hosts = Arc::new(Hosts::new(authority, reserved));
        let signed_host = if proxied { SignedHost::Public } else { SignedHost::AsReceived };
        if !s3s::path::check_bucket_name(&bucket) || hosts.is_reserved(&bucket) {
            return Err(OpenError::InvalidBucketName(bucket));
        }
        let root = folder.join("store");
        let disk = Disk::open(root.clone()).map_err(|error| match error {
            DiskOpenError::InUse => OpenError::InUse(folder.clone()),
            DiskOpenError::Io(source) => OpenError::Folder { path: root.clone(), source },
        })?;
        let path = folder.join("credentials");
        let keys =
            credentials::load_or_create(&path).map_err(|source| OpenError::Credentials { path, source })?;
        let default_bucket =
            open_default(&disk, &bucket).map_err(|source| OpenError::Folder { path: root, source })?;
        let disk = Arc::new(disk);
        let endpoint = public_url.trim_end_matches('/');
        let signing = with_endpoint(static_credentials(&keys.id, &keys.secret, None), Some(endpoint)).build();
        let signing = aws_sdk_s3::Client::from_conf(signing);
        let signer = Signer::with_permanent_credentials(signing.clone(), bucket.clone());
        let inner = s3::service(Arc::clone(&disk), Arc::clone(&hosts), &keys, bucket);
        let (keys, endpoint) = (Arc::new(keys), endpoint.into());
        let service = S3Http { inner, hosts, keys: Arc::clone(&keys), signed_host, endpoint };
        Ok(Self {
            keys,
            store: Arc::new(LocalStore { disk: Arc::clone(&disk), bucket: default_bucket, signer }),
            signing,
            service,
            disk,
        })
    }

    /// The default bucket as a store. Links are signed for the public URL.
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store) as Arc<dyn ObjectStore>
    }

    /// The bucket of this name as a store, if it exists.
    pub fn bucket(&self, name: &str) -> Option<Arc<dyn ObjectStore>> {
        let bucket = self.disk.bucket(name).ok()?;
        let signer = Signer::with_permanent_credentials(self.signing.clone(), name.to_owned());
        Some(Arc::new(LocalStore { disk: Arc::clone(&self.disk), bucket, signer }))
    }

    /// The HTTP service of the S3 API, for hyper and axum.
    pub fn service(&self) -> S3Http {
        self.service.clone()
    }

    /// Whether a request is for the S3 API. A signature's scope decides; without a signature, the name of an
    /// existing bucket in the host or in the first path segment does, or a header of an S3 client with a first
    /// path segment that is not reserved. An unsigned request for `/` is not for the S3 API.
    pub fn is_s3_request(&self, parts: &Parts) -> bool {
        self.service.hosts.is_s3_request(parts, |bucket| self.disk.bucket(bucket).is_ok())
    }

    /// The id of the service's access key.
    pub fn access_key_id(&self) -> &str {
        &self.keys.id
    }

    /// The service's secret access key.
    pub fn secret_access_key(&self) -> &Secret {
        &self.keys.secret
    }

    /// Deletes the default bucket's pictures that are older than `max_age`, and then the oldest until the
    /// rest has at most `max_bytes`. Pictures have keys that begin with `images/`, or with `async/` for
    /// results of asynchronous invocations. Also deletes incomplete multipart uploads that are older than
    /// `max_age`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the folder cannot be read or written.
    pub async fn sweep(&self, max_age: Duration, max_bytes: u64) -> Result<SweepReport, StoreError> {
        let (disk, bucket) = (Arc::clone(&self.disk), Arc::clone(&self.store.bucket));
        let report = run_blocking(move || {
            s3::uploads::discard_older_than(&disk, max_age)?;
            sweep::sweep(&bucket, max_age, max_bytes)
        });
        Ok(report.await.map_err(|error| StoreError::Unavailable(error.into()))??)
    }
}

fn open_default(disk: &Disk, name: &str) -> io::Result<Arc<Bucket>> {
    match disk.bucket(name).or_else(|_| disk.create_bucket(name)) {
        Ok(bucket) => Ok(bucket),
        Err(DiskError::Io(error)) => Err(error),
        Err(other) => Err(io::Error::other(other)),
    }
}

/// Runs blocking disk access on a thread for it.
async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
}
