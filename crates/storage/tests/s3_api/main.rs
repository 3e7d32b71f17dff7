//! The S3 API of the embedded service, over HTTP with AWS's SDK.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "the tests of the store use the rest")]
mod common;
mod multipart;

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    CompletedMultipartUpload, CompletedPart, Delete, EncodingType, ObjectAttributes, ObjectCannedAcl,
    ObjectIdentifier, ServerSideEncryption, StorageClass,
};
use common::{Addressing, TestServer, get, sdk, send};
use http::{Method, StatusCode};
use tintype_core::store::{Key, StoreError};

const MIB: usize = 1 << 20;

fn code<T, E: ProvideErrorMetadata, R>(result: Result<T, SdkError<E, R>>) -> String {
    let error = result.err().expect("an error");
    error.code().unwrap_or_default().to_owned()
}

async fn put(sdk: &Client, key: &str, content: impl Into<Vec<u8>>) -> String {
    let body = ByteStream::from(content.into());
    let put = sdk.put_object().bucket("tintype").key(key).body(body).send().await.expect("put");
    put.e_tag.expect("an ETag")
}

async fn read(sdk: &Client, key: &str) -> Vec<u8> {
    let object = sdk.get_object().bucket("tintype").key(key).send().await.expect("get");
    object.body.collect().await.expect("a body").to_vec()
}

async fn link(sdk: &Client, key: &str) -> String {
    let minute = PresigningConfig::expires_in(Duration::from_secs(60)).expect("a minute");
    sdk.get_object().bucket("tintype").key(key).presigned(minute).await.expect("presign").uri().to_owned()
}

#[tokio::test]
async fn headers_that_would_change_the_meaning_are_refused() {
    let server = TestServer::start().await;
    let sdk = server.sdk(&server.url, Addressing::Path);
    let put = || sdk.put_object().bucket("tintype").key("a").body(ByteStream::from_static(b"x"));
    for request in [
        put().sse_customer_algorithm("AES256").sse_customer_key("a2V5").sse_customer_key_md5("bWQ1"),
        put().server_side_encryption(ServerSideEncryption::AwsKms),
        put().tagging("a=b"),
        put().acl(ObjectCannedAcl::PublicRead),
        put().storage_class(StorageClass::Glacier),
        put().object_lock_legal_hold_status("ON".into()),
        put().write_offset_bytes(5),
    ] {
        let error = request.send().await.expect_err("refused");
        assert_eq!(error.code(), Some("NotImplemented"));
        assert!(error.message().expect("a message").contains("x-amz-"), "{error:?}");
        assert_eq!(error.raw_response().expect("a response").status().as_u16(), 501);
    }
    assert_eq!(code(sdk.get_object().bucket("tintype").key("a").send().await), "NoSuchKey");
    put()
        .storage_class(StorageClass::Standard)
        .acl(ObjectCannedAcl::Private)
        .server_side_encryption(ServerSideEncryption::Aes256)
        .send()
        .await
        .expect("S3's defaults");
    let with_key = sdk.get_object().bucket("tintype").key("a").sse_customer_key("a2V5");
    assert_eq!(code(with_key.send().await), "NotImplemented");
    let of_other = sdk.get_object().bucket("tintype").key("a").expected_bucket_owner("111122223333");
    assert_eq!(code(of_other.send().await), "AccessDenied");
    let policy = sdk.put_bucket_policy().bucket("tintype").policy("{}");
    assert_eq!(code(policy.send().await), "NotImplemented");
    let copy = sdk.copy_object().bucket("tintype").key("a").copy_source("tintype/a").if_none_match("*");
    assert_eq!(code(copy.metadata_directive("REPLACE".into()).send().await), "PreconditionFailed");
}

