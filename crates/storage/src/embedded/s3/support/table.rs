//! The table. Its order is the order in `docs/s3.md`.

use super::{Field, Handling, Operation};

const fn applied(name: &'static str) -> Field {
    Field { name, handling: Handling::Applied }
}

const fn one_of(name: &'static str, values: &'static [&'static str]) -> Field {
    Field { name, handling: Handling::AppliedOneOf(values) }
}

const fn default(name: &'static str, values: &'static [&'static str]) -> Field {
    Field { name, handling: Handling::Default(values) }
}

const fn no_effect(name: &'static str) -> Field {
    Field { name, handling: Handling::NoEffect }
}

const fn owner(name: &'static str) -> Field {
    Field { name, handling: Handling::Owner }
}

const fn operation(
    name: &'static str,
    headers: &'static [&'static [Field]],
    query: &'static [Field],
) -> Operation {
    Operation { name, headers, query }
}

/// Parameters of signatures, of both versions, and `x-id`, in which SDKs repeat the operation's name.
pub(super) const SIGNATURE_PARAMETERS: [&str; 12] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
    "X-Amz-Security-Token",
    "X-Amz-Content-Sha256",
    "AWSAccessKeyId",
    "Signature",
    "Expires",
    "x-id",
];

/// Headers that a presigned URL of Signature Version 2 repeats as parameters.
pub(super) const WRITE_PARAMETERS_WITHOUT_EFFECT: [&str; 2] = ["content-md5", "content-type"];

const CHECKSUMS: &[&str] = &[
    "x-amz-checksum-crc32",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-crc64nvme",
    "x-amz-checksum-sha1",
    "x-amz-checksum-sha256",
];

/// Headers of every operation.
pub(super) const ANY_OPERATION: &[Field] = &[
    applied("x-amz-content-sha256"),
    applied("x-amz-date"),
    applied("x-amz-decoded-content-length"),
    one_of("x-amz-trailer", CHECKSUMS),
    owner("x-amz-expected-bucket-owner"),
    // The signature covers the body of a request without an object.
    no_effect("x-amz-checksum-crc32"),
    no_effect("x-amz-checksum-crc32c"),
    no_effect("x-amz-checksum-crc64nvme"),
    no_effect("x-amz-checksum-sha1"),
    no_effect("x-amz-checksum-sha256"),
    no_effect("x-amz-checksum-algorithm"),
    no_effect("x-amz-checksum-type"),
    no_effect("x-amz-sdk-checksum-algorithm"),
    no_effect("x-amz-meta-*"),
    // No bucket charges its readers.
    no_effect("x-amz-request-payer"),
    // The access key has no session.
    no_effect("x-amz-security-token"),
    no_effect("x-amz-user-agent"),
    no_effect("x-amz-cf-id"),
];

/// Headers of an object with content.
const CONTENT: &[Field] = &[
    applied("x-amz-checksum-crc32"),
    applied("x-amz-checksum-crc32c"),
    applied("x-amz-checksum-crc64nvme"),
    applied("x-amz-checksum-sha1"),
    applied("x-amz-checksum-sha256"),
];

/// Headers of a new object.
const NEW_OBJECT: &[Field] = &[
    applied("x-amz-meta-*"),
    // One account owns all buckets and objects, so both lists grant the same.
    default("x-amz-acl", &["private", "bucket-owner-full-control"]),
    default("x-amz-object-lock-legal-hold", &["OFF"]),
    default("x-amz-server-side-encryption", &["AES256"]),
    default("x-amz-server-side-encryption-bucket-key-enabled", &["false"]),
    default("x-amz-storage-class", &["STANDARD"]),
];

const CHECKSUM_ALGORITHMS: &[&str] = &["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"];

/// S3, too, does not compare the ETag of `If-None-Match` in a write.
const WRITE_CONDITIONS: &[Field] = &[applied("if-match"), one_of("if-none-match", &["*"])];

const COPY_SOURCE: &[Field] = &[
    applied("x-amz-copy-source"),
    applied("x-amz-copy-source-if-match"),
    applied("x-amz-copy-source-if-modified-since"),
    applied("x-amz-copy-source-if-none-match"),
    applied("x-amz-copy-source-if-unmodified-since"),
    owner("x-amz-source-expected-bucket-owner"),
];

const READ: &[Field] = &[one_of("x-amz-checksum-mode", &["ENABLED"])];

const READ_QUERY: &[Field] = &[applied("partNumber"), applied("response-*"), applied("versionId")];

/// Headers of a listing.
const LISTING: &[Field] = &[
    // No object is being restored from an archive.
    no_effect("x-amz-optional-object-attributes"),
];

const NEW_BUCKET: &[Field] = &[
    default("x-amz-acl", &["private"]),
    default("x-amz-bucket-object-lock-enabled", &["false"]),
    default("x-amz-object-ownership", &["BucketOwnerEnforced"]),
];

/// Headers of a deletion.
const DELETION: &[Field] = &[
    // No object is locked.
    no_effect("x-amz-bypass-governance-retention"),
];

