//! An object store at any S3 service, through AWS's own SDK.

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::put_object::PutObjectError;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use http::{StatusCode, Uri};
use time::OffsetDateTime;
use tintype_core::secret::Secret;
use tintype_core::store::{
    Condition, ETag, Key, ListedObject, Listing, NewObject, Object, ObjectMeta, ObjectStore, PresignOptions,
    SignedUrl, StoreError,
};
use tokio::sync::OnceCell;

use crate::connection::Connection;

/// How often a conditional write is sent again when the service answers 409, "a conflicting operation is under way", which says
/// nothing about who wins.
const CONFLICT_ATTEMPTS: usize = 5;

/// The longest life of a signed link where nothing says when the credentials end, unless set otherwise.
const LINK_CAP: Duration = Duration::from_secs(60 * 60);

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
    /// The longest life of a signed link where the credentials are a session's and nothing says when it ends; an hour if
    /// absent.
    pub link_cap: Option<Duration>,
}

impl S3Settings {
    pub(crate) fn link_cap(&self) -> Duration {
        self.link_cap.unwrap_or(LINK_CAP)
    }
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
    settings: S3Settings,
    /// Made by the first who needs it: a function that starts must not wait for it.
    connection: OnceCell<Connection>,
}

impl S3Store {
    /// Checks the settings. Looks for no credentials and makes no request: whoever first uses the store does.
    ///
    /// # Errors
    /// [`ConnectError`] if the settings make no sense.
    pub fn new(settings: S3Settings) -> Result<Self, ConnectError> {
        if settings.bucket.is_empty() {
            return Err(ConnectError::NoBucket);
        }
        let settings = S3Settings {
            endpoint: settings.endpoint.map(checked_endpoint).transpose()?,
            public_endpoint: settings.public_endpoint.map(checked_endpoint).transpose()?,
            prefix: settings.prefix.trim_matches('/').to_owned(),
            ..settings
        };
        Ok(Self { settings, connection: OnceCell::new() })
    }

    async fn connection(&self) -> &Connection {
        self.connection.get_or_init(|| Connection::new(&self.settings)).await
    }

    async fn client(&self) -> &Client {
        &self.connection().await.client
    }

    /// Asks the service whether the bucket is there and open to us.
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
            .map_err(meaning)
    }

    fn full(&self, key: &str) -> String {
        let prefix = &self.settings.prefix;
        if prefix.is_empty() { key.to_owned() } else { format!("{prefix}/{key}") }
    }

    async fn write(&self, key: &Key, object: NewObject, condition: &Condition) -> Result<ETag, WriteError> {
        let mut request = self
            .client()
            .await
            .put_object()
            .bucket(&self.settings.bucket)
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
            Err(SdkError::DispatchFailure(failure)) if failure.is_io() || failure.is_other() => {
                Err(WriteError::Unheard(meaning(SdkError::<PutObjectError>::DispatchFailure(failure))))
            }
            Err(error) => Err(WriteError::Failed(meaning(error))),
        }
    }

    /// The version of an object that has this content.
    async fn as_written(&self, key: &Key, object: &NewObject) -> Result<ETag, StoreError> {
        match self.get(key, None).await {
            Ok(there) if there.bytes == object.bytes => Ok(there.meta.etag),
            Ok(_) | Err(StoreError::NotFound) => Err(StoreError::ConditionFailed),
            Err(error) => Err(error),
        }
    }
}

