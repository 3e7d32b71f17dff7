use std::fs;
use std::path::Path;

use http::Request;
use s3s::S3ErrorCode;

use super::table::OPERATIONS;
use super::*;
use crate::embedded::s3::METHODS;

/// Checks a request for an object, with headers.
fn check_with(operation: &str, uri: &str, headers: &[(&str, &str)]) -> Result<(), (S3ErrorCode, String)> {
    let method = match operation {
        "GetObject" | "ListObjectsV2" => Method::GET,
        "HeadObject" => Method::HEAD,
        "DeleteObject" => Method::DELETE,
        _ => Method::PUT,
    };
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (parts, ()) = request.body(()).expect("a request").into_parts();
    let request =
        SignedRequest { operation, method: &parts.method, uri: &parts.uri, headers: &parts.headers };
    check(request).map_err(|error| (error.code().clone(), error.message().unwrap_or_default().to_owned()))
}

fn check_header(operation: &str, name: &str, value: &str) -> Result<(), (S3ErrorCode, String)> {
    check_with(operation, "/b/k", &[(name, value)])
}

#[test]
fn every_operation_is_in_the_table() {
    let snake_case = |name: &str| {
        let mut method = String::new();
        for letter in name.chars() {
            if letter.is_ascii_uppercase() && !method.is_empty() {
                method.push('_');
            }
            method.push(letter.to_ascii_lowercase());
        }
        method
    };
    let mut listed: Vec<_> = OPERATIONS.iter().map(|operation| snake_case(operation.name)).collect();
    let mut implemented = METHODS.to_vec();
    listed.sort_unstable();
    implemented.sort_unstable();
    assert_eq!(listed, implemented);
}

#[test]
fn defaults_are_accepted() {
    for (operation, name, value) in [
        ("PutObject", "x-amz-storage-class", "STANDARD"),
        ("PutObject", "x-amz-acl", "private"),
        ("PutObject", "x-amz-acl", "bucket-owner-full-control"),
        ("PutObject", "x-amz-server-side-encryption", "AES256"),
        ("PutObject", "x-amz-object-lock-legal-hold", "OFF"),
        ("PutObject", "x-amz-tagging", ""),
        ("PutObject", "x-amz-meta-anything", "x"),
        ("PutObject", "x-amz-trailer", "x-amz-checksum-crc32"),
        ("PutObject", "x-amz-expected-bucket-owner", OWNER),
        ("PutObject", "if-none-match", "*"),
        ("CopyObject", "x-amz-tagging-directive", "REPLACE"),
        ("CreateMultipartUpload", "x-amz-storage-class", "STANDARD"),
        ("GetObject", "x-amz-request-payer", "requester"),
        ("GetObject", "if-unmodified-since", "Thu, 01 Jan 2026 00:00:00 GMT"),
        ("ListObjectsV2", "x-amz-optional-object-attributes", "RestoreStatus"),
        ("DeleteObject", "x-amz-bypass-governance-retention", "true"),
        ("CreateBucket", "x-amz-object-ownership", "BucketOwnerEnforced"),
        ("CreateBucket", "x-amz-bucket-object-lock-enabled", "False"),
    ] {
        assert_eq!(check_header(operation, name, value), Ok(()), "{operation}: {name}: {value}");
    }
}

#[test]
fn what_would_change_the_meaning_is_refused_by_name() {
    for (operation, name, value) in [
        ("PutObject", "x-amz-server-side-encryption", "aws:kms"),
        ("PutObject", "x-amz-server-side-encryption-aws-kms-key-id", "k"),
        ("PutObject", "x-amz-server-side-encryption-customer-algorithm", "AES256"),
        ("PutObject", "x-amz-object-lock-mode", "COMPLIANCE"),
        ("PutObject", "x-amz-object-lock-legal-hold", "ON"),
        ("PutObject", "x-amz-tagging", "a=b"),
        ("PutObject", "x-amz-acl", "public-read"),
        ("PutObject", "x-amz-grant-read", "uri=x"),
        ("PutObject", "x-amz-storage-class", "GLACIER"),
        ("PutObject", "x-amz-write-offset-bytes", "5"),
        ("PutObject", "x-amz-website-redirect-location", "/x"),
        ("PutObject", "x-amz-checksum-xxhash64", "x"),
        ("PutObject", "x-amz-trailer", "x-amz-checksum-xxhash64"),
        ("PutObject", "x-amz-of-the-future", "x"),
        ("PutObject", "content-range", "bytes 0-1/2"),
        ("PutObject", "if-unmodified-since", "Thu, 01 Jan 2026 00:00:00 GMT"),
        ("CopyObject", "x-amz-copy-source-range", "bytes=0-1"),
        ("CopyObject", "x-amz-copy-source-server-side-encryption-customer-key", "x"),
        ("CreateMultipartUpload", "x-amz-server-side-encryption", "aws:kms"),
        ("UploadPart", "x-amz-server-side-encryption-customer-key", "x"),
        ("GetObject", "x-amz-server-side-encryption-customer-key", "x"),
        ("HeadObject", "x-amz-te", "append-md5"),
        ("DeleteObject", "x-amz-mfa", "1 2"),
        ("DeleteObject", "x-amz-if-match-size", "1"),
        ("DeleteObject", "if-none-match", "*"),
        ("CreateBucket", "x-amz-acl", "public-read"),
        ("CreateBucket", "x-amz-bucket-object-lock-enabled", "true"),
    ] {
        let (code, message) = check_header(operation, name, value).expect_err(name);
        assert_eq!(code, S3ErrorCode::NotImplemented, "{operation}: {name}");
        assert!(message.contains(name), "{message}");
    }
    let other_owner = check_header("GetObject", "x-amz-expected-bucket-owner", "111122223333");
    assert_eq!(other_owner.expect_err("another owner").0, S3ErrorCode::AccessDenied);
    let (code, message) = check_header("PutBucketPolicy", "host", "x").expect_err("not implemented");
    assert_eq!(code, S3ErrorCode::NotImplemented);
    assert!(message.contains("PutBucketPolicy"), "{message}");
}

