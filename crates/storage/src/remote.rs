//! An object store over any S3 service, with AWS's SDK.

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::put_object::PutObjectError;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use http::{StatusCode, Uri};
use time::OffsetDateTime;
use tintype_core::causes;
use tintype_core::secret::Secret;
use tintype_core::store::{
    Condition, ETag, Key, ListedObject, Listing, NewObject, Object, ObjectMeta, ObjectStore, PresignOptions,
    SignedUrl, StoreError,
};
use tokio::sync::OnceCell;

use crate::connection::Connection;
use crate::service_clock::ServiceClock;

/// Maximum number of attempts of a conditional write. The service answers 409 while a conflicting operation
/// is under way, which does not decide whether the condition holds.
const CONFLICT_ATTEMPTS: usize = 5;

/// Default maximum lifetime of a link if the end of the credentials is unknown.
const DEFAULT_MAX_LINK_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// The location of the objects, and the credentials for it.
#[derive(Clone, Debug, Default)]
pub struct S3Settings {
    /// The bucket, which must exist.
    pub bucket: String,
    /// The prefix of all keys; empty for none.
    pub prefix: String,
    /// The service's URL; `None` means AWS. With a URL, the bucket is in the path.
    pub endpoint: Option<String>,
    /// The service's URL for links, if it differs from `endpoint`.
    pub public_endpoint: Option<String>,
    /// `None` means the region of AWS's default chain (environment, profile, instance), or `us-east-1`
    /// without one.
    pub region: Option<String>,
    /// Access key id and secret; `None` means AWS's default chain.
    pub credentials: Option<(String, Secret)>,
    /// Maximum lifetime of a link if the credentials belong to a session whose end is unknown; `None` means
    /// an hour.
    pub max_link_lifetime: Option<Duration>,
}

impl S3Settings {
    pub(crate) fn max_link_lifetime(&self) -> Duration {
        self.max_link_lifetime.unwrap_or(DEFAULT_MAX_LINK_LIFETIME)
    }
}

/// Why the settings of an S3 service are invalid.
#[derive(Debug, thiserror::Error)]
pub enum S3SettingsError {
    /// The bucket's name is empty.
    #[error("the bucket name is empty")]
    EmptyBucketName,
    /// An endpoint is not an `http` or `https` URL.
    #[error("invalid S3 endpoint URL {0:?}: it must have http:// or https:// and a host")]
    InvalidEndpoint(String),
}

/// Objects in a bucket of an S3 service.
#[derive(Clone, Debug)]
pub struct S3Store {
    settings: S3Settings,
    /// Created by the first request, because it must not delay the start of a Lambda function.
    connection: OnceCell<Connection>,
    clock: ServiceClock,
}

impl S3Store {
    /// Checks the settings. The first request loads the credentials; nothing is sent before it.
    ///
    /// # Errors
    /// [`S3SettingsError`] if the settings are invalid.
    pub fn new(settings: S3Settings) -> Result<Self, S3SettingsError> {
        if settings.bucket.is_empty() {
            return Err(S3SettingsError::EmptyBucketName);
        }
        let settings = S3Settings {
            endpoint: settings.endpoint.map(checked_endpoint).transpose()?,
            public_endpoint: settings.public_endpoint.map(checked_endpoint).transpose()?,
            prefix: settings.prefix.trim_matches('/').to_owned(),
            ..settings
        };
        Ok(Self { settings, connection: OnceCell::new(), clock: ServiceClock::default() })
    }

    async fn connection(&self) -> &Connection {
        self.connection.get_or_init(|| Connection::new(&self.settings, &self.clock)).await
    }

    async fn client(&self) -> &Client {
        &self.connection().await.client
    }

    /// Checks that the bucket exists and the credentials may access it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Denied`] or [`StoreError::Unavailable`].
    pub async fn check(&self) -> Result<(), StoreError> {
        self.client()
            .await
            .head_bucket()
            .bucket(&self.settings.bucket)
            .send()
            .await
            .map(|_| ())
            .map_err(to_store_error)
    }

    fn full_key(&self, key: &str) -> String {
        let prefix = &self.settings.prefix;
        if prefix.is_empty() { key.to_owned() } else { format!("{prefix}/{key}") }
    }

