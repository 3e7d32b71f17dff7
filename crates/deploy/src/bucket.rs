//! Creates, fills, empties and deletes buckets.

use aws_sdk_s3::Client;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    BucketLocationConstraint, CreateBucketConfiguration, Delete, ObjectIdentifier,
    PublicAccessBlockConfiguration, Tag, Tagging,
};

use crate::error::AwsError;

/// A bucket of the account.
#[derive(Clone, Debug)]
pub(crate) struct Bucket<'a> {
    pub(crate) client: &'a Client,
    pub(crate) name: String,
    /// The account that must own the bucket. Another account may have taken a guessable name.
    pub(crate) owner: String,
}

impl Bucket<'_> {
    /// Whether the bucket exists.
    ///
    /// # Errors
    /// [`AwsError::Denied`] if another account owns the bucket.
    pub(crate) async fn exists(&self) -> Result<bool, AwsError> {
        let asked =
            self.client.head_bucket().bucket(&self.name).expected_bucket_owner(&self.owner).send().await;
        match asked {
            Ok(_) => Ok(true),
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) => Err(AwsError::of("read the bucket")(error)),
        }
    }

    /// Creates the bucket, blocks public access, and tags it with its stack. An existing bucket is left
    /// unchanged.
    pub(crate) async fn create(&self, region: &str, stack: &str) -> Result<(), AwsError> {
        if self.exists().await? {
            return Ok(());
        }
        let mut request = self.client.create_bucket().bucket(&self.name);
        // S3 rejects a location constraint for us-east-1.
        if region != "us-east-1" {
            let place = BucketLocationConstraint::from(region);
            let place = CreateBucketConfiguration::builder().location_constraint(place).build();
            request = request.create_bucket_configuration(place);
        }
        match request.send().await.map_err(AwsError::of("create the bucket for the function's code")) {
            Ok(_) => {}
            // Another deployment has just created it.
            Err(error) if error.code() == Some("BucketAlreadyOwnedByYou") => {}
            Err(error) => return Err(error),
        }
        let closed = PublicAccessBlockConfiguration::builder()
            .block_public_acls(true)
            .block_public_policy(true)
            .ignore_public_acls(true)
            .restrict_public_buckets(true)
            .build();
        let request = self.client.put_public_access_block().bucket(&self.name);
        let closing = request.public_access_block_configuration(closed).send().await;
        closing.map_err(AwsError::of("block public access to the bucket"))?;
        let broken = |error: aws_sdk_s3::error::BuildError| AwsError::Failed {
            what: "tag the bucket",
            code: None,
            message: error.to_string(),
        };
        let tag = Tag::builder().key("tintype").value(stack).build().map_err(broken)?;
        let tags = Tagging::builder().tag_set(tag).build().map_err(broken)?;
        let tagged = self.client.put_bucket_tagging().bucket(&self.name).tagging(tags).send().await;
        tagged.map(|_| ()).map_err(AwsError::of("tag the bucket"))
    }

    /// Uploads an object.
    pub(crate) async fn upload(&self, key: &str, bytes: Vec<u8>) -> Result<(), AwsError> {
        let request = self.client.put_object().bucket(&self.name).key(key).expected_bucket_owner(&self.owner);
        let sent = request.content_type("application/zip").body(ByteStream::from(bytes)).send().await;
        sent.map(|_| ()).map_err(AwsError::of("upload the function's code"))
    }

    /// Deletes all versions of all objects, except those of the key `but`.
    pub(crate) async fn clear(&self, but: Option<&str>) -> Result<(), AwsError> {
        loop {
            let request = self.client.list_object_versions().bucket(&self.name);
            let page = request.send().await.map_err(AwsError::of("list the bucket"))?;
            let versions = page.versions().iter().map(|version| (version.key(), version.version_id()));
            let marks = page.delete_markers().iter().map(|mark| (mark.key(), mark.version_id()));
            let objects: Vec<_> = versions
                .chain(marks)
                .filter_map(|(key, version)| Some((key?, version)))
                .filter(|(key, _)| Some(*key) != but)
                .map(|(key, version)| {
                    ObjectIdentifier::builder().key(key).set_version_id(version.map(str::to_owned)).build()
                })
                .collect::<Result<_, _>>()
                .map_err(|error| AwsError::Failed {
                    what: "empty the bucket",
                    code: None,
                    message: error.to_string(),
                })?;
            if objects.is_empty() {
                return Ok(());
            }
            self.delete(objects).await?;
        }
    }

    async fn delete(&self, objects: Vec<ObjectIdentifier>) -> Result<(), AwsError> {
        let what = "empty the bucket";
        let objects = Delete::builder().set_objects(Some(objects)).quiet(true).build();
        let objects =
            objects.map_err(|error| AwsError::Failed { what, code: None, message: error.to_string() })?;
        let request = self.client.delete_objects().bucket(&self.name).expected_bucket_owner(&self.owner);
        let done = request.delete(objects).send().await.map_err(AwsError::of(what))?;
        match done.errors().first() {
            None => Ok(()),
            Some(error) => {
                let message =
                    format!("{}: {}", error.key().unwrap_or_default(), error.message().unwrap_or_default());
                Err(AwsError::from_code(what, error.code(), message))
            }
        }
    }

    /// Removes it with all that is in it. One that is not there is no error.
    pub(crate) async fn destroy(&self) -> Result<(), AwsError> {
        if !self.exists().await? {
            return Ok(());
        }
        self.clear(None).await?;
        let request = self.client.delete_bucket().bucket(&self.name).expected_bucket_owner(&self.owner);
        request.send().await.map(|_| ()).map_err(AwsError::of("delete the bucket"))
    }
}

/// Whether S3 reports that the bucket does not exist.
pub(crate) fn is_missing<E>(error: &SdkError<E>) -> bool {
    error.raw_response().is_some_and(|response| response.status().as_u16() == 404)
}