#[test]
fn unknown_query_parameters_of_writes_are_refused() {
    for (operation, query) in [
        ("PutObject", "renameObject"),
        ("PutObject", "append&position=5"),
        ("DeleteObject", "retention"),
        ("CreateBucket", "metadataConfiguration"),
        ("PutObject", "x-amz-acl=public-read"),
        ("PutObject", "X-Amz-Storage-Class=GLACIER"),
        ("PutObject", "x-amz-meta-a=b"),
        ("PutObject", "x-amz-copy-source=%2Fb%2Fother"),
    ] {
        let (code, message) =
            check_with(operation, &format!("/b/k?{query}"), &[]).expect_err("not implemented");
        assert_eq!(code, S3ErrorCode::NotImplemented, "{query}");
        let name = query.split(['=', '&']).next().expect("a name");
        assert!(message.to_ascii_lowercase().contains(&name.to_ascii_lowercase()), "{message}");
    }
    for (operation, query) in [
        ("PutObject", "x-id=PutObject"),
        ("PutObject", "X-Amz-Algorithm=a&X-Amz-Signature=b&X-Amz-Expires=1"),
        ("PutObject", "AWSAccessKeyId=a&Signature=b&Expires=1&content-type=text%2Fplain"),
        ("PutObject", "x-amz-checksum-crc32=AAAAAA%3D%3D&x-amz-sdk-checksum-algorithm=CRC32"),
        ("PutObject", "x-amz-acl=private"),
        ("PutObject", "x-our-own=1"),
        ("GetObject", "anything=1"),
        ("DeleteObject", "versionId=null"),
    ] {
        assert_eq!(check_with(operation, &format!("/b/k?{query}"), &[]), Ok(()), "{query}");
    }
    // boto3's presigned URLs of version 2 repeat headers as parameters.
    assert_eq!(check_with("PutObject", "/b/k?x-amz-meta-a=b", &[("x-amz-meta-a", "b")]), Ok(()));
}

/// The tables of `docs/s3.md`.
fn documented() -> String {
    let mut text = String::from(
        "| operation | applied headers | applied parameters | accepted as the default, or without effect |\n\
         | --- | --- | --- | --- |\n",
    );
    let any = [("(every operation)", &[ANY_OPERATION][..], &[][..])];
    let each = OPERATIONS.iter().map(|operation| (operation.name, operation.headers, operation.query));
    for (name, headers, query) in any.into_iter().chain(each) {
        let (mut applied, mut accepted) = (Vec::new(), Vec::new());
        for field in headers.iter().copied().flatten() {
            let name = field.name;
            match field.handling {
                Handling::Applied => applied.push(format!("`{name}`")),
                Handling::AppliedOneOf(values) => applied.push(format!("`{name}`: {}", values.join(", "))),
                Handling::Default(values) => accepted.push(format!("`{name}`: {}", values.join(", "))),
                Handling::Owner => accepted.push(format!("`{name}`: {OWNER}")),
                Handling::NoEffect => accepted.push(format!("`{name}`")),
            }
        }
        let query: Vec<_> = query.iter().map(|field| format!("`{}`", field.name)).collect();
        let cells = [applied.join("; "), query.join("; "), accepted.join("; ")];
        text += &format!("| {name} | {} |\n", cells.join(" | "));
    }
    text
}

#[test]
#[expect(clippy::disallowed_methods, reason = "an option of the tests, not a setting")]
fn the_documentation_has_the_table() {
    let (begin, end) = ("<!-- begin: generated -->\n", "<!-- end: generated -->\n");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/s3.md");
    let text = fs::read_to_string(&path).expect("docs/s3.md");
    let (before, rest) = text.split_once(begin).expect("the begin of the table");
    let (_, after) = rest.split_once(end).expect("the end of the table");
    let expected = format!("{before}{begin}{}{end}{after}", documented());
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, expected).expect("docs/s3.md");
    } else {
        assert_eq!(text, expected, "run: BLESS=1 cargo test -p tintype-storage the_documentation");
    }
}