/// The operations that the service implements.
pub(super) const OPERATIONS: &[Operation] = &[
    operation(
        "ListBuckets",
        &[],
        &[applied("bucket-region"), applied("continuation-token"), applied("max-buckets"), applied("prefix")],
    ),
    operation("CreateBucket", &[NEW_BUCKET], &[]),
    operation("HeadBucket", &[], &[]),
    operation("DeleteBucket", &[], &[]),
    operation("GetBucketLocation", &[], &[applied("location")]),
    operation(
        "ListObjects",
        &[LISTING],
        &[
            applied("delimiter"),
            applied("encoding-type"),
            applied("marker"),
            applied("max-keys"),
            applied("prefix"),
        ],
    ),
    operation(
        "ListObjectsV2",
        &[LISTING],
        &[
            applied("continuation-token"),
            applied("delimiter"),
            applied("encoding-type"),
            applied("fetch-owner"),
            applied("list-type"),
            applied("max-keys"),
            applied("prefix"),
            applied("start-after"),
        ],
    ),
    operation("GetObject", &[READ], READ_QUERY),
    operation("HeadObject", &[READ], READ_QUERY),
    operation("PutObject", &[CONTENT, NEW_OBJECT, WRITE_CONDITIONS], &[]),
    operation(
        "CopyObject",
        &[
            COPY_SOURCE,
            NEW_OBJECT,
            WRITE_CONDITIONS,
            &[
                one_of("x-amz-checksum-algorithm", CHECKSUM_ALGORITHMS),
                one_of("x-amz-metadata-directive", &["COPY", "REPLACE"]),
                // No object has tags.
                no_effect("x-amz-tagging-directive"),
            ],
        ],
        &[],
    ),
    operation("DeleteObject", &[DELETION, &[applied("if-match")]], &[applied("versionId")]),
    operation("DeleteObjects", &[DELETION], &[applied("delete")]),
    operation(
        "CreateMultipartUpload",
        &[
            NEW_OBJECT,
            &[
                one_of("x-amz-checksum-algorithm", CHECKSUM_ALGORITHMS),
                one_of("x-amz-checksum-type", &["COMPOSITE", "FULL_OBJECT"]),
            ],
        ],
        &[applied("uploads")],
    ),
    operation("UploadPart", &[CONTENT], &[applied("partNumber"), applied("uploadId")]),
    operation(
        "UploadPartCopy",
        &[COPY_SOURCE, &[applied("x-amz-copy-source-range")]],
        &[applied("partNumber"), applied("uploadId")],
    ),
    operation("ListParts", &[], &[applied("max-parts"), applied("part-number-marker"), applied("uploadId")]),
    operation(
        "ListMultipartUploads",
        &[],
        &[
            applied("delimiter"),
            applied("encoding-type"),
            applied("key-marker"),
            applied("max-uploads"),
            applied("prefix"),
            applied("upload-id-marker"),
            applied("uploads"),
        ],
    ),
    operation(
        "CompleteMultipartUpload",
        &[CONTENT, WRITE_CONDITIONS, &[applied("x-amz-checksum-type"), applied("x-amz-mp-object-size")]],
        &[applied("uploadId")],
    ),
    operation("AbortMultipartUpload", &[], &[applied("uploadId")]),
    operation(
        "ListObjectVersions",
        &[LISTING],
        &[
            applied("delimiter"),
            applied("encoding-type"),
            applied("key-marker"),
            applied("max-keys"),
            applied("prefix"),
            applied("version-id-marker"),
            applied("versions"),
        ],
    ),
    operation(
        "GetObjectAttributes",
        &[&[
            applied("x-amz-max-parts"),
            applied("x-amz-object-attributes"),
            applied("x-amz-part-number-marker"),
        ]],
        &[applied("attributes"), applied("versionId")],
    ),
    // The configurations below are those of a bucket or object of S3 that has none.
    operation("GetObjectAcl", &[], &[applied("acl"), applied("versionId")]),
    operation("GetObjectTagging", &[], &[applied("tagging"), applied("versionId")]),
    operation("DeleteObjectTagging", &[], &[applied("tagging"), applied("versionId")]),
    operation("GetBucketAcl", &[], &[applied("acl")]),
    operation("GetBucketVersioning", &[], &[applied("versioning")]),
    operation("GetBucketAccelerateConfiguration", &[], &[applied("accelerate")]),
    operation("GetBucketCors", &[], &[applied("cors")]),
    operation("DeleteBucketCors", &[], &[applied("cors")]),
    operation("GetBucketEncryption", &[], &[applied("encryption")]),
    operation("GetBucketLifecycleConfiguration", &[], &[applied("lifecycle")]),
    operation("DeleteBucketLifecycle", &[], &[applied("lifecycle")]),
    operation("GetBucketLogging", &[], &[applied("logging")]),
    operation("GetBucketNotificationConfiguration", &[], &[applied("notification")]),
    operation("GetObjectLockConfiguration", &[], &[applied("object-lock")]),
    operation("GetBucketOwnershipControls", &[], &[applied("ownershipControls")]),
    operation("GetBucketPolicy", &[], &[applied("policy")]),
    operation("GetBucketPolicyStatus", &[], &[applied("policyStatus")]),
    operation("DeleteBucketPolicy", &[], &[applied("policy")]),
    operation("GetBucketReplication", &[], &[applied("replication")]),
    operation("GetBucketRequestPayment", &[], &[applied("requestPayment")]),
    operation("GetBucketTagging", &[], &[applied("tagging")]),
    operation("DeleteBucketTagging", &[], &[applied("tagging")]),
    operation("GetBucketWebsite", &[], &[applied("website")]),
    operation("DeleteBucketWebsite", &[], &[applied("website")]),
];