#[tokio::test]
async fn only_the_version_null_can_be_read_and_deleted() {
    let server = TestServer::start().await;
    let sdk = server.sdk(&server.url, Addressing::Path);
    put(&sdk, "a", "x").await;
    let delete = || sdk.delete_object().bucket("tintype").key("a");
    assert_eq!(code(delete().version_id("v1").send().await), "NoSuchVersion");
    let version = |id: &str| ObjectIdentifier::builder().key("a").version_id(id).build().expect("a key");
    let delete_many = async |id: &str| {
        let listed = Delete::builder().objects(version(id)).build().expect("a list");
        sdk.delete_objects().bucket("tintype").delete(listed).send().await.expect("delete")
    };
    let refused = delete_many("v1").await;
    assert!(refused.deleted().is_empty());
    assert_eq!(refused.errors()[0].code(), Some("NoSuchVersion"));
    let get = || sdk.get_object().bucket("tintype").key("a");
    assert_eq!(code(get().version_id("v1").send().await), "NoSuchVersion");
    let copy = sdk.copy_object().bucket("tintype").key("b").copy_source("tintype/a?versionId=v1");
    assert_eq!(code(copy.send().await), "NoSuchVersion");
    assert_eq!(read(&sdk, "a").await, b"x");
    get().version_id("null").send().await.expect("the only version");
    assert_eq!(delete_many("null").await.deleted().len(), 1);
    assert_eq!(code(get().send().await), "NoSuchKey");
    delete().version_id("null").send().await.expect("deleted already");
}

/// A multipart upload.
struct Upload {
    sdk: Client,
    key: &'static str,
    id: String,
    parts: Vec<CompletedPart>,
}

impl Upload {
    async fn start(sdk: &Client, key: &'static str) -> Self {
        let started = sdk.create_multipart_upload().bucket("tintype").key(key).send().await.expect("start");
        Self { sdk: sdk.clone(), key, id: started.upload_id.expect("an id"), parts: Vec::new() }
    }

    async fn put_part(&self, number: i32, content: Vec<u8>) -> Result<CompletedPart, String> {
        let part = self.sdk.upload_part().bucket("tintype").key(self.key).upload_id(&self.id);
        let part = part.part_number(number).body(ByteStream::from(content)).send().await;
        let part = part.map_err(|error| error.code().unwrap_or_default().to_owned())?;
        Ok(CompletedPart::builder().part_number(number).set_e_tag(part.e_tag).build())
    }

    async fn add(&mut self, content: Vec<u8>) {
        let number = i32::try_from(self.parts.len()).expect("few parts") + 1;
        let part = self.put_part(number, content).await.expect("a part");
        self.parts.push(part);
    }

    /// Completes the upload, and returns the ETag or the error's code.
    async fn complete(&self) -> Result<String, String> {
        let listed = CompletedMultipartUpload::builder().set_parts(Some(self.parts.clone())).build();
        let request = self.sdk.complete_multipart_upload().bucket("tintype").key(self.key);
        let done = request.upload_id(&self.id).multipart_upload(listed).send().await;
        Ok(done.map_err(|error| error.code().unwrap_or_default().to_owned())?.e_tag.expect("an ETag"))
    }
}