/// Why a write did not succeed, or was not heard to.
enum WriteError {
    /// Somebody else is writing; nothing is decided.
    Conflict(StoreError),
    /// The connection broke: it may have been written.
    Unheard(StoreError),
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
            .client()
            .await
            .get_object()
            .bucket(&self.settings.bucket)
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
        let request =
            self.client().await.head_object().bucket(&self.settings.bucket).key(self.full(key.as_str()));
        let output = request.send().await.map_err(meaning)?;
        Ok(ObjectMeta {
            size: output.content_length().unwrap_or_default().unsigned_abs(),
            content_type: output.content_type().unwrap_or_default().to_owned(),
            etag: ETag(output.e_tag().unwrap_or_default().to_owned()),
            modified: to_second(output.last_modified()),
        })
    }

    async fn put_if(&self, key: &Key, object: NewObject, condition: Condition) -> Result<ETag, StoreError> {
        let (mut last, mut unheard) = (None, false);
        for _ in 0..CONFLICT_ATTEMPTS {
            match self.write(key, object.clone(), &condition).await {
                Ok(etag) => return Ok(etag),
                Err(WriteError::Failed(StoreError::ConditionFailed)) if unheard => {
                    // Perhaps by what we wrote ourselves.
                    return self.as_written(key, &object).await;
                }
                Err(WriteError::Failed(error)) => return Err(error),
                Err(WriteError::Conflict(error)) => last = Some(error),
                // As a rule a connection that was kept and died meanwhile: a function is frozen between two requests.
                Err(WriteError::Unheard(error)) if unheard => return Err(error),
                Err(WriteError::Unheard(error)) => (last, unheard) = (Some(error), true),
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
                Some(ListedObject {
                    key: Key::new(object.key()?.get(skipped..)?).ok()?,
                    size: object.size().unwrap_or_default().unsigned_abs(),
                    modified: to_second(object.last_modified()),
                })
            })
            .collect();
        Ok(Listing { objects, has_more: output.is_truncated().unwrap_or(false) })
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let request =
            self.client().await.delete_object().bucket(&self.settings.bucket).key(self.full(key.as_str()));
        match request.send().await.map_err(meaning) {
            Ok(_) | Err(StoreError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn presign(&self, key: &Key, how: &PresignOptions) -> Result<SignedUrl, StoreError> {
        self.connection().await.signer.sign(&self.full(key.as_str()), how).await
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

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
        let store = S3Store::new(S3Settings { public_endpoint, ..settings() }).expect("sense");
        let how =
            PresignOptions { expires_in: std::time::Duration::from_secs(300), content_disposition: None };
        let signed = store.presign(&Key::new("a.png").expect("a key"), &how).await.expect("presign");
        assert!(
            signed.url.starts_with("https://pics.example.com/pictures/team/one/a.png?"),
            "{}",
            signed.url
        );
        assert!(signed.url.contains("X-Amz-Expires=300"), "{}", signed.url);
    }

    #[test]
    fn settings_that_make_no_sense() {
        let no_bucket = S3Settings { bucket: String::new(), ..settings() };
        assert!(matches!(S3Store::new(no_bucket), Err(ConnectError::NoBucket)));
        for endpoint in ["127.0.0.1:9000", "ftp://x", "http://", ""] {
            let bad = S3Settings { endpoint: Some(endpoint.into()), ..settings() };
            assert!(matches!(S3Store::new(bad), Err(ConnectError::BadEndpoint(_))), "{endpoint:?}");
        }
    }

    #[tokio::test]
    async fn a_service_that_is_not_there_is_unavailable() {
        let store = S3Store::new(settings()).expect("sense");
        let (key, object) =
            (Key::new("a"), NewObject { bytes: "x".into(), content_type: "text/plain".into() });
        let key = key.expect("a key");
        let answer = store.put_if(&key, object, Condition::Absent);
        assert!(matches!(answer.await, Err(StoreError::Unavailable(_))));
    }

    /// A service that answers each connection's one request with the next of these; no answer is a connection that breaks.
    fn service(answers: [Option<&'static str>; 3]) -> S3Settings {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            for answer in answers {
                let (mut connection, _) = listener.accept().expect("a connection");
                let mut request = [0; 65_536];
                let mut length = 0;
                while !request[..length].ends_with(b"\r\n\r\n") && !request[..length].ends_with(b"mine") {
                    length += connection.read(&mut request[length..]).expect("a request");
                }
                if let Some(answer) = answer {
                    connection.write_all(answer.as_bytes()).expect("somebody listens");
                }
            }
        });
        S3Settings { endpoint: Some(format!("http://{address}")), ..settings() }
    }

    #[tokio::test]
    async fn a_write_that_was_not_heard_of_is_found_again() {
        let refused = "HTTP/1.1 412 x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let there = "HTTP/1.1 200 x\r\nconnection: close\r\netag: \"1\"\r\ncontent-length: 4\r\n\r\nmine";
        let another = "HTTP/1.1 200 x\r\nconnection: close\r\netag: \"2\"\r\ncontent-length: 6\r\n\r\nothers";
        for (found, ours) in [(there, true), (another, false)] {
            let store = S3Store::new(service([None, Some(refused), Some(found)])).expect("sense");
            let object = NewObject { bytes: "mine".into(), content_type: "text/plain".into() };
            let written = store.put_if(&Key::new("a").expect("a key"), object, Condition::Absent).await;
            match written {
                Ok(etag) => assert_eq!((etag.0.as_str(), ours), ("\"1\"", true)),
                Err(error) => assert!(matches!(error, StoreError::ConditionFailed) && !ours, "{error}"),
            }
        }
    }

    #[test]
    fn secrets_stay_out_of_debug_output() {
        assert!(!format!("{:?}", settings()).contains("hunter2"));
    }
}
