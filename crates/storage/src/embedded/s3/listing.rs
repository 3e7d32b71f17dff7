//! Listings of objects, in both versions of S3's API.

use s3s::dto::*;
use s3s::{S3Request, S3Result, s3_error};

use super::{Api, outputs};
use crate::embedded::index::{Entry, ListQuery, Page};

/// Maximum number of entries of a page.
const MAX_KEYS: i32 = 1_000;

fn limit(max_keys: Option<i32>) -> S3Result<usize> {
    let limit = max_keys.unwrap_or(MAX_KEYS).min(MAX_KEYS);
    usize::try_from(limit)
        .map_err(|_| s3_error!(InvalidArgument, "max-keys must be between 0 and 2,147,483,647."))
}

fn contents(objects: Vec<(String, Entry)>, encoding: Option<&EncodingType>) -> Vec<Object> {
    let object = |(key, entry): (String, Entry)| Object {
        key: Some(outputs::encode_key(&key, encoding)),
        size: Some(outputs::size(entry.size)),
        e_tag: Some(outputs::etag(&entry.etag)),
        last_modified: Some(outputs::timestamp(entry.modified)),
        storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
        ..Default::default()
    };
    objects.into_iter().map(object).collect()
}

fn common_prefixes(common_prefixes: Vec<String>, encoding: Option<&EncodingType>) -> Vec<CommonPrefix> {
    common_prefixes
        .iter()
        .map(|group| CommonPrefix { prefix: Some(outputs::encode_key(group, encoding)) })
        .collect()
}

pub(super) async fn version_1(
    api: &Api,
    request: S3Request<ListObjectsInput>,
) -> S3Result<ListObjectsOutput> {
    let input = request.input;
    let limit = limit(input.max_keys)?;
    let prefix = input.prefix.unwrap_or_default();
    let query = ListQuery {
        prefix: &prefix,
        delimiter: input.delimiter.as_deref(),
        after: input.marker.as_deref(),
        limit,
    };
    let Page { objects, common_prefixes: found, next } = api.disk.bucket(&input.bucket)?.list(query);
    let encoding = input.encoding_type;
    let listed = |text: &String| outputs::encode_key(text, encoding.as_ref());
    Ok(ListObjectsOutput {
        is_truncated: Some(next.is_some()),
        // Without a delimiter, clients continue from the last key, and S3 sends no marker.
        next_marker: next.filter(|_| input.delimiter.is_some()).as_ref().map(listed),
        prefix: Some(listed(&prefix)),
        marker: Some(input.marker.as_ref().map(listed).unwrap_or_default()),
        delimiter: input.delimiter.as_ref().map(listed),
        contents: Some(contents(objects, encoding.as_ref())),
        common_prefixes: Some(common_prefixes(found, encoding.as_ref())),
        max_keys: Some(input.max_keys.unwrap_or(MAX_KEYS)),
        name: Some(input.bucket),
        encoding_type: encoding,
        ..Default::default()
    })
}

pub(super) async fn version_2(
    api: &Api,
    request: S3Request<ListObjectsV2Input>,
) -> S3Result<ListObjectsV2Output> {
    let input = request.input;
    let limit = limit(input.max_keys)?;
    let prefix = input.prefix.unwrap_or_default();
    let continued = input.continuation_token.as_deref().map(read_token).transpose()?;
    let after = continued.as_deref().or(input.start_after.as_deref());
    let query = ListQuery { prefix: &prefix, delimiter: input.delimiter.as_deref(), after, limit };
    let Page { objects, common_prefixes: found, next } = api.disk.bucket(&input.bucket)?.list(query);
    let encoding = input.encoding_type;
    let listed = |text: &String| outputs::encode_key(text, encoding.as_ref());
    Ok(ListObjectsV2Output {
        is_truncated: Some(next.is_some()),
        next_continuation_token: next.map(hex::encode),
        continuation_token: input.continuation_token,
        key_count: Some(i32::try_from(objects.len() + found.len()).unwrap_or(MAX_KEYS)),
        prefix: Some(listed(&prefix)),
        start_after: input.start_after.as_ref().map(listed),
        delimiter: input.delimiter.as_ref().map(listed),
        contents: Some(contents(objects, encoding.as_ref())),
        common_prefixes: Some(common_prefixes(found, encoding.as_ref())),
        max_keys: Some(input.max_keys.unwrap_or(MAX_KEYS)),
        name: Some(input.bucket),
        encoding_type: encoding,
        ..Default::default()
    })
}

/// Decodes a continuation token: the last key or common prefix of the previous page, in hexadecimal because
/// XML cannot contain every character.
fn read_token(token: &str) -> S3Result<String> {
    let invalid = || {
        s3_error!(
            InvalidArgument,
            "The continuation token is invalid. Use the NextContinuationToken of the previous response."
        )
    };
    String::from_utf8(hex::decode(token).map_err(|_| invalid())?).map_err(|_| invalid())
}
