//! An object store at any S3 service, through AWS's own SDK.

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Credentials, RequestChecksumCalculation, ResponseChecksumValidation, SharedCredentialsProvider,
};
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use http::{StatusCode, Uri};
use time::OffsetDateTime;
use tintype_core::secret::Secret;
use tintype_core::store::{
    Condition, ETag, Key, Listed, Listing, NewObject, Object, ObjectMeta, ObjectStore, Presign, SignedUrl,
    StoreError,
};

use crate::signer::Signer;

/// How often a conditional write is sent again when the service answers 409, "a conflicting operation is under way", which says
/// nothing about who wins.
const CONFLICT_ATTEMPTS: usize = 5;

/// How long one attempt at a call may take, its body included.
const ATTEMPT: Duration = Duration::from_secs(60);
/// How long a call may take with every attempt at it.
const OPERATION: Duration = Duration::from_secs(150);

/// Where the objects are, and who we are there.
#[derive(Clone, Debug, Default)]
pub struct S3Settings {
    /// The bucket. It must exist.
    pub bucket: String,
    /// What all keys begin with, without slashes at either end; empty for none.
    pub prefix: String,
    /// The service's URL; none means AWS. With one, buckets are addressed by path.
    pub endpoint: Option<String>,
    /// The service's URL as those who follow the links see it, if it is another one.
    pub public_endpoint: Option<String>,
    /// None means what AWS's own chain says (environment, profile, instance), and `us-east-1` if it says nothing.
    pub region: Option<String>,
    /// Access key id and secret; none means AWS's own chain.
    pub credentials: Option<(String, Secret)>,
}

/// Why the settings of an S3 service make no sense.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No bucket was named.
    #[error("the bucket's name is empty")]
    NoBucket,
    /// An endpoint that is no `http` or `https` URL.
    #[error("{0:?} is not the URL of an S3 service: it needs http:// or https:// and a host")]
    BadEndpoint(String),
}

/// Objects in a bucket of an S3 service.
#[derive(Clone, Debug)]
pub struct S3Store {
    client: Client,
    signer: Signer,
    bucket: String,
    prefix: String,
}

impl S3Store {
    /// Prepares the client. Makes no request to the service; AWS's chain may look for credentials.
    ///
    /// # Errors
    /// [`ConnectError`] if the settings make no sense.
    pub async fn connect(settings: S3Settings) -> Result<Self, ConnectError> {
        if settings.bucket.is_empty() {
            return Err(ConnectError::NoBucket);
        }
        let endpoint = settings.endpoint.map(checked_endpoint).transpose()?;
        let public = settings.public_endpoint.map(checked_endpoint).transpose()?;
        let region = settings.region.map(Region::new);
        let base = match settings.credentials {
            Some((id, secret)) => given(&id, &secret, region),
            None => from_chain(region).await,
        };
        let client = Client::from_conf(addressed(base.clone(), endpoint.as_deref()).build());
        let public = public.or(endpoint);
        let signing = Client::from_conf(addressed(base, public.as_deref()).build());
        Ok(Self {
            client,
            signer: Signer { client: signing, bucket: settings.bucket.clone() },
            bucket: settings.bucket,
            prefix: settings.prefix.trim_matches('/').to_owned(),
        })
    }

    /// Asks the service whether the bucket is there and open to us.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Denied`] or [`StoreError::Unavailable`].
    pub async fn check(&self) -> Result<(), StoreError> {
        self.client.head_bucket().bucket(&self.bucket).send().await.map(|_| ()).map_err(meaning)
    }

    fn full(&self, key: &str) -> String {
        if self.prefix.is_empty() { key.to_owned() } else { format!("{}/{key}", self.prefix) }
    }

    async fn write(&self, key: &Key, object: NewObject, condition: &Condition) -> Result<ETag, WriteError> {
        let mut request = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(self.full(key.as_str()))
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
            // The SDK would send it again when an answer is lost, and the second would fail for what the first one wrote.
            let once = aws_sdk_s3::config::Config::builder().retry_config(RetryConfig::disabled());
            request.customize().config_override(once).send().await
        };
        match sent {
            Ok(output) => Ok(ETag(output.e_tag.unwrap_or_default())),
            Err(error) if status(&error) == Some(StatusCode::CONFLICT) => {
                Err(WriteError::Conflict(meaning(error)))
            }
            Err(error) => Err(WriteError::Failed(meaning(error))),
        }
    }
}