    async fn write(&self, key: &Key, object: NewObject, condition: &Condition) -> Result<ETag, WriteError> {
        let mut request = self
            .client()
            .await
            .put_object()
            .bucket(&self.settings.bucket)
            .key(self.full_key(key.as_str()))
            .content_type(object.content_type)
            .body(ByteStream::from(object.bytes));
        request = match condition {
            Condition::Always => request,
            Condition::Absent => request.if_none_match("*"),
            Condition::Unchanged(etag) => request.if_match(&etag.0),
        };
        let sent = if *condition == Condition::Always {
            request.send().await
        } else {
            // If a response is lost, the SDK would repeat the write, and the second would fail because of the
            // first.
            let once = aws_sdk_s3::config::Config::builder().retry_config(RetryConfig::disabled());
            request.customize().config_override(once).send().await
        };
        match sent {
            Ok(output) => Ok(ETag(output.e_tag.unwrap_or_default())),
            Err(error) if status(&error) == Some(StatusCode::CONFLICT) => {
                Err(WriteError::Conflict(to_store_error(error)))
            }
            Err(SdkError::DispatchFailure(failure)) if failure.is_io() || failure.is_other() => {
                Err(WriteError::OutcomeUnknown(to_store_error(SdkError::<PutObjectError>::DispatchFailure(
                    failure,
                ))))
            }
            Err(error) => Err(WriteError::Failed(to_store_error(error))),
        }
    }

    /// The object's ETag, if its content is that of `object`; otherwise the write's condition has failed.
    async fn etag_if_written(&self, key: &Key, object: &NewObject) -> Result<ETag, StoreError> {
        match self.get(key, None).await {
            Ok(existing) if existing.bytes == object.bytes => Ok(existing.meta.etag),
            Ok(_) | Err(StoreError::NotFound) => Err(StoreError::ConditionFailed),
            Err(error) => Err(error),
        }
    }
}

/// Why a write failed, or may have failed.
enum WriteError {
    /// Another write of the object is under way, so the condition is undecided.
    Conflict(StoreError),
    /// The connection broke, and the object may have been written.
    OutcomeUnknown(StoreError),
    Failed(StoreError),
}

fn checked_endpoint(endpoint: String) -> Result<String, S3SettingsError> {
    let fits = endpoint.parse::<Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    });
    if fits {
        Ok(endpoint.trim_end_matches('/').to_owned())
    } else {
        Err(S3SettingsError::InvalidEndpoint(endpoint))
    }
}

fn status<E>(error: &SdkError<E>) -> Option<StatusCode> {
    error.raw_response().and_then(|response| StatusCode::from_u16(response.status().as_u16()).ok())
}

/// Why no request was sent, or no response received: the last cause, and for missing credentials the fix.
fn no_response(error: &(dyn std::error::Error + 'static)) -> String {
    if causes::find::<CredentialsError>(error).is_some() {
        return "no valid AWS credentials: set `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, or `AWS_PROFILE`, or \
                give this machine a role"
            .to_owned();
    }
    format!("no response from the S3 service: {}", causes::root(error))
}

/// The error codes of S3 services without room: MinIO, Ceph, and services with quotas. AWS has none.
const FULL_CODES: &[&str] =
    &["InsufficientCapacity", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "XMinioStorageFull"];

/// Maps an SDK error to a store error by the response's status, or by its code if the store is full.
fn to_store_error<E>(error: SdkError<E>) -> StoreError
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    let message = || match (error.code(), error.message()) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(only), None) | (None, Some(only)) => only.to_owned(),
        // The service did not respond.
        (None, None) => no_response(&error),
    };
    let is_full = error.code().is_some_and(|code| FULL_CODES.contains(&code));
    match status(&error) {
        Some(StatusCode::INSUFFICIENT_STORAGE) => StoreError::Full(message().into()),
        // Some of these services answer 403.
        _ if is_full => StoreError::Full(message().into()),
        Some(StatusCode::NOT_FOUND) => StoreError::NotFound,
        Some(StatusCode::PRECONDITION_FAILED) => StoreError::ConditionFailed,
        Some(StatusCode::RANGE_NOT_SATISFIABLE) => StoreError::RangeNotSatisfiable,
        Some(StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED) => StoreError::Denied(message()),
        _ => StoreError::Unavailable(message().into()),
    }
}

