//! Buckets as wholes: making, filling, emptying and removing them. What is in ours is the store's business.

use aws_sdk_s3::Client;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    BucketLocationConstraint, CreateBucketConfiguration, Delete, ObjectIdentifier,
    PublicAccessBlockConfiguration, Tag, Tagging,
};

use crate::error::AwsError;

/// A bucket of this account's.
#[derive(Clone, Debug)]
pub(crate) struct Bucket<'a> {
    pub(crate) client: &'a Client,
    pub(crate) name: String,
    /// The account that it must belong to: a name can be guessed, and somebody else could have taken it.
    pub(crate) owner: String,
}

impl Bucket<'_> {
    /// Whether it is there.
    ///
    /// # Errors
    /// [`AwsError::Denied`] if it is somebody else's.
    pub(crate) async fn exists(&self) -> Result<bool, AwsError> {
        let asked =
            self.client.head_bucket().bucket(&self.name).expected_bucket_owner(&self.owner).send().await;
        match asked {
            Ok(_) => Ok(true),
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) => Err(AwsError::of("look at the bucket")(error)),
        }
    }

    /// Makes it, closed to the public and tagged with the stack that it is for. One that is there is taken as it is.
    pub(crate) async fn create(&self, region: &str, stack: &str) -> Result<(), AwsError> {
        if self.exists().await? {
            return Ok(());
        }
        let mut request = self.client.create_bucket().bucket(&self.name);
        // S3's first region has no name there.
        if region != "us-east-1" {
            let place = BucketLocationConstraint::from(region);
            let place = CreateBucketConfiguration::builder().location_constraint(place).build();
            request = request.create_bucket_configuration(place);
        }
        match request.send().await.map_err(AwsError::of("create the bucket for the function's code")) {
            Ok(_) => {}
            // Somebody deploys at the same time.
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
        closing.map_err(AwsError::of("close the bucket to the public"))?;
        let broken = |error: aws_sdk_s3::error::BuildError| AwsError::Failed {
            what: "tag the bucket",
            code: None,
            said: error.to_string(),
        };
        let tag = Tag::builder().key("tintype").value(stack).build().map_err(broken)?;
        let tags = Tagging::builder().tag_set(tag).build().map_err(broken)?;
        let tagged = self.client.put_bucket_tagging().bucket(&self.name).tagging(tags).send().await;
        tagged.map(|_| ()).map_err(AwsError::of("tag the bucket"))
    }

    /// Puts an object into it.
    pub(crate) async fn upload(&self, key: &str, bytes: Vec<u8>) -> Result<(), AwsError> {
        let request = self.client.put_object().bucket(&self.name).key(key).expected_bucket_owner(&self.owner);
        let sent = request.content_type("application/zip").body(ByteStream::from(bytes)).send().await;
        sent.map(|_| ()).map_err(AwsError::of("upload the function's code"))
    }

    /// Removes every object but one, every version of them.
    pub(crate) async fn clear(&self, but: Option<&str>) -> Result<(), AwsError> {
        loop {
            let request = self.client.list_object_versions().bucket(&self.name);
            let page = request.send().await.map_err(AwsError::of("list what is in the bucket"))?;
            let versions = page.versions().iter().map(|version| (version.key(), version.version_id()));
            let marks = page.delete_markers().iter().map(|mark| (mark.key(), mark.version_id()));
            let doomed: Vec<_> = versions
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
                    said: error.to_string(),
                })?;
            if doomed.is_empty() {
                return Ok(());
            }
            self.delete(doomed).await?;
        }
    }

    async fn delete(&self, objects: Vec<ObjectIdentifier>) -> Result<(), AwsError> {
        let what = "empty the bucket";
        let doomed = Delete::builder().set_objects(Some(objects)).quiet(true).build();
        let doomed =
            doomed.map_err(|error| AwsError::Failed { what, code: None, said: error.to_string() })?;
        let request = self.client.delete_objects().bucket(&self.name).expected_bucket_owner(&self.owner);
        let done = request.delete(doomed).send().await.map_err(AwsError::of(what))?;
        match done.errors().first() {
            None => Ok(()),
            Some(error) => {
                let said =
                    format!("{}: {}", error.key().unwrap_or_default(), error.message().unwrap_or_default());
                Err(AwsError::said(what, error.code(), said))
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

/// Whether S3 says that there is no such bucket.
pub(crate) fn is_missing<E>(error: &SdkError<E>) -> bool {
    error.raw_response().is_some_and(|response| response.status().as_u16() == 404)
}