enum WriteError {
    /// Somebody else is writing; nothing is decided.
    Conflict(StoreError),
    Failed(StoreError),
}

fn checked_endpoint(endpoint: String) -> Result<String, ConnectError> {
    let fits = endpoint.parse::<Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    });
    if fits {
        Ok(endpoint.trim_end_matches('/').to_owned())
    } else {
        Err(ConnectError::BadEndpoint(endpoint))
    }
}

/// A client configuration with credentials of our own, for any service.
pub(crate) fn given(id: &str, secret: &Secret, region: Option<Region>) -> aws_sdk_s3::config::Builder {
    // The secret is handed to the SDK, which signs with it and does not print it.
    let credentials = Credentials::new(id, secret.expose(), None, None, "tintype");
    aws_sdk_s3::config::Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .region(region.unwrap_or(Region::from_static("us-east-1")))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .timeout_config(timeouts())
}

async fn from_chain(region: Option<Region>) -> aws_sdk_s3::config::Builder {
    let mut loader = aws_config::defaults(BehaviorVersion::latest());
    if let Some(region) = region {
        loader = loader.region(region);
    }
    let found = loader.load().await;
    let region = found.region().cloned().unwrap_or(Region::from_static("us-east-1"));
    aws_sdk_s3::config::Builder::from(&found).region(region).timeout_config(timeouts())
}

/// The SDK's own defaults bound only the connecting: a service that takes a body and never answers would be waited for
/// for ever.
fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT).operation_timeout(OPERATION).build()
}

/// Points a configuration at an endpoint other than AWS's own.
pub(crate) fn addressed(
    base: aws_sdk_s3::config::Builder,
    endpoint: Option<&str>,
) -> aws_sdk_s3::config::Builder {
    let Some(endpoint) = endpoint else { return base };
    // Not every S3 service knows the checksums that AWS's SDK sends by default since 2025.
    base.endpoint_url(endpoint)
        .force_path_style(true)
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
}

fn status<E>(error: &SdkError<E>) -> Option<StatusCode> {
    error.raw_response().and_then(|response| StatusCode::from_u16(response.status().as_u16()).ok())
}

/// What a failure means to those who use the store.
fn meaning<E>(error: SdkError<E>) -> StoreError
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    let said = || match (error.code(), error.message()) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(only), None) | (None, Some(only)) => only.to_owned(),
        // Not the service's answer but the way to it.
        (None, None) => DisplayErrorContext(&error).to_string(),
    };
    match status(&error) {
        Some(StatusCode::NOT_FOUND) => StoreError::NotFound,
        Some(StatusCode::PRECONDITION_FAILED) => StoreError::ConditionFailed,
        Some(StatusCode::RANGE_NOT_SATISFIABLE) => StoreError::RangeNotSatisfiable,
        Some(StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED) => StoreError::Denied(said()),
        _ => StoreError::Unavailable(said().into()),
    }
}