fn to_time(at: Option<&DateTime>) -> OffsetDateTime {
    at.and_then(|at| OffsetDateTime::from_unix_timestamp(at.secs()).ok())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[async_trait]
impl ObjectStore for S3Store {
    fn clock_offset(&self) -> time::Duration {
        self.clock.offset()
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Object, StoreError> {
        if let Some(range) = range.as_ref().filter(|range| range.is_empty()) {
            // HTTP has no empty ranges.
            let meta = self.head(key).await?;
            let outside = range.start >= meta.size;
            return if outside {
                Err(StoreError::RangeNotSatisfiable)
            } else {
                Ok(Object { meta, bytes: Default::default() })
            };
        }
        let output = self
            .client()
            .await
            .get_object()
            .bucket(&self.settings.bucket)
            .key(self.full_key(key.as_str()))
            .set_range(range.map(|range| format!("bytes={}-{}", range.start, range.end - 1)))
            .send()
            .await
            .map_err(to_store_error)?;
        let total = output.content_range().and_then(|range| range.rsplit('/').next()?.parse().ok());
        let size = total.unwrap_or(output.content_length().unwrap_or_default().unsigned_abs());
        let meta = ObjectMeta {
            size,
            content_type: output.content_type().unwrap_or_default().to_owned(),
            etag: ETag(output.e_tag().unwrap_or_default().to_owned()),
            modified: to_time(output.last_modified()),
        };
        let bytes = output.body.collect().await.map_err(|error| StoreError::Unavailable(error.into()))?;
        Ok(Object { meta, bytes: bytes.into_bytes() })
    }

    async fn head(&self, key: &Key) -> Result<ObjectMeta, StoreError> {
        let request =
            self.client().await.head_object().bucket(&self.settings.bucket).key(self.full_key(key.as_str()));
        let output = request.send().await.map_err(to_store_error)?;
        Ok(ObjectMeta {
            size: output.content_length().unwrap_or_default().unsigned_abs(),
            content_type: output.content_type().unwrap_or_default().to_owned(),
            etag: ETag(output.e_tag().unwrap_or_default().to_owned()),
            modified: to_time(output.last_modified()),
        })
    }

    async fn put_if(&self, key: &Key, object: NewObject, condition: Condition) -> Result<ETag, StoreError> {
        let (mut last, mut outcome_unknown) = (None, false);
        for _ in 0..CONFLICT_ATTEMPTS {
            match self.write(key, object.clone(), &condition).await {
                Ok(etag) => return Ok(etag),
                Err(WriteError::Failed(StoreError::ConditionFailed)) if outcome_unknown => {
                    // The first attempt may have written the object.
                    return self.etag_if_written(key, &object).await;
                }
                Err(WriteError::Failed(error)) => return Err(error),
                Err(WriteError::Conflict(error)) => last = Some(error),
                // Usually a pooled connection that died while a Lambda function was frozen between two
                // requests.
                Err(WriteError::OutcomeUnknown(error)) if outcome_unknown => return Err(error),
                Err(WriteError::OutcomeUnknown(error)) => (last, outcome_unknown) = (Some(error), true),
            }
        }
        Err(last.unwrap_or(StoreError::ConditionFailed))
    }

    async fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Listing, StoreError> {
        let output = self
            .client()
            .await
            .list_objects_v2()
            .bucket(&self.settings.bucket)
            .prefix(self.full_key(prefix))
            .set_start_after(after.map(|key| self.full_key(key.as_str())))
            .max_keys(i32::try_from(limit).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(to_store_error)?;
        let skipped = self.full_key("").len();
        let objects = output
            .contents()
            .iter()
            .filter_map(|object| {
                Some(ListedObject {
                    key: Key::new(object.key()?.get(skipped..)?).ok()?,
                    size: object.size().unwrap_or_default().unsigned_abs(),
                    modified: to_time(object.last_modified()),
                })
            })
            .collect();
        Ok(Listing { objects, has_more: output.is_truncated().unwrap_or(false) })
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let request = self
            .client()
            .await
            .delete_object()
            .bucket(&self.settings.bucket)
            .key(self.full_key(key.as_str()));
        match request.send().await.map_err(to_store_error) {
            Ok(_) | Err(StoreError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn presign(&self, key: &Key, options: &PresignOptions) -> Result<SignedUrl, StoreError> {
        self.connection().await.signer.sign(&self.full_key(key.as_str()), options).await
    }
}

#[cfg(test)]
mod tests;