#[tokio::test]
async fn reads_follow_rfc_9110() {
    let server = TestServer::start().await;
    let sdk = server.sdk(&server.url, Addressing::Path);
    let etag = put(&sdk, "digits", "0123456789").await;
    let url = link(&sdk, "digits").await;
    let modified = get(&url).await.header("last-modified").to_owned();
    let list = format!("\"other\", W/{etag}");
    let bytes = ("range", "bytes=2-4");
    let old = "Thu, 01 Jan 1998 00:00:00 GMT";
    let (ok, partial, known) = (StatusCode::OK, StatusCode::PARTIAL_CONTENT, StatusCode::NOT_MODIFIED);
    let cases: [(&[(&str, &str)], StatusCode); 16] = [
        (&[bytes], partial),
        (&[("range", "items=0-1")], ok),
        (&[("range", "bytes=0-1,3-4")], ok),
        (&[("range", "Bytes=0-5")], ok),
        (&[("range", "bytes=5-2")], ok),
        (&[("range", "nonsense")], ok),
        (&[("range", "bytes=10-")], StatusCode::RANGE_NOT_SATISFIABLE),
        (&[bytes, ("if-range", "\"other\"")], ok),
        (&[bytes, ("if-range", old)], ok),
        (&[bytes, ("if-range", &etag)], partial),
        (&[bytes, ("if-range", &modified)], partial),
        (&[("if-modified-since", "yesterday")], ok),
        (&[("if-none-match", &list)], known),
        (&[("if-none-match", "\"a\""), ("if-none-match", &etag)], known),
        (&[("if-match", "\"a\", \"b\"")], StatusCode::PRECONDITION_FAILED),
        (&[("if-modified-since", &modified), ("if-none-match", "\"a\"")], ok),
    ];
    for (headers, status) in cases {
        let response = send(Method::GET, &url, headers).await;
        assert_eq!(response.status, status, "{headers:?}");
        match status {
            StatusCode::OK => assert_eq!(&response.body[..], b"0123456789", "{headers:?}"),
            StatusCode::PARTIAL_CONTENT => assert_eq!(&response.body[..], b"234", "{headers:?}"),
            _ => {}
        }
    }
    // The same with the headers in the signature.
    let get = || sdk.get_object().bucket("tintype").key("digits");
    assert_eq!(get().range("items=0-1").send().await.expect("ignored").content_length, Some(10));
    assert_eq!(get().range("bytes=2-4").send().await.expect("a part").content_length, Some(3));
    assert_eq!(code(get().if_match("\"other\"").send().await), "PreconditionFailed");
    // A condition does not replace a signature.
    let unsigned = format!("{}/tintype/digits", server.url);
    assert_eq!(send(Method::GET, &unsigned, &[bytes]).await.status, StatusCode::FORBIDDEN);
    let forged = url.replace("X-Amz-Signature=", "X-Amz-Signature=0000");
    assert_eq!(send(Method::GET, &forged, &[bytes]).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn features_that_are_not_configured_have_default_answers() {
    let server = TestServer::start().await;
    let sdk = server.sdk(&server.url, Addressing::Path);
    for key in ["a", "b/1", "b/2"] {
        put(&sdk, key, "x").await;
    }
    assert_eq!(sdk.get_bucket_versioning().bucket("tintype").send().await.expect("versioning").status, None);
    let acl = sdk.get_bucket_acl().bucket("tintype").send().await.expect("an ACL");
    assert_eq!(acl.grants().len(), 1);
    let acl = sdk.get_object_acl().bucket("tintype").key("a").send().await.expect("an ACL");
    assert_eq!(acl.grants()[0].permission().map(|permission| permission.as_str()), Some("FULL_CONTROL"));
    assert_eq!(code(sdk.get_object_acl().bucket("tintype").key("no").send().await), "NoSuchKey");
    let tags = sdk.get_object_tagging().bucket("tintype").key("a").send().await.expect("tags");
    assert!(tags.tag_set().is_empty());
    assert_eq!(code(sdk.get_bucket_tagging().bucket("tintype").send().await), "NoSuchTagSet");
    assert_eq!(code(sdk.get_bucket_cors().bucket("tintype").send().await), "NoSuchCORSConfiguration");
    assert_eq!(code(sdk.get_bucket_policy().bucket("tintype").send().await), "NoSuchBucketPolicy");
    sdk.delete_bucket_cors().bucket("tintype").send().await.expect("nothing to delete");
    let attributes = sdk.get_object_attributes().bucket("tintype").key("a");
    let attributes = attributes.object_attributes(ObjectAttributes::Etag).send().await.expect("attributes");
    assert_eq!((attributes.e_tag.is_some(), attributes.object_size), (true, None));

    let versions = || sdk.list_object_versions().bucket("tintype");
    let all = versions().send().await.expect("versions");
    let listed: Vec<_> = all.versions().iter().map(|version| (version.key(), version.version_id())).collect();
    assert_eq!(listed, [(Some("a"), Some("null")), (Some("b/1"), Some("null")), (Some("b/2"), Some("null"))]);
    let page = versions().delimiter("/").max_keys(1).send().await.expect("a page");
    assert_eq!((page.is_truncated, page.next_key_marker()), (Some(true), Some("a")));
    let rest =
        versions().delimiter("/").key_marker("a").version_id_marker("null").send().await.expect("a page");
    assert_eq!((rest.versions().len(), rest.common_prefixes()[0].prefix()), (0, Some("b/")));
}

#[tokio::test]
async fn listings() {
    let server = TestServer::start().await;
    let client = server.sdk(&server.url, Addressing::Path);
    for name in ["one", "two"] {
        client.create_bucket().bucket(format!("bucket-{name}")).send().await.expect("create");
    }
    let list = || client.list_buckets();
    let first = list().max_buckets(2).send().await.expect("a page");
    let names: Vec<_> = first.buckets().iter().filter_map(|bucket| bucket.name()).collect();
    assert_eq!(names, ["bucket-one", "bucket-two"]);
    let token = first.continuation_token().expect("more");
    let rest = list().continuation_token(token).send().await.expect("a page");
    assert_eq!((rest.buckets().len(), rest.continuation_token()), (1, None));
    assert_eq!(list().prefix("bucket-t").send().await.expect("a page").buckets().len(), 1);
    assert_eq!(code(list().max_buckets(0).send().await), "InvalidArgument");
    assert_eq!(code(list().continuation_token("x").send().await), "InvalidArgument");

    put(&client, "control\u{1}\r", "x").await;
    let listed = client.list_objects_v2().bucket("tintype").fetch_owner(true).send().await.expect("a page");
    assert_eq!(listed.encoding_type(), Some(&EncodingType::Url));
    assert_eq!(listed.contents()[0].key(), Some("control%01%0D"));
    assert!(listed.contents()[0].owner().is_some());
    let upload = client.create_multipart_upload().bucket("tintype").key("control\u{1}").send().await;
    upload.expect("the response is XML");
}

#[tokio::test]
async fn errors_have_codes_messages_and_ids() {
    let server = TestServer::start().await;
    let id = server.embedded.access_key_id().to_owned();
    for (id, secret, expected) in
        [(id.as_str(), "wrong", "SignatureDoesNotMatch"), ("UNKNOWN", "wrong", "InvalidAccessKeyId")]
    {
        let error = sdk(&server.url, id, secret, Addressing::Path).list_buckets().send().await;
        let error = error.expect_err("refused");
        assert_eq!(error.code(), Some(expected));
        assert!(error.message().is_some_and(|message| message.len() > 20), "{error:?}");
        let response = error.raw_response().expect("a response");
        let request_id = response.headers().get("x-amz-request-id").expect("an id");
        let body = std::str::from_utf8(response.body().bytes().expect("a body")).expect("UTF-8");
        assert!(body.contains(&format!("<RequestId>{request_id}</RequestId>")), "{body}");
    }
    let unsigned = get(&format!("{}/tintype/a", server.url)).await;
    assert_eq!(unsigned.status, StatusCode::FORBIDDEN);
    assert_eq!(unsigned.header("x-amz-request-id").len(), 16);
}

#[tokio::test]
async fn headers_of_objects() {
    let server = TestServer::start().await;
    let sdk = server.sdk(&server.url, Addressing::Path);
    for (key, encoding, stored) in [("a", "aws-chunked", None), ("b", "gzip,Aws-Chunked", Some("gzip"))] {
        let put = sdk.put_object().bucket("tintype").key(key).content_encoding(encoding);
        put.body(ByteStream::from_static(b"x")).send().await.expect("put");
        let copied = sdk.copy_object().bucket("tintype").key("copy").copy_source(format!("tintype/{key}"));
        copied.send().await.expect("copy");
        for key in [key, "copy"] {
            let head = sdk.head_object().bucket("tintype").key(key).send().await.expect("head");
            assert_eq!(head.content_encoding(), stored, "{key}");
        }
    }
    let minute = PresigningConfig::expires_in(Duration::from_secs(60)).expect("a minute");
    let named = sdk.get_object().bucket("tintype").key("a");
    let named = named.response_content_disposition("attachment; filename=\"虎.txt\"").presigned(minute);
    let named = get(named.await.expect("presign").uri()).await;
    assert_eq!(
        named.header("content-disposition"),
        "attachment; filename=\"_.txt\"; filename*=UTF-8''%E8%99%8E.txt"
    );
}

#[tokio::test]
async fn a_damaged_object_is_missing() {
    let server = TestServer::start().await;
    let sdk = server.sdk(&server.url, Addressing::Path);
    put(&sdk, "images/a.png", "0123456789").await;
    let url = link(&sdk, "images/a.png").await;
    let bucket = server.folder.path().join("store/buckets/tintype");
    let shard = std::fs::read_dir(bucket).expect("list").next().expect("a folder").expect("an entry");
    let file = std::fs::read_dir(shard.path()).expect("list").next().expect("a file").expect("an entry");
    std::fs::File::options().write(true).open(file.path()).expect("open").set_len(7).expect("cut");
    assert_eq!(get(&url).await.status, StatusCode::NOT_FOUND);
    let store = server.embedded.store();
    let key = Key::new("images/a.png").expect("a key");
    assert!(matches!(store.head(&key).await, Err(StoreError::NotFound)));
    put(&sdk, "images/a.png", "again").await;
    assert_eq!(&get(&url).await.body[..], b"again");
}