fn to_second(at: Option<&DateTime>) -> OffsetDateTime {
    at.and_then(|at| OffsetDateTime::from_unix_timestamp(at.secs()).ok())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[async_trait]
impl ObjectStore for S3Store {
    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Object, StoreError> {
        if let Some(range) = range.as_ref().filter(|range| range.is_empty()) {
            // HTTP has no empty range.
            let meta = self.head(key).await?;
            let outside = range.start >= meta.size;
            return if outside {
                Err(StoreError::RangeNotSatisfiable)
            } else {
                Ok(Object { meta, bytes: Default::default() })
            };
        }
        let output = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(self.full(key.as_str()))
            .set_range(range.map(|range| format!("bytes={}-{}", range.start, range.end - 1)))
            .send()
            .await
            .map_err(meaning)?;
        let whole = output.content_range().and_then(|range| range.rsplit('/').next()?.parse().ok());
        let size = whole.unwrap_or(output.content_length().unwrap_or_default().unsigned_abs());
        let meta = ObjectMeta {
            size,
            content_type: output.content_type().unwrap_or_default().to_owned(),
            etag: ETag(output.e_tag().unwrap_or_default().to_owned()),
            modified: to_second(output.last_modified()),
        };
        let bytes = output.body.collect().await.map_err(|error| StoreError::Unavailable(error.into()))?;
        Ok(Object { meta, bytes: bytes.into_bytes() })
    }

    async fn head(&self, key: &Key) -> Result<ObjectMeta, StoreError> {
        let request = self.client.head_object().bucket(&self.bucket).key(self.full(key.as_str()));
        let output = request.send().await.map_err(meaning)?;
        Ok(ObjectMeta {
            size: output.content_length().unwrap_or_default().unsigned_abs(),
            content_type: output.content_type().unwrap_or_default().to_owned(),
            etag: ETag(output.e_tag().unwrap_or_default().to_owned()),
            modified: to_second(output.last_modified()),
        })
    }

    async fn put_if(&self, key: &Key, object: NewObject, condition: Condition) -> Result<ETag, StoreError> {
        let mut last = None;
        for _ in 0..CONFLICT_ATTEMPTS {
            match self.write(key, object.clone(), &condition).await {
                Ok(etag) => return Ok(etag),
                Err(WriteError::Failed(error)) => return Err(error),
                Err(WriteError::Conflict(error)) => last = Some(error),
            }
        }
        Err(last.unwrap_or(StoreError::ConditionFailed))
    }

    async fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Listing, StoreError> {
        let output = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(self.full(prefix))
            .set_start_after(after.map(|key| self.full(key.as_str())))
            .max_keys(i32::try_from(limit).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(meaning)?;
        let skipped = self.full("").len();
        let objects = output
            .contents()
            .iter()
            .filter_map(|object| {
                Some(Listed {
                    key: Key::new(object.key()?.get(skipped..)?).ok()?,
                    size: object.size().unwrap_or_default().unsigned_abs(),
                    modified: to_second(object.last_modified()),
                })
            })
            .collect();
        Ok(Listing { objects, more: output.is_truncated().unwrap_or(false) })
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let request = self.client.delete_object().bucket(&self.bucket).key(self.full(key.as_str()));
        match request.send().await.map_err(meaning) {
            Ok(_) | Err(StoreError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn presign(&self, key: &Key, how: &Presign) -> Result<SignedUrl, StoreError> {
        self.signer.sign(&self.full(key.as_str()), how).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> S3Settings {
        S3Settings {
            bucket: "pictures".into(),
            prefix: "/team/one/".into(),
            endpoint: Some("http://127.0.0.1:9/".into()),
            credentials: Some(("AKID".into(), Secret::new("hunter2"))),
            ..S3Settings::default()
        }
    }

    #[tokio::test]
    async fn links_name_the_public_endpoint_and_the_prefix() {
        let public_endpoint = Some("https://pics.example.com".into());
        let store = S3Store::connect(S3Settings { public_endpoint, ..settings() }).await.expect("connect");
        let how = Presign { expires_in: std::time::Duration::from_secs(300), content_disposition: None };
        let signed = store.presign(&Key::new("a.png").expect("a key"), &how).await.expect("presign");
        assert!(
            signed.url.starts_with("https://pics.example.com/pictures/team/one/a.png?"),
            "{}",
            signed.url
        );
        assert!(signed.url.contains("X-Amz-Expires=300"), "{}", signed.url);
    }

    #[tokio::test]
    async fn settings_that_make_no_sense() {
        let no_bucket = S3Settings { bucket: String::new(), ..settings() };
        assert!(matches!(S3Store::connect(no_bucket).await, Err(ConnectError::NoBucket)));
        for endpoint in ["127.0.0.1:9000", "ftp://x", "http://", ""] {
            let bad = S3Settings { endpoint: Some(endpoint.into()), ..settings() };
            assert!(matches!(S3Store::connect(bad).await, Err(ConnectError::BadEndpoint(_))), "{endpoint:?}");
        }
    }

    #[tokio::test]
    async fn a_service_that_is_not_there_is_unavailable() {
        let store = S3Store::connect(settings()).await.expect("connect");
        let (key, object) =
            (Key::new("a"), NewObject { bytes: "x".into(), content_type: "text/plain".into() });
        let key = key.expect("a key");
        let answer = store.put_if(&key, object, Condition::Absent);
        assert!(matches!(answer.await, Err(StoreError::Unavailable(_))));
    }

    #[test]
    fn secrets_stay_out_of_debug_output() {
        assert!(!format!("{:?}", settings()).contains("hunter2"));
    }
}
